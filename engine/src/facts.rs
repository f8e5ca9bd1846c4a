//! What is true of a container, read once when its first group is attached.

use crate::{
    addr::{Bytes, Iova, PageShift},
    geometry::Geometry,
    kernel::{Platform, SpaprInfo, SystemFacts},
};

/// The second window's start on both platforms: `pnv_pci_ioda2_setup_dma_pe`'s bypass base, QEMU's `dma64_win_addr`.
const SECOND_WINDOW_START: Iova = Iova::new(1 << 59);
/// Where 32-bit addresses end.
const FOUR_GIB: Bytes = Bytes::gib(4);
/// `IOMMU_PAGE_MASK` is computed as an int on pseries, so that pages from 2 GiB up fail every alignment test.
const PSERIES_PAGE_SHIFT_MAX: u8 = 30;

/// One of a container's two places for a window (`IOMMU_TABLE_GROUP_MAX_TABLES`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// At bus address 0; the default window's place.
    Zero,
    /// At bus address 1 << 59.
    One,
}

impl Slot {
    /// Both, in the order in which the kernel fills them.
    pub const ALL: [Self; 2] = [Self::Zero, Self::One];

    /// Its number, 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }

    /// Its number, as messages and policies have it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }

    /// The slot with this number.
    #[must_use]
    pub const fn numbered(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Zero),
            1 => Some(Self::One),
            _ => None,
        }
    }
}

/// Bus addresses that no mapping may use although a window covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRange {
    /// The first.
    pub start: Iova,
    /// How many bytes.
    pub size: Bytes,
    /// What lies there instead.
    pub what: &'static str,
}

impl ReservedRange {
    /// How many bytes of it lie between `start` and `start + size`.
    #[must_use]
    pub fn overlap(&self, start: Iova, size: Bytes) -> Bytes {
        let low = self.start.raw().max(start.raw());
        let end = |start: Iova, size: Bytes| start.raw().saturating_add(size.raw());
        let high = end(self.start, self.size).min(end(start, size));
        Bytes::new(high.saturating_sub(low))
    }
}

/// What is true of a container for as long as it has a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Who makes the tables.
    pub platform: Platform,
    /// The kernel's page.
    pub system_page: PageShift,
    /// The page sizes a window can have, ascending. Those the kernel offers but breaks are left out.
    pub page_shifts: Vec<PageShift>,
    /// How many windows there can be: 1 or 2.
    pub windows_max: u8,
    /// The most levels the platform reports.
    pub levels_max: u8,
    /// The size of the default window, 4 KiB pages, which starts where slot 0 does.
    pub default_window: Bytes,
    /// Where slot 0 starts.
    pub default_start: Iova,
    /// Bus addresses to keep clear of.
    pub reserved: Vec<ReservedRange>,
    /// The locked-memory limit, if there is one.
    pub locked_limit: Option<Bytes>,
    /// Enhanced error handling is there.
    pub eeh: bool,
}

impl ContainerFacts {
    /// Puts together what the backend and the system say. `None` if the backend has no dynamic windows.
    #[must_use]
    pub fn new(info: &SpaprInfo, system: &SystemFacts, eeh: bool) -> Option<Self> {
        if !info.has_dynamic_windows() || info.windows_max == 0 {
            return None;
        }
        let default_start = Iova::new(u64::from(info.dma32_window_start));
        let default_window = Bytes::new(u64::from(info.dma32_window_size));
        Some(Self {
            platform: system.platform,
            system_page: system.page_shift,
            page_shifts: page_shifts(info.page_sizes, system.platform),
            windows_max: u8::try_from(info.windows_max).unwrap_or(u8::MAX).min(2),
            levels_max: u8::try_from(info.levels_max).unwrap_or(u8::MAX).max(1),
            default_window,
            default_start,
            reserved: reserved(system.platform, default_start, default_window),
            locked_limit: system.locked_limit,
            eeh,
        })
    }

    /// Where windows of this slot start by default.
    #[must_use]
    pub const fn slot_start(&self, slot: Slot) -> Iova {
        match slot {
            Slot::Zero => self.default_start,
            Slot::One => SECOND_WINDOW_START,
        }
    }

    /// The largest size a window that starts here can have: the low one ends where the high one starts.
    #[must_use]
    pub fn size_max_at(&self, start: Iova) -> Bytes {
        let end =
            if start < SECOND_WINDOW_START { SECOND_WINDOW_START } else { Iova::new(u64::MAX) };
        end.offset_from(start).unwrap_or_default()
    }

    /// Where a window that is created will start. On powernv its slot tells. On pseries the firmware makes a *dynamic*
    /// window, which starts high whatever its slot, of all but a request that resembles the default window
    /// (`is_default_window_request`).
    #[must_use]
    pub fn created_start(&self, slot: Slot, page: PageShift, size: Bytes) -> Iova {
        if self.is_dynamic(slot, page, size) { SECOND_WINDOW_START } else { self.slot_start(slot) }
    }

    /// Whether a window would be a dynamic one of pseries, of which a PE has one at most.
    #[must_use]
    pub fn is_dynamic(&self, slot: Slot, page: PageShift, size: Bytes) -> bool {
        let resembles_default =
            slot == Slot::Zero && page == PageShift::K4 && size <= self.default_window;
        self.platform == Platform::Pseries && !resembles_default
    }

    /// The arithmetic of this container's tables.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        Geometry {
            platform: self.platform,
            system_page: self.system_page,
            levels_max: self.levels_max,
        }
    }

    /// How many bytes between `start` and `start + size` are reserved.
    #[must_use]
    pub fn reserved_within(&self, start: Iova, size: Bytes) -> Bytes {
        self.reserved
            .iter()
            .map(|range| range.overlap(start, size))
            .fold(Bytes::ZERO, Bytes::saturating_add)
    }
}

fn page_shifts(mask: u64, platform: Platform) -> Vec<PageShift> {
    (0..64)
        .filter(|bit| mask & (1 << bit) != 0)
        .filter_map(PageShift::new)
        .filter(|page| platform == Platform::Powernv || page.raw() <= PSERIES_PAGE_SHIFT_MAX)
        .collect()
}

/// On powernv the 32-bit addresses behind the default window are MMIO, MSI included: the kernel keeps its own windows
/// clear of them (`pnv_pci_ioda2_setup_default_config`).
fn reserved(platform: Platform, start: Iova, size: Bytes) -> Vec<ReservedRange> {
    let Some(end) = start.checked_add(size) else { return Vec::new() };
    let gap = FOUR_GIB.checked_sub(Bytes::new(end.raw())).unwrap_or_default();
    match platform {
        Platform::Powernv if !gap.is_zero() => {
            vec![ReservedRange { start: end, size: gap, what: "mmio-32bit" }]
        }
        Platform::Powernv | Platform::Pseries => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(platform: Platform) -> SystemFacts {
        SystemFacts { platform, page_shift: PageShift::K64, locked_limit: None }
    }

    fn info(page_sizes: u64) -> SpaprInfo {
        SpaprInfo {
            flags: 1,
            dma32_window_start: 0,
            dma32_window_size: 0x8000_0000,
            page_sizes,
            windows_max: 2,
            levels_max: 5,
        }
    }

    #[test]
    fn powernv_reserves_the_32_bit_mmio_behind_the_default_window() {
        let facts = ContainerFacts::new(&info(0x4021_1000), &system(Platform::Powernv), true);
        let facts = facts.expect("dynamic windows");
        assert_eq!(facts.reserved_within(Iova::new(0), Bytes::gib(2)), Bytes::ZERO);
        assert_eq!(facts.reserved_within(Iova::new(0), Bytes::gib(8)), Bytes::gib(2));
        assert_eq!(facts.reserved_within(facts.slot_start(Slot::One), Bytes::gib(8)), Bytes::ZERO);
        let shifts: Vec<u8> = facts.page_shifts.iter().map(|page| page.raw()).collect();
        assert_eq!(shifts, [12, 16, 21, 30]);
    }

    #[test]
    fn pages_of_16_gib_are_never_offered_on_pseries() {
        let facts = ContainerFacts::new(&info(0x4_0121_1000), &system(Platform::Pseries), false);
        let facts = facts.expect("dynamic windows");
        assert!(facts.page_shifts.iter().all(|page| page.raw() < 31));
        assert!(facts.reserved.is_empty());
    }

    #[test]
    fn a_backend_without_dynamic_windows_has_no_facts() {
        let plain = SpaprInfo { flags: 0, ..info(0x1000) };
        assert_eq!(ContainerFacts::new(&plain, &system(Platform::Powernv), true), None);
    }

    #[test]
    fn a_firmware_that_does_not_tell_its_windows_has_two_at_most() {
        let shy = SpaprInfo { windows_max: u32::MAX, levels_max: 1, ..info(0x1000) };
        let facts = ContainerFacts::new(&shy, &system(Platform::Pseries), false);
        assert_eq!(facts.expect("dynamic windows").windows_max, 2);
    }
}
