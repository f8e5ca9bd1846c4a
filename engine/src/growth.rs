//! Growth: a lease moves to a second, larger window while its first one stays live.
//!
//! It begins with everything mapped in both windows, at the same offset from where the lease starts. As long as it
//! lasts, what is mapped or unmapped at an old address is so at the new one too. When the holder uses the new addresses
//! only, it is finished, and the old ones are unmapped. So at no instant is a mapped buffer unreachable at an address
//! that the holder knows.

use thiserror::Error;

use crate::{
    addr::{Bytes, Iova, PageShift},
    lease::LeaseId,
    window::{Claim, WindowId},
};

/// Whether a holder can be told to use other bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// It asks the engine for addresses, or follows when they change.
    Movable,
    /// It computes them, as a guest does, and knows no others.
    Fixed,
}

/// What a lease grows into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowthRequest {
    /// The window, which stands already.
    pub window: WindowId,
    /// From which bus address; absent: wherever there is room.
    pub at: Option<Iova>,
    /// How much: whole pages of that window, and no less than the lease has now.
    pub size: Bytes,
    /// The highest bus address that the holder's devices can put on the wire.
    pub device_mask: Iova,
    /// Whether the holder can move.
    pub addresses: Addresses,
}

/// A lease in two windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The window that it leaves.
    pub from: WindowId,
    /// The window that it enters.
    pub into: WindowId,
    pub(crate) old: Claim,
    pub(crate) new: Claim,
}

impl Growth {
    /// The range that the holder knows.
    #[must_use]
    pub const fn old(&self) -> Claim {
        self.old
    }

    /// The range that it will have.
    #[must_use]
    pub const fn new_range(&self) -> Claim {
        self.new
    }

    /// Where the memory at an old address is found in the new window; `None` outside the old range.
    #[must_use]
    pub fn moved(&self, old: Iova) -> Option<Iova> {
        let offset = old.offset_from(self.old.start).filter(|offset| *offset < self.old.size)?;
        self.new.start.checked_add(offset)
    }

    /// The part of the new range that is kept as the old one is.
    #[must_use]
    pub const fn image(&self) -> Claim {
        Claim { start: self.new.start, size: self.old.size }
    }
}

/// Why a lease does not grow.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrowthRefusal {
    /// The holder knows no addresses but its own.
    #[error("the holder of {0} computes its bus addresses and cannot move to others")]
    HolderIsFixed(LeaseId),
    /// Some address of the new range is beyond the devices.
    #[error("the range of {claim} goes beyond {mask}, the highest address that the devices reach")]
    OutOfReach {
        /// The new range.
        claim: Claim,
        /// The devices' highest address.
        mask: Iova,
    },
    /// The new range is smaller than the old one.
    #[error("{lease} has {has} and does not fit {size}")]
    TooSmall {
        /// The lease.
        lease: LeaseId,
        /// What it has.
        has: Bytes,
        /// What it would get.
        size: Bytes,
    },
    /// It is not on its way.
    #[error("{0} is not growing")]
    NotGrowing(LeaseId),
    /// What is mapped cannot be mapped with the new window's page.
    #[error(
        "what {lease} has mapped at {claim} does not fit pages of {page}: choose a window of smaller pages"
    )]
    Pages {
        /// The lease.
        lease: LeaseId,
        /// Where.
        claim: Claim,
        /// The new window's page.
        page: PageShift,
    },
    /// Some of it is not known.
    #[error("the range of {0} is quarantined: revoke the lease, or map anew under another one")]
    Quarantined(Claim),
}
