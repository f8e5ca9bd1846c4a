//! Faults: which calls fail, when, and how.

use tce_engine::errno::Errno;
use tce_sim::{Fault, LevelOf, Operation};

use crate::dice::Dice;

/// Calls that faults meet, those more often that are made more often.
const FAULTY: [Operation; 44] = [
    Operation::LockedMemory,
    Operation::Close,
    Operation::OpenContainer,
    Operation::CheckExtension,
    Operation::SetIommu,
    Operation::OpenGroup,
    Operation::GroupStatus,
    Operation::SetContainer,
    Operation::UnsetContainer,
    Operation::OpenDevice,
    Operation::ReadDevice,
    Operation::WriteDevice,
    Operation::DeviceInfo,
    Operation::ResetDevice,
    Operation::InterruptInfo,
    Operation::DisableInterrupts,
    Operation::DisableInterrupts,
    Operation::Eeh,
    Operation::Eeh,
    Operation::OpenEvent,
    Operation::WatchRequests,
    Operation::ReadEvent,
    Operation::CreateKvmVfio,
    Operation::CreateGuestTable,
    Operation::AddGroup,
    Operation::AddGroup,
    Operation::DeleteGroup,
    Operation::DeleteGroup,
    Operation::DeleteGroup,
    Operation::AttachGuestTable,
    Operation::AttachGuestTable,
    Operation::ReadGuestTable,
    Operation::Info,
    Operation::Register,
    Operation::Register,
    Operation::Unregister,
    Operation::Create,
    Operation::Remove,
    Operation::Map,
    Operation::Map,
    Operation::Map,
    Operation::Unmap,
    Operation::Unmap,
    Operation::Unmap,
];

/// Where those are that change TCEs.
const OF_TCES: std::ops::RangeFrom<usize> = 38..;

/// What the functions of the backend answer at some time, or let through from the firmware.
const ERRNOS: [Errno; 11] = [
    Errno::EPERM,
    Errno::ENOENT,
    Errno::EINTR,
    Errno::EIO,
    Errno::ENXIO,
    Errno::ENOMEM,
    Errno::EFAULT,
    Errno::EBUSY,
    Errno::EINVAL,
    Errno::ENOSPC,
    Errno::EBADF,
];

/// Which faults a run has for a while: now these and now those, since some hide what others would show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixture {
    /// A step in so many orders faults.
    one_in: u64,
    /// So many at once, at most: a second one is what makes undoing fail.
    burst: u64,
    /// Only calls that change TCEs fail: what undoing and taking back come to.
    is_of_tces: bool,
    /// Maps that stop silently, and exchanges that fail: what they leave stays for the machine's life.
    has_lasting: bool,
    /// `ENODEV` of a creation, which ends all windows of a partition.
    has_end_of_windows: bool,
}

impl Mixture {
    /// Some runs have lasting faults, and others have none in all their life.
    pub(super) fn of(dice: &mut Dice, has_lasting: bool) -> Self {
        Self {
            one_in: dice.pick(&[3, 6, 6, 12, 40, u64::MAX]).expect("there are some"),
            burst: dice.pick(&[1, 1, 2, 6]).expect("there are some"),
            is_of_tces: dice.one_in(3),
            has_lasting,
            has_end_of_windows: dice.one_in(6),
        }
    }

    /// The faults that a step orders: each for a call of some operation, and for the how manieth from now.
    pub(super) fn order(self, dice: &mut Dice) -> Vec<(Operation, u64, Fault)> {
        if !dice.one_in(self.one_in) {
            return Vec::new();
        }
        let count = 1 + dice.roll(self.burst);
        (0..count).map(|_| self.fault(dice)).collect()
    }

    fn fault(self, dice: &mut Dice) -> (Operation, u64, Fault) {
        let faulty = if self.is_of_tces { &FAULTY[OF_TCES] } else { &FAULTY[..] };
        let operation = dice.pick(faulty).expect("there are some");
        let errno = dice.pick(&ERRNOS).expect("there are some");
        let nth = 1 + dice.roll(4);
        let fault = match operation {
            Operation::Map => self.of_map(dice, errno),
            Operation::Create if self.has_end_of_windows && dice.one_in(8) => {
                Fault::Errno(Errno::ENODEV)
            }
            Operation::Register | Operation::Unmap if dice.one_in(3) => {
                Fault::Value(dice.pick(&[1, 7, -1]).expect("there are some"))
            }
            // The kernel's word for interrupts that are not on, and for nothing else.
            Operation::DisableInterrupts if errno == Errno::EINVAL => Fault::Errno(Errno::EIO),
            _ => Fault::Errno(errno),
        };
        (operation, nth, fault)
    }

    /// `NoMemoryForLevel(LevelOf::Record)` is left out: the kernel writes through a null pointer there, and no caller
    /// can help it.
    fn of_map(self, dice: &mut Dice, errno: Errno) -> Fault {
        let count = if dice.one_in(2) { dice.roll(4) } else { dice.roll(20) };
        match dice.roll(9) {
            0 => Fault::Errno(errno),
            1 => Fault::Value(1),
            2 if self.has_lasting => Fault::SilentAfterTces { count },
            3 | 5 if self.has_lasting => Fault::ExchangeFails { count, errno },
            4 if self.has_lasting => Fault::NoMemoryForLevel(LevelOf::Table),
            _ => Fault::AfterTces { count, errno },
        }
    }
}
