//! Failures that a test orders, and counts of what was done.

use std::collections::BTreeMap;

use tce_engine::{errno::Errno, kernel::Raw};

use crate::backend::{CutEnd, MapCut};

/// An operation of the seam.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `Kernel::locked_memory`.
    LockedMemory,
    /// `Kernel::close`.
    Close,
    /// `Kernel::open_container`.
    OpenContainer,
    /// `Kernel::check_extension`.
    CheckExtension,
    /// `Kernel::set_iommu`.
    SetIommu,
    /// `Kernel::open_group`.
    OpenGroup,
    /// `Kernel::group_status`.
    GroupStatus,
    /// `Kernel::set_container`.
    SetContainer,
    /// `Kernel::unset_container`.
    UnsetContainer,
    /// `Kernel::open_device`.
    OpenDevice,
    /// `Kernel::read_device`.
    ReadDevice,
    /// `Kernel::write_device`.
    WriteDevice,
    /// `Kernel::device_info`.
    DeviceInfo,
    /// `Kernel::reset_device`.
    ResetDevice,
    /// `Kernel::interrupt_info`.
    InterruptInfo,
    /// `Kernel::enable_interrupts`.
    EnableInterrupts,
    /// `Kernel::disable_interrupts`.
    DisableInterrupts,
    /// `Kernel::info`.
    Info,
    /// `Kernel::register`.
    Register,
    /// `Kernel::unregister`.
    Unregister,
    /// `Kernel::create`.
    Create,
    /// `Kernel::remove`.
    Remove,
    /// `Kernel::map`.
    Map,
    /// `Kernel::unmap`.
    Unmap,
    /// `Kernel::eeh`.
    Eeh,
    /// `Kernel::inject_error`.
    InjectError,
    /// `Kernel::open_event`.
    OpenEvent,
    /// `Kernel::read_event`.
    ReadEvent,
    /// `Kernel::watch_requests`.
    WatchRequests,
    /// `Kernel::create_vm`.
    CreateVm,
    /// `Kernel::create_kvm_vfio`.
    CreateKvmVfio,
    /// `Kernel::create_guest_table`.
    CreateGuestTable,
    /// `Kernel::add_group`.
    AddGroup,
    /// `Kernel::delete_group`.
    DeleteGroup,
    /// `Kernel::attach_guest_table`.
    AttachGuestTable,
    /// `Kernel::read_guest_table`.
    ReadGuestTable,
    /// `Machine::allocate`.
    Allocate,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::LockedMemory,
        Self::Close,
        Self::OpenContainer,
        Self::CheckExtension,
        Self::SetIommu,
        Self::OpenGroup,
        Self::GroupStatus,
        Self::SetContainer,
        Self::UnsetContainer,
        Self::OpenDevice,
        Self::ReadDevice,
        Self::WriteDevice,
        Self::DeviceInfo,
        Self::ResetDevice,
        Self::InterruptInfo,
        Self::EnableInterrupts,
        Self::DisableInterrupts,
        Self::Info,
        Self::Register,
        Self::Unregister,
        Self::Create,
        Self::Remove,
        Self::Map,
        Self::Unmap,
        Self::Eeh,
        Self::InjectError,
        Self::OpenEvent,
        Self::ReadEvent,
        Self::WatchRequests,
        Self::CreateVm,
        Self::CreateKvmVfio,
        Self::CreateGuestTable,
        Self::AddGroup,
        Self::DeleteGroup,
        Self::AttachGuestTable,
        Self::ReadGuestTable,
        Self::Allocate,
    ];
}

/// What a call does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails before doing anything.
    Errno(Errno),
    /// It returns this value, which an `ioctl` may, before doing anything.
    Value(i32),
    /// `map` only: it fails when so many TCEs are exchanged, and the kernel's rollback empties them. A failure that
    /// the call has of its own before that stands.
    AfterTces {
        /// TCEs exchanged before the failure.
        count: u64,
        /// The failure.
        errno: Errno,
    },
    /// `map` only: it stops when so many TCEs are exchanged, leaves them, and returns 0, as when a region is on its
    /// way out (`mm_iommu_mapped_inc`).
    SilentAfterTces {
        /// TCEs exchanged.
        count: u64,
    },
    /// `map` only: the exchange of the TCE after so many fails, as when a partition's hypervisor refuses it. The kernel
    /// rolls back those before, and counts wrongly: the new page's region up, the old one's down though its TCE stays.
    ExchangeFails {
        /// TCEs exchanged before the failure.
        count: u64,
        /// The failure.
        errno: Errno,
    },
    /// `map` only: there is no memory for the next lower level of the table. A map that needs none is not touched; a
    /// table of one level never needs one.
    NoMemoryForLevel(LevelOf),
}

/// Which of a window's two tables a level belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelOf {
    /// The table that the hardware reads: the map fails with `ENOMEM`.
    Table,
    /// The kernel's record of the process's addresses: the kernel writes through a null pointer.
    Record,
}

/// Faults that wait for their call, and the calls so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: BTreeMap<Operation, u64>,
    faults: BTreeMap<(Operation, u64), Fault>,
    pub(crate) tces_set: u64,
    pub(crate) tces_cleared: u64,
}

impl Tally {
    /// Orders a fault for the `nth` call from now, 1 being the next. Of two for one call, the later order counts.
    pub(crate) fn order(&mut self, operation: Operation, nth: u64, fault: Fault) {
        let number = self.calls(operation).saturating_add(nth.max(1));
        self.faults.insert((operation, number), fault);
    }

    /// Orders a fault for the next call that has none yet.
    pub(crate) fn order_next(&mut self, operation: Operation, fault: Fault) {
        let mut number = self.calls(operation) + 1;
        while self.faults.contains_key(&(operation, number)) {
            number += 1;
        }
        self.faults.insert((operation, number), fault);
    }

    /// Counts a call and takes its fault.
    pub(crate) fn enter(&mut self, operation: Operation) -> Option<Fault> {
        let calls = self.calls.entry(operation).or_default();
        *calls += 1;
        self.faults.remove(&(operation, *calls))
    }

    pub(crate) fn calls(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or(0)
    }

    /// Faults ordered and not yet met.
    pub(crate) fn waiting(&self) -> usize {
        self.faults.len()
    }

    pub(crate) fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

impl Fault {
    /// What the call returns if the fault comes before its work.
    pub(crate) const fn before(self) -> Option<Raw> {
        match self {
            Self::Errno(errno) => Some(Raw::Failed(errno)),
            Self::Value(value) => Some(Raw::Returned(value)),
            Self::AfterTces { .. }
            | Self::SilentAfterTces { .. }
            | Self::ExchangeFails { .. }
            | Self::NoMemoryForLevel(_) => None,
        }
    }

    /// Where it cuts a map.
    pub(crate) const fn cut(self) -> Option<MapCut> {
        let (pages, end) = match self {
            Self::AfterTces { count, errno } => (count, CutEnd::Fails(errno)),
            Self::SilentAfterTces { count } => (count, CutEnd::Silent),
            Self::ExchangeFails { count, errno } => (count, CutEnd::ExchangeFails(errno)),
            Self::NoMemoryForLevel(of) => (u64::MAX, CutEnd::NoLevel(of)),
            Self::Errno(_) | Self::Value(_) => return None,
        };
        Some(MapCut { pages, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIO: Fault = Fault::Errno(Errno::EIO);

    #[test]
    fn a_fault_meets_exactly_its_call() {
        let mut tally = Tally::default();
        tally.enter(Operation::Map);
        tally.order(Operation::Map, 2, EIO);
        assert_eq!(tally.enter(Operation::Unmap), None);
        assert_eq!(tally.enter(Operation::Map), None);
        assert_eq!(tally.enter(Operation::Map), Some(EIO));
        assert_eq!(tally.enter(Operation::Map), None);
        assert_eq!((tally.calls(Operation::Map), tally.waiting()), (4, 0));
    }

    #[test]
    fn faults_for_the_next_calls_queue_up() {
        let mut tally = Tally::default();
        tally.order_next(Operation::Register, EIO);
        tally.order_next(Operation::Register, Fault::Value(1));
        assert_eq!(tally.enter(Operation::Register), Some(EIO));
        assert_eq!(tally.enter(Operation::Register), Some(Fault::Value(1)));
        assert_eq!(tally.enter(Operation::Register), None);
    }
}
