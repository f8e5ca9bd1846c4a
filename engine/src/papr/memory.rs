//! The guest's memory, as the VMM knows it.

use thiserror::Error;

use crate::{
    addr::{Bytes, GuestAddress},
    region::RegionId,
};

/// Where guest memory that is in a row in one region lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The region.
    pub region: RegionId,
    /// Where in the region it begins.
    pub offset: Bytes,
    /// How far it goes: what lies behind it in the guest's memory may be elsewhere, or nowhere.
    pub size: Bytes,
}

/// An address that is not, or not throughout, guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no guest memory at {0}")]
pub struct NotGuestMemory(pub GuestAddress);

/// The guest's memory: where it is registered, and what it holds.
///
/// The guest runs while it is asked, so what [`GuestMemory::read`] gives may be different the next time. It is asked
/// once for each list.
pub trait GuestMemory {
    /// Where guest memory lies. The answer is for what begins at `at`; what goes beyond `wanted` is ignored.
    ///
    /// # Errors
    /// [`NotGuestMemory`] if there is none at `at`, or none that devices may reach.
    fn locate(&self, at: GuestAddress, wanted: Bytes) -> Result<Placement, NotGuestMemory>;

    /// Copies bytes out of guest memory, as they lie there.
    ///
    /// # Errors
    /// [`NotGuestMemory`] unless all of them are guest memory.
    fn read(&self, at: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory>;

    /// What the guest calls the byte at an offset of a region; `None` if it is not guest memory.
    fn guest_address(&self, region: RegionId, offset: Bytes) -> Option<GuestAddress>;
}
