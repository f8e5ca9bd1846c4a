//! What cannot be done with memory, and why.

use thiserror::Error;

use crate::{
    addr::{Bytes, PageShift},
    kernel::MemoryRange,
    lease::LeaseId,
};

use super::{PIECES_MAX, REGIONS_MAX, RegionId, USER_SPACE_END};

/// Why memory is not registered, or not unregistered, or not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegionRefusal {
    /// Size zero, or the address or the size of a part is not whole system pages.
    #[error("memory of {} at {} is not whole {page} system pages", .range.size, .range.address)]
    Misaligned {
        /// The memory.
        range: MemoryRange,
        /// The system page.
        page: PageShift,
    },
    /// It ends behind [`USER_SPACE_END`], where a process has no memory.
    #[error(
        "memory of {} at {} ends behind {USER_SPACE_END}, where no process has any",
        .range.size, .range.address
    )]
    BeyondUserSpace {
        /// The memory.
        range: MemoryRange,
    },
    /// It shares bytes with another region; the kernel takes exact repetitions only (`mm_iommu_do_alloc`).
    #[error("memory of {} at {} overlaps {other}", .range.size, .range.address)]
    Overlaps {
        /// The memory.
        range: MemoryRange,
        /// The region that is in the way.
        other: RegionId,
    },
    /// It is a region already, but is said to be backed by other pages.
    #[error(
        "memory of {} at {} is {other} already, but as backed by other pages: ask for the same to share it",
        .range.size, .range.address
    )]
    BackedOtherwise {
        /// The memory.
        range: MemoryRange,
        /// The region that it is.
        other: RegionId,
    },
    /// The limit would not hold it.
    #[error("{needed} more would be locked and {charged} are already, but the limit is {limit}")]
    LockedMemory {
        /// What the calls would charge.
        needed: Bytes,
        /// What is charged, or will be at a window's first use.
        charged: Bytes,
        /// The limit.
        limit: Bytes,
    },
    /// A guest sets TCEs of a lease, and nobody is told where they point to.
    #[error(
        "{region} stays registered: {lease} is lent to a guest, which may have mapped any of it"
    )]
    Lent {
        /// The region.
        region: RegionId,
        /// The lease.
        lease: LeaseId,
    },
    /// There is no such region now.
    #[error("{0} is registered no more")]
    Gone(RegionId),
    /// Not all of it is registered yet.
    #[error("{region} cannot be used yet: {registered} of its {size} are registered")]
    Registering {
        /// The region.
        region: RegionId,
        /// How much of it is registered.
        registered: Bytes,
        /// Its size.
        size: Bytes,
    },
    /// Not all of it is registered any more, because a call failed when it was unregistered.
    #[error(
        "{region} cannot be used any more: {registered} of its {size} are still registered, because the \
         kernel failed to unregister them; unregister it again"
    )]
    Leaving {
        /// The region.
        region: RegionId,
        /// How much of it is still registered.
        registered: Bytes,
        /// Its size.
        size: Bytes,
    },
    /// Something points into it. The kernel would say yes and leak (`tce_iommu_unregister_pages`).
    #[error(
        "{region} has {tces} TCEs that point into it or may do so, so it stays registered: unmap them first"
    )]
    Mapped {
        /// The region.
        region: RegionId,
        /// TCEs that point into it, or may do so because they are quarantined.
        tces: u64,
    },
    /// A range leaves the region.
    #[error("{size} at offset {offset} leave {region}")]
    Outside {
        /// The region.
        region: RegionId,
        /// Where the range starts in it.
        offset: Bytes,
        /// The range's size.
        size: Bytes,
    },
    /// A TCE page is larger than what a piece of the memory takes: it would lie in two registrations, or show a
    /// device what lies beside its page (`tce_page_is_contained`).
    #[error(
        "{size} at offset {offset} of {region} do not fit {page} TCEs: its {} at {} take {largest} at most",
        .piece.size, .piece.address
    )]
    PageTooLarge {
        /// The region.
        region: RegionId,
        /// The first piece that does not take them.
        piece: MemoryRange,
        /// The largest page that it takes.
        largest: PageShift,
        /// The window's page.
        page: PageShift,
        /// Where the range starts in the region.
        offset: Bytes,
        /// The range's size.
        size: Bytes,
    },
    /// A range does not begin or end on a border of TCE pages.
    #[error("{size} at offset {offset} of {region} are not whole {page} pages of memory")]
    NotWholePages {
        /// The region.
        region: RegionId,
        /// The window's page.
        page: PageShift,
        /// Where the range starts in the region.
        offset: Bytes,
        /// The range's size.
        size: Bytes,
    },
    /// [`REGIONS_MAX`] regions are registered.
    #[error(
        "there are {REGIONS_MAX} regions already, the most there can be: use fewer, larger ones"
    )]
    TooMany,
    /// All regions together would have more than [`PIECES_MAX`] pieces.
    #[error(
        "with {there} pieces of other regions there would be more than {PIECES_MAX}, the most there can be: \
         use larger chunks, or fewer, larger regions"
    )]
    TooManyPieces {
        /// Pieces of other regions.
        there: usize,
    },
}
