//! What is true of a container, read once when its first group is attached.

mod limits;
mod reserved;

pub use self::{
    limits::PlatformLimits,
    reserved::{RESERVED_MAX, ReservedRange, ReservedRefusal},
};

use crate::{
    addr::{Bytes, Iova, PageShift, Pages},
    geometry::Geometry,
    kernel::{Platform, SpaprInfo, SystemFacts},
    room::Room,
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

/// Which windows `TCE_CREATE` makes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creatable {
    /// All that the formulas allow.
    Any,
    /// Those like the default window. The firmware of this partition has no dynamic ones, and asking for one would
    /// put the PE on `failed_ddw_pdn_list`.
    DefaultLike,
    /// None until the partition boots anew: its PE is on `failed_ddw_pdn_list`. Each attempt would fail with `ENODEV`
    /// and leave its charge behind.
    Nothing,
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
    /// Bus addresses to keep clear of, ascending. None overlaps another.
    pub reserved: Vec<ReservedRange>,
    /// Which windows can be made.
    pub creatable: Creatable,
    /// The most TCEs of a partition's dynamic window, as far as that is known: configured ([`PlatformLimits`]), or
    /// learnt from a refusal of the firmware's. `GET_INFO` does not tell it.
    pub dynamic_tces_max: Option<Pages>,
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
        let creatable = creatable(info, system.platform);
        let windows_max = match creatable {
            Creatable::Any => u8::try_from(info.windows_max).unwrap_or(u8::MAX).min(2),
            Creatable::DefaultLike | Creatable::Nothing => 1,
        };
        let default_start = Iova::new(u64::from(info.dma32_window_start));
        let default_window = Bytes::new(u64::from(info.dma32_window_size));
        Some(Self {
            platform: system.platform,
            system_page: system.page_shift,
            page_shifts: page_shifts(info.page_sizes, system.platform),
            windows_max,
            levels_max: u8::try_from(info.levels_max).unwrap_or(u8::MAX).max(1),
            default_window,
            default_start,
            reserved: reserved(system.platform, default_start, default_window),
            creatable,
            dynamic_tces_max: None,
            locked_limit: system.locked_limit,
            eeh,
        })
    }

    /// The same within what the embedder knows of its platform.
    #[must_use]
    pub fn limited_by(mut self, limits: &PlatformLimits) -> Self {
        if let Some(tces_max) = limits.dynamic_tces_max() {
            self.limit_dynamic(tces_max);
        }
        reserved::join(&mut self.reserved, limits.reserved());
        self
    }

    /// Bounds dynamic windows, unless they are bounded tighter already.
    pub(crate) fn limit_dynamic(&mut self, tces_max: Pages) {
        let known = self.dynamic_tces_max.unwrap_or(tces_max);
        self.dynamic_tces_max = Some(known.min(tces_max));
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

    /// How many bytes between `start` and `start + size` leases and mappings can have: whole pages of this size that no
    /// reserved range touches.
    #[must_use]
    pub fn usable_within(&self, start: Iova, size: Bytes, page: PageShift) -> Bytes {
        Room::of(start, size, &self.reserved).in_pages(page).size()
    }
}

/// `windows_max` of a partition whose firmware has no dynamic windows, or does not answer for them
/// (`spapr_tce_init_table_group`).
const NO_DYNAMIC_WINDOWS: u32 = u32::MAX;

fn creatable(info: &SpaprInfo, platform: Platform) -> Creatable {
    match platform {
        Platform::Pseries if info.windows_max == NO_DYNAMIC_WINDOWS => Creatable::DefaultLike,
        Platform::Powernv | Platform::Pseries => Creatable::Any,
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
mod tests;
