//! Why a lease is not what somebody wants it to be.

use std::{fmt, num::NonZeroU32};

use thiserror::Error;

use crate::{
    access::Access,
    addr::{Bytes, Iova},
    kernel::GroupNumber,
    region::RegionId,
    window::{Claim, ClaimRefusal, WindowId},
};

use super::{EndCause, LEASES_MAX, LeaseId, Timestamp};

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
    /// A guest of KVM's sets its TCEs.
    #[error("{0} is lent to a guest, which sets its TCEs by itself: take it back first")]
    Lent(LeaseId),
    /// No guest has it.
    #[error("{0} is not lent to a guest")]
    NotLent(LeaseId),
    /// Its edits come faster than it may make them.
    #[error("{lease} may make {edits_per_second} edits per second: try again at {} ms", .until.0)]
    TooFast {
        /// The lease.
        lease: LeaseId,
        /// How many.
        edits_per_second: NonZeroU32,
        /// From when on it may go on.
        until: Timestamp,
    },
    /// More memory would be registered for it than it may have.
    #[error("{lease} may have {limit} of memory registered, not {wanted}")]
    Pinned {
        /// The lease.
        lease: LeaseId,
        /// What it may have, without what its sub-leases may have.
        limit: Bytes,
        /// What would be registered.
        wanted: Bytes,
    },
    /// The memory is registered for it already.
    #[error("{region} is registered for {lease} already")]
    HasRegion {
        /// The lease.
        lease: LeaseId,
        /// The memory.
        region: RegionId,
    },
    /// The memory is not registered for it.
    #[error("{region} is not registered for {lease}")]
    NoRegion {
        /// The lease.
        lease: LeaseId,
        /// The memory.
        region: RegionId,
    },
    /// Another holder has that range from it.
    #[error("the range of {claim} belongs to {to}, a sub-lease of {lease}")]
    Sublet {
        /// The lease.
        lease: LeaseId,
        /// The range.
        claim: Claim,
        /// Who has it.
        to: LeaseId,
    },
    /// It has sub-leases, which would lose something.
    #[error("{0} has sub-leases: end them first")]
    HasSubleases(LeaseId),
    /// A sub-lease is not divided further.
    #[error(
        "{0} is a sub-lease and has none of its own: ask for a part of the lease it belongs to"
    )]
    IsSublease(LeaseId),
    /// A sub-lease would have more than what it is a part of.
    #[error("{parent} has less of {term} to give than a sub-lease of it is to have")]
    MoreThanParent {
        /// What it would be a part of.
        parent: LeaseId,
        /// Of what.
        term: Term,
    },
    /// It is for a group that is not in the container.
    #[error("group {0} is not attached: a lease is for groups of its container")]
    NoGroup(GroupNumber),
    /// No device of a group of the container is open.
    #[error(
        "no device of group {0} is open, so the kernel could take the group away without a word, and with it what is \
         mapped for others: open one first"
    )]
    Unwatched(GroupNumber),
    /// It is on its way to another window.
    #[error("{0} is growing: finish or abandon that first")]
    Growing(LeaseId),
    /// What is not known of its range would be lost sight of.
    #[error("{lease} is quarantined at {claim}: revoke it instead")]
    Quarantined {
        /// The lease.
        lease: LeaseId,
        /// Where.
        claim: Claim,
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

/// One of the terms of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// What mappings may allow.
    Access,
    /// TCEs.
    Tces,
    /// Registered memory.
    Pinned,
    /// Edits per second.
    Edits,
    /// Time.
    Time,
    /// Groups.
    Groups,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Access => "access",
            Self::Tces => "TCEs",
            Self::Pinned => "registered memory",
            Self::Edits => "edits per second",
            Self::Time => "time",
            Self::Groups => "groups",
        })
    }
}
