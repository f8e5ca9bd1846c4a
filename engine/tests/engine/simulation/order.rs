//! The order in which things are taken back: guests off, devices quiet, and only then what is mapped.

use std::collections::BTreeMap;

use tce_engine::kernel::{
    DescriptorKind, DeviceFd, DeviceSpace, Fd, GroupFd, GuestTableCall, GuestTableFd,
    InterruptKind, Kernel, Raw, UnmapCall,
};
use tce_engine::machine::Machine;
use tce_sim::SimKernel;

use super::watch::Watch;

/// The command register, and its bit for bus mastering.
const COMMAND: u64 = 4;
const MASTER: u16 = 1 << 2;

/// Guests' tables that KVM was given, group by group.
#[derive(Default)]
pub(super) struct Followed {
    /// Where each table is: from, to.
    tables: BTreeMap<GuestTableFd, (u64, u64)>,
    given: Vec<(GroupFd, GuestTableFd)>,
}

impl Followed {
    pub(super) fn create(&mut self, table: GuestTableFd, call: &GuestTableCall) {
        let start = call.offset << call.page_shift;
        self.tables.insert(table, (start, start + (call.size << call.page_shift)));
    }

    pub(super) fn attach(&mut self, group: GroupFd, table: GuestTableFd) {
        self.given.push((group, table));
    }

    pub(super) fn delete(&mut self, group: GroupFd) {
        self.given.retain(|(given, _)| *given != group);
    }

    fn close(&mut self, fd: Fd) {
        self.tables.retain(|table, _| table.fd() != fd);
        self.given.retain(|(_, table)| table.fd() != fd);
    }

    /// Whether a guest sets TCEs of a range, or any.
    fn is_in(&self, range: Option<(u64, u64)>) -> bool {
        self.given.iter().any(|(_, table)| {
            let (start, end) = self.tables[table];
            range.is_none_or(|(from, to)| from < end && start < to)
        })
    }
}

impl Watch {
    /// Nobody else is at work where something is taken back: no guest, and no device.
    pub(super) fn check_alone(&mut self, what: &str, unmap: Option<&UnmapCall>) {
        if !self.must_be_quiet {
            return;
        }
        let range = unmap.map(|call| (call.iova.raw(), call.iova.raw() + call.size.raw()));
        if self.followed.is_in(range) {
            self.found(|| format!("{what} under a guest"));
        }
        for device in self.devices.clone() {
            self.check_device(device, what);
        }
    }

    /// A device is quiet: it masters nothing, and interrupts nobody. One that reads as ones is frozen.
    pub(super) fn check_device(&mut self, device: DeviceFd, what: &str) {
        let mut kernel = self.machine.kernel();
        let mut bytes = [0; 2];
        let read = kernel.read_device(device, DeviceSpace::Config, COMMAND, &mut bytes);
        let command = u16::from_le_bytes(bytes);
        if read.is_err() || command == u16::MAX {
            return;
        }
        if command & MASTER != 0 {
            self.found(|| format!("{what} while a device may transfer"));
        }
        let kinds = [InterruptKind::Intx, InterruptKind::Msi];
        if kinds.into_iter().any(|kind| kernel.disable_interrupts(device, kind) == Raw::OK) {
            self.found(|| format!("{what} while a device may interrupt"));
        }
    }

    pub(super) fn forget_descriptor(&mut self, fd: Fd, kernel: &mut SimKernel) {
        self.devices.retain(|device| device.fd() != fd);
        self.followed.close(fd);
        if kernel.kind(fd) == DescriptorKind::KvmVfio {
            self.followed.given.clear();
        }
    }
}
