//! Regions: host memory registered with the container.

use std::fmt;

use thiserror::Error;

use crate::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
    slots::{Handle, Slots},
};

/// The most regions at a time. The kernel looks regions up one by one for each TCE (`mm_iommu_lookup`), so few large
/// ones are better anyway.
pub const REGIONS_MAX: usize = 4096;

/// Names a region for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub(crate) Handle);

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region {}", self.0)
    }
}

/// Why memory is not registered, or not unregistered, or not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegionRefusal {
    /// Size zero, or address or size not whole system pages.
    #[error("memory of {} at {} is not whole {page} system pages", .range.size, .range.address)]
    Misaligned {
        /// The memory.
        range: MemoryRange,
        /// The system page.
        page: PageShift,
    },
    /// It shares bytes with another region; the kernel takes exact repetitions only (`mm_iommu_do_alloc`).
    #[error("memory of {} at {} overlaps {other}", .range.size, .range.address)]
    Overlaps {
        /// The memory.
        range: MemoryRange,
        /// The region that is in the way.
        other: RegionId,
    },
    /// The limit would not hold it.
    #[error("{needed} more would be locked and {charged} are already, but the limit is {limit}")]
    LockedMemory {
        /// What the call would charge.
        needed: Bytes,
        /// What is charged.
        charged: Bytes,
        /// The limit.
        limit: Bytes,
    },
    /// There is no such region now.
    #[error("{0} is registered no more")]
    Gone(RegionId),
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
    /// A TCE page is larger than the page that backs the memory, or does not lie on a page border of it.
    #[error("{region} is backed by {backing} pages, so {page} TCEs at offset {offset} do not fit")]
    PageTooLarge {
        /// The region.
        region: RegionId,
        /// Its page.
        backing: PageShift,
        /// The window's page.
        page: PageShift,
        /// Where the range starts in it.
        offset: Bytes,
    },
    /// [`REGIONS_MAX`] regions are registered.
    #[error(
        "there are {REGIONS_MAX} regions already, the most there can be: use fewer, larger ones"
    )]
    TooMany,
}

/// Registered memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The memory.
    pub range: MemoryRange,
    /// The largest TCE page it can hold: its backing page, or less where address or size are less aligned.
    pub page: PageShift,
    /// TCEs that point into it.
    pub tces: u64,
}

impl Region {
    /// Memory backed by pages of this size.
    ///
    /// # Errors
    /// [`RegionRefusal::Misaligned`].
    pub fn new(
        range: MemoryRange,
        backing: PageShift,
        system_page: PageShift,
    ) -> Result<Self, RegionRefusal> {
        let aligned = range.address.is_aligned(system_page)
            && range.size.is_multiple_of(system_page)
            && range.address.checked_add(range.size).is_some();
        if range.size.is_zero() || !aligned {
            return Err(RegionRefusal::Misaligned { range, page: system_page });
        }
        let common = (range.address.raw() | range.size.raw()).trailing_zeros();
        let common = u8::try_from(common).unwrap_or(u8::MAX).min(backing.raw());
        let page = PageShift::new(common).expect("at least the system page");
        Ok(Self { range, page, tces: 0 })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |range: MemoryRange| range.address.raw() + range.size.raw();
        self.range.address.raw() < end(other.range) && other.range.address.raw() < end(self.range)
    }
}

/// The regions of a container. The places of those that are gone are remembered for the container's whole life, so that
/// no handle of before comes to mean another region.
#[derive(Debug)]
pub struct Regions(Slots<Region>);

impl Default for Regions {
    fn default() -> Self {
        Self(Slots::new(REGIONS_MAX))
    }
}

impl Regions {
    /// The region, if it is registered now.
    ///
    /// # Errors
    /// [`RegionRefusal::Gone`].
    pub fn get(&self, id: RegionId) -> Result<&Region, RegionRefusal> {
        self.0.get(id.0).ok_or(RegionRefusal::Gone(id))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, &Region)> {
        self.0.iter().map(|(handle, region)| (RegionId(handle), region))
    }

    /// Checks that a region can be added.
    pub(crate) fn check_new(&self, region: &Region) -> Result<(), RegionRefusal> {
        if self.0.is_full() {
            return Err(RegionRefusal::TooMany);
        }
        match self.iter().find(|(_, other)| other.overlaps(region)) {
            Some((other, _)) => Err(RegionRefusal::Overlaps { range: region.range, other }),
            None => Ok(()),
        }
    }

    pub(crate) fn insert(&mut self, region: Region) -> RegionId {
        RegionId(self.0.insert(region).expect("room was checked"))
    }

    pub(crate) fn remove(&mut self, id: RegionId) {
        self.0.remove(id.0);
    }

    /// Notes that so many more TCEs point into a region.
    pub(crate) fn add_tces(&mut self, id: RegionId, tces: u64) {
        self.0.get_mut(id.0).expect("mapped memory is registered").tces += tces;
    }

    /// Notes that so many fewer TCEs point into a region.
    pub(crate) fn remove_tces(&mut self, id: RegionId, tces: u64) {
        self.0.get_mut(id.0).expect("mapped memory is registered").tces -= tces;
    }

    /// The memory that a map of `size` bytes from `offset` with pages of `page` points to.
    pub(crate) fn locate(
        &self,
        id: RegionId,
        offset: Bytes,
        size: Bytes,
        page: PageShift,
    ) -> Result<HostAddr, RegionRefusal> {
        let region = self.get(id)?;
        let outside = RegionRefusal::Outside { region: id, offset, size };
        let end = offset.checked_add(size).ok_or(outside)?;
        if end > region.range.size {
            return Err(outside);
        }
        if region.page < page || !offset.is_multiple_of(page) {
            let backing = region.page;
            return Err(RegionRefusal::PageTooLarge { region: id, backing, page, offset });
        }
        region.range.address.checked_add(offset).ok_or(outside)
    }
}
