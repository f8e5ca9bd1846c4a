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

#[cfg(test)]
mod tests {
    use super::*;

    const K4: PageShift = PageShift::K4;
    const K64: PageShift = PageShift::K64;

    fn range(address: u64, size: u64) -> MemoryRange {
        MemoryRange { address: HostAddr::new(address), size: Bytes::new(size) }
    }

    fn one(address: u64, size: u64, backing: PageShift) -> (Regions, RegionId) {
        let mut regions = Regions::default();
        let region = Region::new(range(address, size), backing, K4).expect("whole pages");
        let id = regions.insert(region);
        (regions, id)
    }

    #[test]
    fn memory_that_is_not_whole_system_pages_is_no_region() {
        for (address, size) in [(0, 0), (0x8000, 0x10000), (0x10000, 0x8000), (0x10010, 0x10000)] {
            let refusal = Region::new(range(address, size), K64, K64);
            assert_eq!(
                refusal,
                Err(RegionRefusal::Misaligned { range: range(address, size), page: K64 })
            );
        }
        let wrapping = range(u64::MAX - 0xffff, 0x10000);
        assert!(Region::new(wrapping, K64, K64).is_err(), "its end is no address");
    }

    #[test]
    fn a_region_takes_tces_no_larger_than_its_backing_and_its_alignment() {
        let page = |address, size, backing| {
            Region::new(range(address, size), backing, K4).expect("whole pages").page
        };
        assert_eq!(page(0x20_0000, 0x40_0000, PageShift::M2), PageShift::M2);
        assert_eq!(page(0x21_0000, 0x40_0000, PageShift::M2), K64);
        assert_eq!(page(0x20_0000, 0x1000, PageShift::M2), K4);
        assert_eq!(page(0x20_0000, 0x40_0000, K4), K4);
    }

    #[test]
    fn regions_may_touch_but_not_overlap() {
        let (regions, other) = one(0x10_0000, 0x10_0000, K4);
        for (address, size, is_free) in [
            (0x20_0000, 0x1000, true),
            (0xf_f000, 0x1000, true),
            (0x1f_f000, 0x1000, false),
            (0, 0x40_0000, false),
            (0x10_0000, 0x10_0000, false),
            (0xf_f000, 0x2000, false),
        ] {
            let region = Region::new(range(address, size), K4, K4).expect("whole pages");
            let overlaps = RegionRefusal::Overlaps { range: region.range, other };
            let expected = if is_free { Ok(()) } else { Err(overlaps) };
            assert_eq!(regions.check_new(&region), expected, "{address:#x} {size:#x}");
        }
    }

    #[test]
    fn there_is_a_limit() {
        let mut regions = Regions::default();
        let region = |at: u64| Region::new(range(at << 12, 0x1000), K4, K4).expect("a page");
        (1..=4096).for_each(|at| {
            regions.insert(region(at));
        });
        assert_eq!(regions.check_new(&region(5000)), Err(RegionRefusal::TooMany));
    }

    #[test]
    fn a_map_stays_inside_its_region_on_pages_the_backing_has() {
        let (regions, region) = one(0x100_0000, 0x40_0000, PageShift::M2);
        let locate =
            |offset, size, page| regions.locate(region, Bytes::new(offset), Bytes::new(size), page);
        assert_eq!(locate(0x1000, 0x2000, K4), Ok(HostAddr::new(0x100_1000)));
        assert_eq!(locate(0x20_0000, 0x20_0000, PageShift::M2), Ok(HostAddr::new(0x120_0000)));
        for (offset, size) in [(0x40_0000, 0x1000), (0x3f_f000, 0x2000), (u64::MAX, 1), (1, !0)] {
            let (offset, size) = (Bytes::new(offset), Bytes::new(size));
            let refusal = regions.locate(region, offset, size, K4);
            assert_eq!(refusal, Err(RegionRefusal::Outside { region, offset, size }));
        }
        let too_large = |page, offset| RegionRefusal::PageTooLarge {
            region,
            backing: PageShift::M2,
            page,
            offset: Bytes::new(offset),
        };
        assert_eq!(locate(0, 0x1000, PageShift::G1), Err(too_large(PageShift::G1, 0)));
        assert_eq!(locate(0x1000, 0x1000, K64), Err(too_large(K64, 0x1000)));
    }

    #[test]
    fn the_handle_of_a_region_that_is_gone_names_no_other() {
        let (mut regions, old) = one(0x10_0000, 0x1000, K4);
        regions.remove(old);
        let region = Region::new(range(0x10_0000, 0x1000), K4, K4).expect("a page");
        let new = regions.insert(region);
        assert_eq!(regions.get(old), Err(RegionRefusal::Gone(old)));
        assert!(regions.get(new).is_ok());
    }
}
