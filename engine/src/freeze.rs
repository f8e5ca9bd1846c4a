//! Enhanced error handling (EEH): what state PEs are in, and how they come back.
//!
//! After an error on the bus the platform freezes the PE: its devices transfer nothing, and their registers read as
//! ones. The kernel leaves a PE that is VFIO's to user space (`VFIO_EEH_PE_OP`). Tables are host memory, so edits and
//! revocations go on; what is mapped is there again once the PE works.

use std::fmt;

use thiserror::Error;

use crate::kernel::GroupNumber;

/// The state of a container's PEs, as `VFIO_EEH_PE_GET_STATE` tells it. Of several PEs it is the first one that does not
/// work (`tce_iommu_ioctl` asks one after the other).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeState {
    /// Registers answer and DMA passes (`EEH_PE_STATE_NORMAL`).
    Normal,
    /// In a reset (`EEH_PE_STATE_RESET`).
    Reset,
    /// Frozen: no registers, no DMA (`EEH_PE_STATE_STOPPED_IO_DMA`).
    Stopped,
    /// Frozen half: registers answer, no DMA (`EEH_PE_STATE_STOPPED_DMA`).
    StoppedDma,
    /// Neither: perhaps the host is recovering a bus above it (`EEH_PE_STATE_UNAVAIL`).
    Unavailable,
}

impl PeState {
    /// The state of this number in `linux/vfio.h`.
    #[must_use]
    pub const fn from_value(value: i32) -> Option<Self> {
        match value {
            0 => Some(Self::Normal),
            1 => Some(Self::Reset),
            2 => Some(Self::Stopped),
            4 => Some(Self::StoppedDma),
            5 => Some(Self::Unavailable),
            _ => None,
        }
    }

    /// Whether it works.
    #[must_use]
    pub const fn works(self) -> bool {
        matches!(self, Self::Normal)
    }
}

impl fmt::Display for PeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "working",
            Self::Reset => "in a reset",
            Self::Stopped => "frozen",
            Self::StoppedDma => "frozen for DMA",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A step of a recovery, in the order in which they are taken. What the kernel's documentation leaves to choice is left
/// out: to unfreeze registers and look at the device before the reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Interrupts off in the kernel, and devices quiet that answer.
    Quiesce,
    /// `VFIO_EEH_PE_RESET_HOT`.
    ResetHot,
    /// `VFIO_EEH_PE_RESET_DEACTIVATE`.
    ResetDeactivate,
    /// `VFIO_EEH_PE_CONFIGURE`.
    Configure,
    /// The PEs' state is read: they work.
    CheckState,
    /// Devices are made quiet again, since their configuration is new, and have to answer.
    QuietAgain,
}

impl RecoveryStep {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Quiesce,
        Self::ResetHot,
        Self::ResetDeactivate,
        Self::Configure,
        Self::CheckState,
        Self::QuietAgain,
    ];

    /// What comes after it; `None`: nothing.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Quiesce => Some(Self::ResetHot),
            Self::ResetHot => Some(Self::ResetDeactivate),
            Self::ResetDeactivate => Some(Self::Configure),
            Self::Configure => Some(Self::CheckState),
            Self::CheckState => Some(Self::QuietAgain),
            Self::QuietAgain => None,
        }
    }
}

impl fmt::Display for RecoveryStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiesce => "making devices quiet",
            Self::ResetHot => "the hot reset",
            Self::ResetDeactivate => "the end of the hot reset",
            Self::Configure => "configuring the PEs",
            Self::CheckState => "reading the PEs' state",
            Self::QuietAgain => "making devices quiet again",
        })
    }
}

/// Why PEs are not looked at or not recovered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FreezeRefusal {
    /// The platform has no EEH.
    #[error("this machine has no EEH for VFIO, so it neither tells of frozen PEs nor resets them")]
    NoEeh,
    /// They work.
    #[error("no PE of the container is frozen, so there is nothing to recover")]
    NotFrozen,
    /// A hot reset with no device of a group open leaves its devices unusable until the machine boots anew.
    #[error(
        "no device of group {0} is open, and a reset of its PE would leave it unusable until the machine boots anew: \
         open one first"
    )]
    Unwatched(GroupNumber),
    /// A recovery has begun and not ended.
    #[error("a recovery of the PEs has stopped at {0}: recover them first")]
    Unfinished(RecoveryStep),
    /// The recovery has not helped. It can be tried again.
    #[error(
        "after a reset a PE of the container is still {0}: try again a few times, then take the group's device out of use"
    )]
    StillFrozen(PeState),
    /// A state that nobody knows.
    #[error("VFIO_EEH_PE_GET_STATE returned {0}, which is no state that is known")]
    UnknownState(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_leads_to_the_one_behind_it() {
        let followers = RecoveryStep::ALL.map(RecoveryStep::next);
        let expected = RecoveryStep::ALL.into_iter().skip(1).map(Some).chain([None]);
        assert!(followers.into_iter().eq(expected));
    }

    #[test]
    fn the_numbers_of_states_are_those_of_the_kernel_and_no_others() {
        let known: Vec<i32> =
            (-1..=6).filter(|value| PeState::from_value(*value).is_some()).collect();
        assert_eq!(known, [0, 1, 2, 4, 5]);
        let working: Vec<i32> = known
            .into_iter()
            .filter(|value| PeState::from_value(*value).is_some_and(PeState::works))
            .collect();
        assert_eq!(working, [0]);
    }
}
