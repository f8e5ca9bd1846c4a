//! KVM as VFIO's external user: virtual machines, their links to VFIO, and guests' TCE tables
//! (`virt/kvm/vfio.c`, `arch/powerpc/kvm/book3s_64_vio.c`).
//!
//! What is leased is the table of a window, and by reference: a table that KVM holds outlives its window and its
//! container. A group's file that a link holds stays open.

use std::collections::BTreeMap;

use crate::{
    descriptor::DeviceFile,
    group::GroupId,
    inspect::GuestTableView,
    process::MmId,
    window::{TableId, Window},
};

mod guest_table;
mod hardware;
mod hypercall;
mod memory_slot;

pub(crate) use guest_table::{
    Cost as GuestTableCost, GuestTable, GuestTableId, check as check_guest_table,
};
pub(crate) use hypercall::{Handler, Hypercall, HypercallAnswer};
pub(crate) use memory_slot::MemorySlots;

/// Names a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VmId(pub(crate) u32);

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Kvm {
    pub(crate) vms: BTreeMap<VmId, Vm>,
    pub(crate) tables: BTreeMap<GuestTableId, GuestTable>,
    /// Tables without a window that are held.
    pub(crate) kept: BTreeMap<TableId, Window>,
    last_table: u64,
}

/// A virtual machine.
#[derive(Debug)]
pub(crate) struct Vm {
    /// Whose it is (`kvm->mm`): it answers no other process, pays from its account, and maps its memory.
    pub(crate) mm: MmId,
    pub(crate) descriptor: VmDescriptor,
    /// The link to VFIO, if there is one.
    pub(crate) link: Option<Link>,
    /// Guests' tables, newest first.
    pub(crate) tables: Vec<GuestTableId>,
    pub(crate) memory: MemorySlots,
    pub(crate) multi_tce: MultiTce,
}

/// Who answers a guest's hypercalls that set more than one TCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MultiTce {
    /// The program that runs the guest.
    UserSpace,
    /// The kernel (`KVM_CAP_PPC_ENABLE_HCALL`).
    Kernel,
}

/// Whether a virtual machine's own descriptor is open. Its link and its tables hold it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmDescriptor {
    Open,
    Closed,
}

/// A link: the files it was given, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) files: Vec<LinkedFile>,
}

/// A file that a link holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkedFile {
    pub(crate) file: VfioFile,
    pub(crate) group: LinkedGroup,
}

/// A file that a link takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VfioFile {
    Group(GroupId),
    Device(DeviceFile),
}

/// Whether a link has looked up the file's group (`kvm_vfio_file::iommu_group`), which the first lease does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkedGroup {
    Unknown,
    Known(GroupId),
}

impl Vm {
    pub(crate) fn new(mm: MmId) -> Self {
        Self {
            mm,
            descriptor: VmDescriptor::Open,
            link: None,
            tables: Vec::new(),
            memory: MemorySlots::default(),
            multi_tce: MultiTce::UserSpace,
        }
    }

    /// Whether nothing refers to it any more (`kvm_put_kvm`).
    pub(crate) fn is_unheld(&self) -> bool {
        self.descriptor == VmDescriptor::Closed && self.link.is_none() && self.tables.is_empty()
    }
}

impl Kvm {
    /// A name for a new table.
    pub(crate) fn next_table(&mut self) -> TableId {
        self.last_table += 1;
        TableId(self.last_table)
    }

    /// Keeps the table of a window that has ended, if a guest's table holds it.
    pub(crate) fn keep_if_held(&mut self, window: Window) {
        if self.holds(window.id) {
            self.kept.insert(window.id, window);
        }
    }

    fn holds(&self, id: TableId) -> bool {
        self.tables.values().any(|table| table.holds(id))
    }

    /// Whether a link holds this file.
    pub(crate) fn links(&self, file: VfioFile) -> bool {
        let links = self.vms.values().filter_map(|vm| vm.link.as_ref());
        links.flat_map(|link| &link.files).any(|linked| linked.file == file)
    }

    /// Ends a lease each of the hardware's tables that the virtual machine's tables hold
    /// (`kvm_spapr_tce_release_iommu_group`). A lease that was taken twice goes on.
    pub(crate) fn release(&mut self, vm: VmId, hardware: &[TableId]) {
        let Some(vm) = self.vms.get(&vm) else { return };
        for id in &vm.tables {
            if let Some(table) = self.tables.get_mut(id) {
                hardware.iter().for_each(|id| table.release(*id));
            }
        }
        self.drop_unheld();
    }

    pub(crate) fn table_views(&self) -> Vec<GuestTableView> {
        let mut views: Vec<GuestTableView> = self.tables.values().map(GuestTable::view).collect();
        views.sort_unstable();
        views
    }

    pub(crate) fn linked_files(&self) -> usize {
        self.vms.values().filter_map(|vm| vm.link.as_ref()).map(|link| link.files.len()).sum()
    }

    /// Frees tables without a window that are no longer held.
    pub(crate) fn drop_unheld(&mut self) {
        let tables = &self.tables;
        self.kept.retain(|id, _| tables.values().any(|table| table.holds(*id)));
    }

    /// Lets go of a virtual machine that nothing refers to.
    pub(crate) fn drop_vm_if_unheld(&mut self, id: VmId) {
        if self.vms.get(&id).is_some_and(Vm::is_unheld) {
            self.vms.remove(&id);
        }
    }
}
