//! Leases: a holder's right to a range of a window.
//!
//! A lease is pinned to the groups that privilege its container and bound to windows of one generation. When these go,
//! the lease ends; its handle stays dead for good, even if a new window stands in the same place.

use std::{collections::VecDeque, fmt, sync::Arc};

use thiserror::Error;

use crate::{
    access::Access,
    addr::{Bytes, Iova},
    growth::Growth,
    kernel::GroupNumber,
    lingering::{Lingering, Unmapping},
    slots::{Handle, Slots},
    window::{Claim, ClaimRefusal, Run, WindowId},
};

/// The most leases of a container, those that ended and are remembered included.
pub const LEASES_MAX: usize = 4096;
/// The longest name of a holder, in bytes.
pub const HOLDER_NAME_MAX: usize = 64;

/// Names a lease for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub(crate) Handle);

impl LeaseId {
    /// The handle as one number, unique for the life of its engine.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.number()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}", self.0)
    }
}

/// Who holds a lease: the name by which the host knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(Arc<str>);

impl Holder {
    /// A holder of this name, if it is neither empty nor longer than [`HOLDER_NAME_MAX`].
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        (!name.is_empty() && name.len() <= HOLDER_NAME_MAX).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A moment, in milliseconds since the Unix epoch. The engine has no clock: whoever calls it says what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// It was taken back.
    Revoked,
    /// Its time was over.
    Expired,
    /// The last group left the container, and the backend went with it.
    LastGroupLeft(GroupNumber),
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("it was revoked"),
            Self::Expired => f.write_str("its time was over"),
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
    /// It is being taken down: no edits any more, TCEs perhaps still set.
    Ending(EndCause),
    /// Nothing of it is left.
    Ended(EndCause),
}

impl LeaseState {
    /// Whether a lease may go from this state to that one. An end is never undone, and its cause never changes.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Active, Self::Ending(_)) => true,
            (Self::Ending(cause), Self::Ended(last)) => cause == last,
            _ => false,
        }
    }
}

/// A range of a window that a lease has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasePart {
    /// The window.
    pub window: WindowId,
    /// The range, in bus addresses.
    pub claim: Claim,
    /// The same range, in TCEs.
    pub run: Run,
    /// TCEs set now, those included that linger.
    pub tces: u64,
}

/// A lease, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub holder: Holder,
    /// Its ranges, each in a window of its own: one or two.
    pub parts: Vec<LeasePart>,
    /// What its mappings may allow.
    pub access: Access,
    /// The most TCEs that may be set at once in one window.
    pub tces_max: u64,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// How its unmaps are made.
    pub unmapping: Unmapping,
    /// What it has unmapped and devices still reach.
    pub lingering: Lingering,
    /// Where it is growing to, if it is.
    pub growth: Option<Growth>,
    /// The window whose range it has begun to give up when a call failed: some of what it had there is gone.
    pub leaving: Option<WindowId>,
    /// Where it stands.
    pub state: LeaseState,
}

impl Lease {
    /// The range that its holder uses. While it grows, the other one is where it will be.
    ///
    /// # Panics
    /// Never: a lease has a part.
    #[must_use]
    pub fn home(&self) -> &LeasePart {
        self.parts.first().expect("a lease has a part")
    }

    /// TCEs set now in all its ranges.
    #[must_use]
    pub fn tces(&self) -> u64 {
        self.parts.iter().map(|part| part.tces).sum()
    }

    /// Its range in a window.
    #[must_use]
    pub fn part(&self, window: WindowId) -> Option<&LeasePart> {
        self.parts.iter().find(|part| part.window == window)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// Why a lease is not granted, or not usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LeaseRefusal {
    /// The handle is of a lease that ended so long ago that it is forgotten.
    #[error("{0} is not known (any more)")]
    Stale(LeaseId),
    /// It ended.
    #[error("{lease} ended: {cause}")]
    Ended {
        /// The lease.
        lease: LeaseId,
        /// Why it ended.
        cause: EndCause,
    },
    /// A range leaves the lease.
    #[error("the range of {claim} leaves {lease}, which has {leased}")]
    Outside {
        /// The lease.
        lease: LeaseId,
        /// The range.
        claim: Claim,
        /// What the lease has.
        leased: Claim,
    },
    /// More access than the lease allows.
    #[error("{lease} allows {allowed}, not {wanted}")]
    Access {
        /// The lease.
        lease: LeaseId,
        /// What it allows.
        allowed: Access,
        /// What was wanted.
        wanted: Access,
    },
    /// More TCEs than the lease allows.
    #[error("{lease} may have {tces_max} TCEs set at once, not {wanted}")]
    Quota {
        /// The lease.
        lease: LeaseId,
        /// What it allows.
        tces_max: u64,
        /// What would have been set.
        wanted: u64,
    },
    /// The range is leased already, or there is none of this size that is neither leased nor reserved.
    #[error("{window} has no free range of {size}{}", .at.map(|at| format!(" at {at}")).unwrap_or_default())]
    NoRoom {
        /// The window.
        window: WindowId,
        /// The size.
        size: Bytes,
        /// Where it must be, if that was said.
        at: Option<Iova>,
    },
    /// The window does not admit the range.
    #[error(transparent)]
    Claim(#[from] ClaimRefusal),
    /// It has a range in each of two windows, the most there can be.
    #[error(
        "{0} is in two windows already: finish or abandon its growth, or give one of its ranges up"
    )]
    TwoParts(LeaseId),
    /// It has a range in that window, or in no other.
    #[error("{lease} has a range of {window}{}", if *.only { " and no other: revoke it instead" } else { " already" })]
    Part {
        /// The lease.
        lease: LeaseId,
        /// The window.
        window: WindowId,
        /// Whether that is all it has.
        only: bool,
    },
    /// It is giving its range of another window up. Without this one too, mappings would be lost.
    #[error(
        "{lease} has begun to give up its range of {window}, which is unmapped in part: give that up first"
    )]
    Leaving {
        /// The lease.
        lease: LeaseId,
        /// The window that it leaves.
        window: WindowId,
    },
    /// The window is gone.
    #[error("{0} is gone")]
    NoWindow(WindowId),
    /// Too many leases, those included that ended and whose event nobody took.
    #[error("there are {LEASES_MAX} leases already, the most there can be")]
    TooMany,
}

/// Something that happened to a lease, for its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEnded {
    /// The lease.
    pub lease: LeaseId,
    /// Its holder.
    pub holder: Holder,
    /// Why it ended.
    pub cause: EndCause,
}

/// The leases of a container, the ended ones as long as there is room.
#[derive(Debug)]
pub struct Leases {
    slots: Slots<Lease>,
    ended: VecDeque<LeaseId>,
}

impl Default for Leases {
    fn default() -> Self {
        Self { slots: Slots::new(LEASES_MAX), ended: VecDeque::new() }
    }
}

impl Leases {
    /// The lease, whatever its state.
    ///
    /// # Errors
    /// [`LeaseRefusal::Stale`].
    pub fn get(&self, id: LeaseId) -> Result<&Lease, LeaseRefusal> {
        self.slots.get(id.0).ok_or(LeaseRefusal::Stale(id))
    }

    /// The lease, if it takes edits.
    ///
    /// # Errors
    /// [`LeaseRefusal::Stale`], [`LeaseRefusal::Ended`].
    pub fn active(&self, id: LeaseId) -> Result<&Lease, LeaseRefusal> {
        let lease = self.get(id)?;
        match lease.state {
            LeaseState::Active => Ok(lease),
            LeaseState::Ending(cause) | LeaseState::Ended(cause) => {
                Err(LeaseRefusal::Ended { lease: id, cause })
            }
        }
    }

    /// All that are remembered.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.slots.iter().map(|(handle, lease)| (LeaseId(handle), lease))
    }

    /// Those that have not ended.
    pub fn live(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.iter().filter(|(_, lease)| !matches!(lease.state, LeaseState::Ended(_)))
    }

    pub(crate) fn insert(&mut self, lease: Lease) -> Result<LeaseId, LeaseRefusal> {
        if self.slots.is_full()
            && let Some(oldest) = self.ended.pop_front()
        {
            self.slots.remove(oldest.0);
        }
        self.slots.insert(lease).map(LeaseId).ok_or(LeaseRefusal::TooMany)
    }

    /// Moves a lease on.
    ///
    /// # Panics
    /// If its state may not become that one.
    pub(crate) fn advance(&mut self, id: LeaseId, next: LeaseState) {
        let lease = self.slots.get_mut(id.0).expect("a known lease");
        assert!(lease.state.may_become(next), "{id} cannot go from {:?} to {next:?}", lease.state);
        lease.state = next;
        if matches!(next, LeaseState::Ended(_)) {
            assert_eq!(lease.tces(), 0, "{id} ended with TCEs set");
            self.ended.push_back(id);
        }
    }

    pub(crate) fn get_mut(&mut self, id: LeaseId) -> &mut Lease {
        self.slots.get_mut(id.0).expect("a known lease")
    }

    /// The count of TCEs of a lease in a window.
    pub(crate) fn tces_mut(&mut self, id: LeaseId, window: WindowId) -> &mut u64 {
        let mut parts = self.get_mut(id).parts.iter_mut();
        &mut parts.find(|part| part.window == window).expect("TCEs belong to a lease").tces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_undone() {
        let revoked = EndCause::Revoked;
        let states = [LeaseState::Active, LeaseState::Ending(revoked), LeaseState::Ended(revoked)];
        for (from, old) in states.into_iter().enumerate() {
            for (to, new) in states.into_iter().enumerate() {
                assert_eq!(old.may_become(new), to == from + 1, "{old:?} to {new:?}");
            }
        }
        assert!(!LeaseState::Ending(revoked).may_become(LeaseState::Ended(EndCause::Expired)));
    }

    #[test]
    fn holders_have_names_of_bounded_length() {
        assert_eq!(Holder::new(""), None);
        assert_eq!(Holder::new(&"x".repeat(HOLDER_NAME_MAX + 1)), None);
        assert_eq!(Holder::new("vm-7").expect("a name").name(), "vm-7");
    }
}
