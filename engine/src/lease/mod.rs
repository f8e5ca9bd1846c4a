//! Leases: a holder's right to a range of a window.
//!
//! A lease is pinned to the groups that privilege its container and bound to windows of one generation. When these go,
//! the lease ends; its handle stays dead for good, even if a new window stands in the same place.
//!
//! Several leases of one container, and the sub-leases into which a holder divides its own, are accounting between
//! holders that trust each other, and no isolation: every device of the container reaches all its windows. Holders that do
//! not trust each other have containers of their own.

mod event;
mod quota;
mod refusal;
mod state;
mod store;

use std::{fmt, sync::Arc};

pub(crate) use event::Events;
pub use event::{LeaseEvent, NEWS_MAX, News};
pub use quota::{Pace, Quota};
pub use refusal::{LeaseRefusal, Term};
pub use state::{EndCause, LeaseState, LeaseStep};
pub use store::Leases;

use crate::{
    access::Access,
    addr::Bytes,
    growth::Growth,
    guest::Loan,
    kernel::GroupNumber,
    lingering::{Lingering, Unmapping},
    region::RegionId,
    slots::Handle,
    window::{Claim, Run, WindowId},
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

/// What a lease has given to sub-leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sublet {
    /// How many there are.
    pub leases: usize,
    /// TCEs that they may set, whether they do or not.
    pub tces: u64,
    /// Memory that they may have registered, whether they have or not.
    pub pinned: Bytes,
}

impl Sublet {
    pub(crate) fn add(&mut self, other: Self) {
        self.leases += other.leases;
        self.tces += other.tces;
        self.pinned = self.pinned.saturating_add(other.pinned);
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.leases -= other.leases;
        self.tces -= other.tces;
        self.pinned = self.pinned.saturating_sub(other.pinned);
    }
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
    /// What it may use.
    pub quota: Quota,
    /// How far it has used its edits.
    pub pace: Pace,
    /// How much memory is registered for it.
    pub pinned: Bytes,
    /// That memory, each region once.
    pub regions: Vec<RegionId>,
    /// The groups it is for. It ends when none of them is left.
    pub groups: Vec<GroupNumber>,
    /// The lease that it is a part of.
    pub parent: Option<LeaseId>,
    /// What parts of it other holders have.
    pub sublet: Sublet,
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
    /// The guest that sets its TCEs, or did so and was not taken them back yet.
    pub loan: Option<Loan>,
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

    /// TCEs that it may set: no more than its range has.
    #[must_use]
    pub fn tces_max(&self) -> u64 {
        self.quota.tces.min(self.home().run.pages().raw())
    }

    /// Memory that may be registered for it, without what its sub-leases may have; `None`: as much as there is.
    #[must_use]
    pub fn pinned_max(&self) -> Option<Bytes> {
        self.quota.pinned.map(|max| max.saturating_sub(self.sublet.pinned))
    }

    /// What its parent has given away with it.
    pub(crate) fn as_sublet(&self) -> Sublet {
        let pinned = self.quota.pinned.unwrap_or_default();
        Sublet { leases: 1, tces: self.tces_max(), pinned }
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_have_names_of_bounded_length() {
        assert_eq!(Holder::new(""), None);
        assert_eq!(Holder::new(&"x".repeat(HOLDER_NAME_MAX + 1)), None);
        assert_eq!(Holder::new("vm-7").expect("a name").name(), "vm-7");
    }
}
