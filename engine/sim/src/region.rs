//! Registered memory of a process: `mm_iommu_table_group_mem_t`, in its `mm`'s list.
//!
//! Invariant: regions do not overlap, so the first address names one. A region lives while `users` is not 0; `users`
//! can stay at 1 with no container behind it, which is the leak of `tce_iommu_unregister_pages`.

use std::collections::BTreeMap;

use tce_engine::{errno::Errno, kernel::MemoryRange};

use crate::{memory::Stretch, process::Mm, profile::Profile, window::entry::recorded_address};

/// `mm_iommu_do_alloc` pins as many pages at a time as 16 MiB hold pointers.
const PIN_CHUNK_PAGES: u64 = (16 << 20) / 8;

/// The regions, by first address.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    by_start: BTreeMap<u64, Region>,
}

/// One region.
#[derive(Debug)]
pub(crate) struct Region {
    /// Its end.
    pub(crate) end: u64,
    /// The largest TCE page it takes (`mem->pageshift`).
    pub(crate) page_shift: u8,
    /// The pages behind it.
    stretches: Vec<Stretch>,
    /// References (`mem->used`).
    pub(crate) users: u64,
    /// TCEs that point into it (`mem->mapped`, without the kernel's initial 1).
    pub(crate) mapped: u64,
}

/// Memory that one TCE after the other can be made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backed {
    /// The region.
    pub(crate) region: u64,
    /// Bytes from the address on that the same answer holds for; at least one TCE page.
    pub(crate) bytes: u64,
}

impl Regions {
    /// `mm_iommu_get`: finds exactly this range. The caller takes the reference, or not.
    pub(crate) fn exact(&mut self, range: MemoryRange) -> Option<&mut Region> {
        let start = range.address.raw();
        self.by_start.get_mut(&start).filter(|region| region.end - start == range.size.raw())
    }

    pub(crate) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.by_start.range(..end).next_back().is_some_and(|(_, region)| region.end > start)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Region)> {
        self.by_start.iter().map(|(start, region)| (*start, region))
    }

    /// The region that the whole TCE page lies in (`mm_iommu_lookup`, and the shift test of `mm_iommu_ua_to_hpa`).
    pub(crate) fn of_page(&self, address: u64, page_shift: u8) -> Option<(u64, &Region)> {
        let (start, region) = self.by_start.range(..=address).next_back()?;
        let page_end = address.checked_add(1 << page_shift)?;
        (page_end <= region.end && page_shift <= region.page_shift).then_some((*start, region))
    }

    /// Whether no TCE points into any region of this range, as far as the kernel counts.
    pub(crate) fn is_unmapped(&self, start: u64, end: u64) -> bool {
        let touching =
            self.by_start.range(..end).rev().take_while(|(_, region)| region.end > start);
        touching.map(|(_, region)| region.mapped).sum::<u64>() == 0
    }

    /// Whether TCEs can be made from here on, and how far (`tce_iommu_prereg_ua_to_hpa`, `tce_page_is_contained`).
    pub(crate) fn backing(&self, address: u64, page_shift: u8) -> Result<Backed, Errno> {
        let (start, region) = self.of_page(address, page_shift).ok_or(Errno::EINVAL)?;
        let stretch = region.stretches.iter().find(|stretch| address < stretch.end);
        let stretch = stretch.ok_or(Errno::EINVAL)?;
        if stretch.page_shift < page_shift {
            return Err(Errno::EPERM);
        }
        // A page that starts in this stretch is judged by its first address, as the kernel does.
        let page = 1_u64 << page_shift;
        let bytes = (stretch.end - address).next_multiple_of(page).min(region.end - address);
        Ok(Backed { region: start, bytes: bytes & !(page - 1) })
    }

    /// `mm_iommu_mapped_inc`, for many.
    pub(crate) fn mapped_inc(&mut self, region: u64, count: u64) {
        if let Some(region) = self.by_start.get_mut(&region) {
            region.mapped += count;
        }
    }

    /// `mm_iommu_mapped_dec`, for many: never below nothing.
    pub(crate) fn mapped_dec(&mut self, region: u64, count: u64) {
        if let Some(region) = self.by_start.get_mut(&region) {
            region.mapped = region.mapped.saturating_sub(count);
        }
    }
}

impl Mm {
    /// `mm_iommu_do_alloc`: charges, pins and lists a new region, in this order. Returns what the call returns.
    pub(crate) fn pin(&mut self, range: MemoryRange, profile: &Profile) -> Result<i32, Errno> {
        let pages = range.size.raw() >> profile.page_shift.raw();
        self.locked.charge(pages)?;
        let pinned = self.pinned(range, profile);
        if let Ok(Pinned::All(region)) = pinned {
            self.regions.by_start.insert(range.address.raw(), region);
            return Ok(0);
        }
        self.locked.uncharge(pages);
        pinned.map(|pinned| pinned.answer())
    }

    fn pinned(&self, range: MemoryRange, profile: &Profile) -> Result<Pinned, Errno> {
        let (start, size) = (range.address.raw(), range.size.raw());
        let pages = size >> profile.page_shift.raw();
        // vzalloc of one word per page: nothing for no page, and no more than there is memory.
        if pages == 0 || pages.saturating_mul(8) > profile.memory.raw() {
            return Err(Errno::ENOMEM);
        }
        let end = start.checked_add(size).ok_or(Errno::EINVAL)?;
        let stretches = self.memory.pinnable(start, end);
        let covered = stretches.last().map_or(start, |stretch| stretch.end);
        if covered < end {
            return part_pinned((covered - start) >> profile.page_shift.raw());
        }
        if self.regions.overlaps(start, end) {
            return Err(Errno::EINVAL);
        }
        let page_shift = region_page_shift(start | size, &stretches, profile);
        Ok(Pinned::All(Region { end, page_shift, stretches, users: 1, mapped: 0 }))
    }

    /// `mm_iommu_put`: the last reference unpins, unless TCEs point into the region.
    pub(crate) fn put(&mut self, region: u64, profile: &Profile) -> Result<(), Errno> {
        let Some(present) = self.regions.by_start.get_mut(&region) else {
            return Err(Errno::ENOENT);
        };
        if present.users > 1 {
            present.users -= 1;
            return Ok(());
        }
        if present.mapped > 0 {
            return Err(Errno::EBUSY);
        }
        let bytes = present.end - region;
        self.regions.by_start.remove(&region);
        self.locked.uncharge(bytes >> profile.page_shift.raw());
        self.drop_unpinned();
        Ok(())
    }
}

/// What pinning came to.
enum Pinned {
    All(Region),
    /// The memory ends inside the range. What was pinned is let go, but its number of pages is what the call returns,
    /// because `mm_iommu_do_alloc` sets `EFAULT` only where `pin_user_pages` said 0.
    Part(i32),
}

impl Pinned {
    const fn answer(&self) -> i32 {
        match self {
            Self::All(_) => 0,
            Self::Part(pages) => *pages,
        }
    }
}

/// The memory ends after so many pages. The kernel pins chunk by chunk, and tells of the last.
fn part_pinned(pages: u64) -> Result<Pinned, Errno> {
    match i32::try_from(pages % PIN_CHUNK_PAGES) {
        Ok(0) | Err(_) => Err(Errno::EFAULT),
        Ok(last) => Ok(Pinned::Part(last)),
    }
}

/// The alignment of the range, capped by the pages behind it; only hugetlb pages count as larger than the system's.
/// As in the kernel, small pages after hugetlb ones are not seen, because `pageshift` is not reset in the loop.
fn region_page_shift(start_or_size: u64, stretches: &[Stretch], profile: &Profile) -> u8 {
    let system = profile.page_shift.raw();
    let natural = u8::try_from(start_or_size.trailing_zeros()).unwrap_or(u8::MAX);
    let mut seen = system;
    let mut shift = natural;
    for stretch in stretches {
        if shift > system && stretch.page_shift > system {
            seen = stretch.page_shift;
        }
        shift = shift.min(seen);
    }
    shift
}

/// TCEs on their way out, counted per region: `tce_iommu_unuse_page_v2`, without a lookup for each.
pub(crate) struct Unused<'a> {
    regions: &'a mut Regions,
    page_shift: u8,
    region: u64,
    from: u64,
    until: u64,
    count: u64,
}

impl<'a> Unused<'a> {
    pub(crate) fn new(regions: &'a mut Regions, page_shift: u8) -> Self {
        Self { regions, page_shift, region: 0, from: 1, until: 0, count: 0 }
    }

    /// Counts one old TCE off, if it is known what was behind it.
    pub(crate) fn put(&mut self, word: u64) {
        let Some(address) = recorded_address(word) else { return };
        let address = address.raw();
        if self.from <= address && address < self.until {
            self.count += 1;
        } else {
            self.move_to(address);
        }
    }

    fn move_to(&mut self, address: u64) {
        self.settle();
        if let Some((start, region)) = self.regions.of_page(address, self.page_shift) {
            (self.region, self.from, self.until) = (start, start, region.end);
            self.count = 1;
        }
    }

    fn settle(&mut self) {
        self.regions.mapped_dec(self.region, self.count);
        self.count = 0;
    }

    /// Books what was counted.
    pub(crate) fn finish(mut self) {
        self.settle();
    }
}
