//! Virtual machines, their memory and their TCE tables.

use tce_engine::{
    errno::Errno,
    kernel::{Fd, GuestTableCall, MemoryRange},
    machine::{HypercallExit, HypercallRegisters},
};

use super::World;
use crate::{
    descriptor::File,
    kvm::{
        GuestTable, GuestTableCost, GuestTableId, Handler, Hypercall, HypercallAnswer, Link,
        MultiTce, Vm, VmDescriptor, VmId, check_guest_table,
    },
    process::MmId,
    profile,
};

impl World {
    /// `KVM_CREATE_VM`.
    pub(crate) fn create_vm(&mut self, caller: MmId) -> Result<Fd, Errno> {
        self.descriptors.has_room()?;
        if self.profile.kvm == profile::Kvm::Absent {
            return Err(Errno::ENOENT);
        }
        let id = VmId(self.take_id());
        self.kvm.vms.insert(id, Vm::new(caller));
        self.descriptors.open(File::VirtualMachine(id))
    }

    /// `KVM_CREATE_DEVICE` of the link to VFIO (`kvm_vfio_create`).
    pub(crate) fn create_link(&mut self, caller: MmId, vm: Fd) -> Result<Fd, Errno> {
        let id = self.vm_of(caller, vm)?;
        let machine = self.kvm.vms.get_mut(&id).ok_or(Errno::EBADF)?;
        if machine.link.is_some() {
            return Err(Errno::EBUSY);
        }
        let fd = self.descriptors.open(File::KvmVfio(id))?;
        machine.link = Some(Link::default());
        Ok(fd)
    }

    /// `kvm_vm_ioctl_create_spapr_tce`. A failure after the charge gives it back.
    pub(crate) fn create_guest_table(
        &mut self,
        caller: MmId,
        vm: Fd,
        call: GuestTableCall,
    ) -> Result<Fd, Errno> {
        let vm = self.vm_of(caller, vm)?;
        check_guest_table(&call)?;
        let cost = GuestTableCost::of(&call, self.profile.page_shift);
        self.mms.get_mut(caller).locked.charge(cost.pages)?;
        let made = self.make_guest_table(vm, call, &cost);
        if made.is_err() {
            self.mms.get_mut(caller).locked.uncharge(cost.pages);
        }
        made
    }

    fn make_guest_table(
        &mut self,
        vm: VmId,
        call: GuestTableCall,
        cost: &GuestTableCost,
    ) -> Result<Fd, Errno> {
        if !cost.is_allocatable() {
            return Err(Errno::ENOMEM);
        }
        if self.guest_table_of(vm, call.liobn).is_some() {
            return Err(Errno::EBUSY);
        }
        let id = GuestTableId(self.take_id());
        let fd = self.descriptors.open(File::GuestTable(id))?;
        self.kvm.tables.insert(id, GuestTable::new(vm, call, cost.pages));
        if let Some(vm) = self.kvm.vms.get_mut(&vm) {
            vm.tables.insert(0, id);
        }
        Ok(fd)
    }

    /// `kvmppc_find_table`.
    fn guest_table_of(&self, vm: VmId, liobn: u64) -> Option<GuestTableId> {
        let mut tables = self.kvm.vms.get(&vm)?.tables.iter().copied();
        tables.find(|id| self.kvm.tables.get(id).is_some_and(|table| table.call.liobn == liobn))
    }

    /// `kvm_spapr_tce_release`: whatever followed the table is let go.
    pub(super) fn close_guest_table(&mut self, id: GuestTableId) {
        let Some(table) = self.kvm.tables.remove(&id) else { return };
        if let Some(vm) = self.kvm.vms.get_mut(&table.vm) {
            vm.tables.retain(|other| *other != id);
            self.mms.get_mut(vm.mm).locked.uncharge(table.charge_pages);
        }
        self.kvm.drop_unheld();
        self.kvm.drop_vm_if_unheld(table.vm);
    }

    pub(super) fn close_vm(&mut self, id: VmId) {
        if let Some(vm) = self.kvm.vms.get_mut(&id) {
            vm.descriptor = VmDescriptor::Closed;
        }
        self.kvm.drop_vm_if_unheld(id);
    }

    /// The virtual machine of a descriptor, for the process that made it (`kvm_vm_ioctl`).
    fn vm_of(&self, caller: MmId, fd: Fd) -> Result<VmId, Errno> {
        let File::VirtualMachine(id) = *self.descriptors.file(fd)? else {
            return Err(Errno::ENOTTY);
        };
        self.check_vm_caller(caller, id)?;
        Ok(id)
    }

    /// KVM answers no process but the virtual machine's.
    pub(super) fn check_vm_caller(&self, caller: MmId, id: VmId) -> Result<(), Errno> {
        let vm = self.kvm.vms.get(&id).ok_or(Errno::EBADF)?;
        if vm.mm == caller { Ok(()) } else { Err(Errno::EIO) }
    }

    /// `KVM_SET_USER_MEMORY_REGION`, to add one.
    pub(crate) fn set_guest_memory(
        &mut self,
        caller: MmId,
        vm: Fd,
        guest_address: u64,
        memory: MemoryRange,
    ) -> Result<(), Errno> {
        let id = self.vm_of(caller, vm)?;
        let vm = self.kvm.vms.get_mut(&id).ok_or(Errno::EBADF)?;
        vm.memory.add(guest_address, memory, self.profile.page_shift)
    }

    /// `KVM_CAP_PPC_ENABLE_HCALL` of `H_PUT_TCE_INDIRECT` and `H_STUFF_TCE`.
    pub(crate) fn enable_multi_tce(&mut self, caller: MmId, vm: Fd) -> Result<(), Errno> {
        let id = self.vm_of(caller, vm)?;
        self.kvm.vms.get_mut(&id).ok_or(Errno::EBADF)?.multi_tce = MultiTce::Kernel;
        Ok(())
    }

    /// A guest's hypercall. What `kvmppc_pseries_do_hcall` does not know is user space's.
    pub(crate) fn hypercall(
        &mut self,
        caller: MmId,
        vm: Fd,
        registers: &HypercallRegisters,
    ) -> Result<HypercallExit, Errno> {
        let id = self.vm_of(caller, vm)?;
        let Some(call) = Hypercall::of(registers) else { return Ok(HypercallExit::ToUserSpace) };
        Ok(self.answer(id, call).exit())
    }

    fn answer(&mut self, id: VmId, call: Hypercall) -> HypercallAnswer {
        let too_hard = HypercallAnswer::TooHard;
        let Some(table) = self.guest_table_of(id, call.liobn()) else { return too_hard };
        let Some(vm) = self.kvm.vms.get(&id) else { return too_hard };
        if call.is_multi_tce() && vm.multi_tce == MultiTce::UserSpace {
            return too_hard;
        }
        let Some(table) = self.kvm.tables.get_mut(&table) else { return too_hard };
        let mut handler = Handler {
            profile: &self.profile,
            mm: self.mms.get_mut(vm.mm),
            mm_id: vm.mm,
            memory: &vm.memory,
            table,
            containers: &mut self.containers,
            kept: &mut self.kvm.kept,
            tally: &mut self.tally,
            log: &mut self.log,
        };
        handler.answer(call)
    }

    /// Reads what a guest has set, through a mapping of its table (`kvm_spapr_tce_mmap`). No other file here can be
    /// mapped without more ado.
    pub(crate) fn read_guest_table(
        &self,
        table: Fd,
        first: u64,
        tces: &mut [u64],
    ) -> Result<(), Errno> {
        let File::GuestTable(id) = self.descriptors.file(table)? else { return Err(Errno::ENODEV) };
        let table = self.kvm.tables.get(id).ok_or(Errno::EBADF)?;
        let count = u64::try_from(tces.len()).map_err(|_| Errno::EINVAL)?;
        let end = first.checked_add(count).filter(|end| *end <= table.call.size);
        end.ok_or(Errno::EINVAL)?;
        for (index, tce) in (first..).zip(tces) {
            *tce = table.tce(index).ok_or(Errno::EINVAL)?;
        }
        Ok(())
    }
}
