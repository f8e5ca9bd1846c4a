//! Where a lease stands, and what can be done with it there.

use std::fmt;

use crate::kernel::GroupNumber;

use super::LeaseId;

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// It was taken back.
    Revoked,
    /// Its time was over.
    Expired,
    /// Its holder is gone.
    HolderGone,
    /// The lease that it was part of ended.
    ParentEnded(LeaseId),
    /// KVM did not take its window again after it had been taken another one, or a group, back.
    NotTakenByGuest,
    /// The only group that it was for left the container; others stay.
    GroupLeft(GroupNumber),
    /// The last group left the container, and the backend went with it.
    LastGroupLeft(GroupNumber),
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("it was revoked"),
            Self::Expired => f.write_str("its time was over"),
            Self::HolderGone => f.write_str("its holder is gone"),
            Self::ParentEnded(parent) => write!(f, "{parent}, which it was part of, ended"),
            Self::NotTakenByGuest => f.write_str("KVM did not take its window again"),
            Self::GroupLeft(group) => write!(f, "group {group}, the only one it was for, left"),
            Self::LastGroupLeft(group) => {
                write!(f, "group {group}, the container's last, left and took the backend with it")
            }
        }
    }
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Edits are taken.
    Active,
    /// A guest of KVM's sets its TCEs, without asking anybody. No edits are taken.
    Lent,
    /// It is being taken down: no edits any more, TCEs perhaps still set.
    Ending(EndCause),
    /// Nothing of it is left.
    Ended(EndCause),
}

/// What can be done with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStep {
    /// Map and unmap under it.
    Edit,
    /// Give it another end.
    Renew,
    /// Make it smaller, in range or quota.
    Shrink,
    /// Give it a range in a second window, or take that away.
    Extend,
    /// Give a part of it to another holder.
    Sublet,
    /// Register memory for it, or unregister that.
    Pin,
    /// Let a guest of KVM's set its TCEs.
    Lend,
    /// Take it back from the guest.
    TakeBack,
    /// Begin to end it.
    End(EndCause),
    /// Note that nothing of it is left.
    Finish,
}

impl LeaseState {
    /// Where the lease stands after a step; `None` where the step cannot be taken. An end is never undone, and its
    /// cause never changes.
    #[must_use]
    pub const fn after(self, step: LeaseStep) -> Option<Self> {
        use LeaseStep as Step;
        match (self, step) {
            (
                Self::Active,
                Step::Edit | Step::Renew | Step::Shrink | Step::Extend | Step::Sublet | Step::Pin,
            )
            | (Self::Lent, Step::TakeBack) => Some(Self::Active),
            (Self::Active, Step::Lend) | (Self::Lent, Step::Renew | Step::Pin) => Some(Self::Lent),
            (Self::Active | Self::Lent, Step::End(cause)) => Some(Self::Ending(cause)),
            (Self::Ending(cause), Step::Finish) => Some(Self::Ended(cause)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states after [`STEPS`]: `a`ctive, `l`ent, `e`nding, `E`nded, `-` where the step cannot be taken.
    const TABLE: [(LeaseState, &str); 4] = [
        (LeaseState::Active, "aaaaaal-e-"),
        (LeaseState::Lent, "-l---l-ae-"),
        (LeaseState::Ending(EndCause::Expired), "---------E"),
        (LeaseState::Ended(EndCause::Expired), "----------"),
    ];
    const STEPS: [LeaseStep; 10] = [
        LeaseStep::Edit,
        LeaseStep::Renew,
        LeaseStep::Shrink,
        LeaseStep::Extend,
        LeaseStep::Sublet,
        LeaseStep::Pin,
        LeaseStep::Lend,
        LeaseStep::TakeBack,
        LeaseStep::End(EndCause::Expired),
        LeaseStep::Finish,
    ];

    #[test]
    fn every_step_leads_where_the_table_says() {
        for (state, row) in TABLE {
            for (step, sign) in STEPS.into_iter().zip(row.chars()) {
                let expected = match sign {
                    'a' => Some(LeaseState::Active),
                    'l' => Some(LeaseState::Lent),
                    'e' => Some(LeaseState::Ending(EndCause::Expired)),
                    'E' => Some(LeaseState::Ended(EndCause::Expired)),
                    _ => None,
                };
                assert_eq!(state.after(step), expected, "{state:?}, {step:?}");
            }
        }
    }

    #[test]
    fn the_first_cause_of_an_end_stays() {
        let ending = LeaseState::Ending(EndCause::Revoked);
        assert_eq!(ending.after(LeaseStep::End(EndCause::Expired)), None);
        assert_eq!(ending.after(LeaseStep::Finish), Some(LeaseState::Ended(EndCause::Revoked)));
    }
}
