//! Regions: host memory registered with the container.
//!
//! A region is contiguous in address and made of *pieces*, each of them one registration of the kernel. The kernel
//! gives a registration one page size, the smallest behind it (`mm_iommu_do_alloc`), looks one registration up for
//! each TCE (`mm_iommu_lookup`), and takes back exactly what was registered. So memory that pages of different sizes
//! back has a piece for each, large memory may be registered piece by piece, and no TCE page lies in two pieces.

mod piece;
mod refusal;
mod registration;
mod request;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
    slots::Handle,
};

pub(crate) use self::store::Admission;
pub use self::{
    piece::Piece,
    refusal::RegionRefusal,
    registration::{Progress, Registration},
    request::{BackedPart, RegionRequest},
    store::Regions,
};

/// The most regions at a time. The kernel looks registrations up one by one for each TCE (`mm_iommu_lookup`), so few
/// large ones are better anyway.
pub const REGIONS_MAX: usize = 4096;

/// The most pieces of all regions at a time, for the same reason: as many as regions that have one each.
pub const PIECES_MAX: usize = 4096;

/// Where the memory of a process ends on POWER: `TASK_SIZE_USER64`, at most 4 PiB.
pub const USER_SPACE_END: HostAddr = HostAddr::new(1 << 52);

/// Names a region for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub(crate) Handle);

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region {}", self.0)
    }
}

/// How much of a region is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionState {
    /// Not all of it yet: nothing can be mapped to it.
    Registering,
    /// All of it.
    Registered,
    /// Not all of it any more, because a call failed when it was unregistered: nothing can be mapped to it.
    Leaving,
}

/// Registered memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The memory.
    pub range: MemoryRange,
    /// The largest TCE page that it takes throughout. Some of its pieces may take larger ones.
    pub page: PageShift,
    /// TCEs that point into it.
    pub tces: u64,
    /// How many users have registered it and not unregistered it.
    pub users: u64,
    /// Its memory by what backs it, neighbours different.
    parts: Box<[BackedPart]>,
    /// In ascending order, without gaps.
    pieces: Box<[Piece]>,
    /// What each piece has charged that the kernel has, if that could be read: those of the first so many.
    charges: Vec<Option<Bytes>>,
    state: RegionState,
}

impl Region {
    /// Memory of which nothing is registered yet, for one user.
    ///
    /// # Errors
    /// [`RegionRefusal::Misaligned`], [`RegionRefusal::BeyondUserSpace`], [`RegionRefusal::TooManyPieces`].
    pub(crate) fn new(
        request: &RegionRequest,
        system_page: PageShift,
    ) -> Result<Self, RegionRefusal> {
        let range = request.checked_range(system_page)?;
        let parts = request.joined_parts();
        let pieces = request.pieces(&parts, system_page)?;
        let smallest = pieces.iter().map(|piece| piece.page).min();
        Ok(Self {
            range,
            page: smallest.ok_or(RegionRefusal::Misaligned { range, page: system_page })?,
            tces: 0,
            users: 1,
            parts,
            pieces,
            charges: Vec::new(),
            state: RegionState::Registering,
        })
    }

    /// Its pieces, registered or not, in ascending order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces that the kernel has.
    #[must_use]
    pub fn registered_pieces(&self) -> &[Piece] {
        self.pieces.get(..self.charges.len()).unwrap_or_default()
    }

    /// How much of it the kernel has.
    #[must_use]
    pub fn registered(&self) -> Bytes {
        let sizes = self.registered_pieces().iter().map(|piece| piece.range.size);
        sizes.fold(Bytes::ZERO, Bytes::saturating_add)
    }

    /// Whether it is registered, or on its way in or out.
    #[must_use]
    pub const fn state(&self) -> RegionState {
        self.state
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.range.address.raw() < end_of(other.range)
            && other.range.address.raw() < end_of(self.range)
    }

    /// Whether who asks for the other can have this one.
    fn is_same_memory(&self, other: &Self) -> bool {
        self.range == other.range && self.parts == other.parts
    }

    /// That it can be used.
    fn check_registered(&self, region: RegionId) -> Result<(), RegionRefusal> {
        let size = self.range.size;
        match self.state {
            RegionState::Registered => Ok(()),
            RegionState::Registering => {
                Err(RegionRefusal::Registering { region, registered: self.registered(), size })
            }
            RegionState::Leaving => {
                Err(RegionRefusal::Leaving { region, registered: self.registered(), size })
            }
        }
    }

    /// The first piece between two addresses that does not take TCEs of this page.
    fn piece_below(&self, start: HostAddr, end: HostAddr, page: PageShift) -> Option<&Piece> {
        if page <= self.page {
            return None;
        }
        let first = self.pieces.partition_point(|piece| end_of(piece.range) <= start.raw());
        let touched = self.pieces.get(first..).unwrap_or_default().iter();
        touched.take_while(|piece| piece.range.address < end).find(|piece| piece.page < page)
    }

    fn next_piece(&self) -> Option<Piece> {
        self.pieces.get(self.charges.len()).copied()
    }

    /// The newest registered piece, with what it has charged.
    fn newest_piece(&self) -> Option<(Piece, Option<Bytes>)> {
        self.registered_pieces().last().copied().zip(self.charges.last().copied())
    }

    fn add_piece(&mut self, charged: Option<Bytes>) {
        self.charges.push(charged);
        if self.charges.len() == self.pieces.len() {
            self.state = RegionState::Registered;
        }
    }

    fn remove_piece(&mut self) {
        self.charges.pop();
        self.state = RegionState::Leaving;
    }
}

/// The end of memory that lies in user space, so that it is an address.
const fn end_of(range: MemoryRange) -> u64 {
    range.address.raw() + range.size.raw()
}
