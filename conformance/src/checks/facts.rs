//! What a check has to know of the machine.

use std::fmt;

use tce_engine::kernel::Platform;
use tce_sim::{
    Profile,
    profile::{Eeh, KernelVersion, Kvm},
};

use crate::seat::Seat;

/// Huge pages of 2 MiB, as `log2`.
pub(super) const HUGE_PAGE_SHIFT: u8 = 21;
/// The least a level's table is charged for, in bytes.
const TABLE_BYTES_MIN: u64 = 4096;
/// `log2` of a TCE's size.
const TCE_SHIFT: u32 = 3;
/// A partition's charge for a table of more than one level, which it cannot make.
const NO_SUCH_TABLE: u64 = 0xffff_ffff;

/// The machine, as far as what the kernel answers depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The firmware interface.
    pub platform: Platform,
    /// The kernel's version.
    pub kernel: KernelVersion,
    /// `log2` of the kernel's page.
    pub page_shift: u32,
    /// TCE page sizes, one bit each.
    pub page_sizes: u64,
    /// Windows, as `GET_INFO` tells.
    pub windows_max: u32,
    /// Levels, as `GET_INFO` tells.
    pub levels_max: u32,
    /// Bytes of the default window.
    pub default_window: u64,
    /// Where the window of each slot starts; in a partition: the default window, and one the firmware makes.
    pub slot_starts: [u64; 2],
    /// Enhanced error handling.
    pub eeh: Eeh,
    /// Whether there is KVM.
    pub kvm: Kvm,
    /// Free huge pages of 2 MiB.
    pub huge_pages: u64,
    /// The groups that may be used.
    pub seats: Vec<Seat>,
}

impl Facts {
    /// Of a machine like this profile, of which these groups may be used.
    #[must_use]
    pub fn of(profile: &Profile, seats: &[Seat]) -> Self {
        let pools = profile.hugetlb.iter();
        let huge = pools.filter(|pool| pool.page.raw() == HUGE_PAGE_SHIFT);
        Self {
            platform: profile.platform,
            kernel: profile.kernel,
            page_shift: u32::from(profile.page_shift.raw()),
            page_sizes: profile.page_sizes,
            windows_max: profile.windows_max,
            levels_max: profile.levels_max,
            default_window: profile.default_window.raw(),
            slot_starts: profile.slot_starts.map(tce_engine::addr::Iova::raw),
            eeh: profile.eeh,
            kvm: profile.kvm,
            huge_pages: huge.map(|pool| pool.free).sum(),
            seats: seats.to_vec(),
        }
    }

    /// Bytes of the kernel's page.
    #[must_use]
    pub const fn page(&self) -> u64 {
        1 << self.page_shift
    }

    /// Whether windows can have this page.
    #[must_use]
    pub const fn offers(&self, page_shift: u32) -> bool {
        page_shift < u64::BITS && self.page_sizes >> page_shift & 1 == 1
    }

    /// The pages that windows can have, as shifts.
    pub fn page_shifts(&self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(|shift| self.offers(*shift))
    }

    /// The smallest page of a window that is larger than the kernel's, up to that of a huge page.
    #[must_use]
    pub fn larger_page(&self) -> Option<u32> {
        let larger = |shift: &u32| *shift > self.page_shift && *shift <= u32::from(HUGE_PAGE_SHIFT);
        self.page_shifts().find(larger)
    }

    /// Where a window with another page than 4K starts, if the default one was declined: on powernv in its place, in a
    /// partition where the firmware puts such windows.
    #[must_use]
    pub const fn declined_start(&self) -> u64 {
        match self.platform {
            Platform::Powernv => self.slot_starts[0],
            Platform::Pseries => self.slot_starts[1],
        }
    }

    /// What the default window costs in locked memory.
    #[must_use]
    pub fn default_charge(&self) -> u64 {
        self.charge(12, self.default_window, 1)
    }

    /// What a window costs in locked memory, before it is known whether it can be made: on powernv
    /// `pnv_pci_ioda2_get_table_size`, the table and its user-space copy; in a partition `spapr_tce_get_table_size`, the
    /// copy alone.
    #[must_use]
    pub fn charge(&self, page_shift: u32, size: u64, levels: u32) -> u64 {
        match self.platform {
            Platform::Powernv => 2 * self.powernv_table(page_shift, size, levels),
            Platform::Pseries if levels > 1 => self.whole_pages(NO_SUCH_TABLE),
            Platform::Pseries => self.whole_pages(size >> page_shift.saturating_sub(TCE_SHIFT)),
        }
    }

    /// The kernel counts pages, and drops what is left over.
    const fn whole_pages(&self, bytes: u64) -> u64 {
        bytes >> self.page_shift << self.page_shift
    }

    fn powernv_table(&self, page_shift: u32, size: u64, levels: u32) -> u64 {
        let entries_shift = size.checked_ilog2().unwrap_or(0).saturating_sub(page_shift);
        let level_shift = (entries_shift.div_ceil(levels) + TCE_SHIFT).max(self.page_shift);
        let mut table: u64 = (1 << (entries_shift + TCE_SHIFT)).max(TABLE_BYTES_MIN);
        let mut bytes = 0;
        for _ in 0..levels {
            bytes += table.next_multiple_of(1 << level_shift);
            table = (table >> level_shift << TCE_SHIFT).max(1 << level_shift);
        }
        bytes
    }

    /// The most levels of the smallest table that powernv makes: it refuses tables of 55 address bits and more.
    #[must_use]
    pub fn deepest_levels(&self, page_shift: u32) -> u32 {
        54_u32.saturating_sub(page_shift) / self.page_shift.saturating_sub(TCE_SHIFT).max(1)
    }
}

impl fmt::Display for Facts {
    /// One line for people: `powernv, Linux 6.12.107, 4K pages, 2 groups`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelVersion { major, minor, patch } = self.kernel;
        let (pages, groups) = (self.page() >> 10, self.seats.len());
        let plural = if groups == 1 { "" } else { "s" };
        write!(
            f,
            "{}, Linux {major}.{minor}.{patch}, {pages}K pages, {groups} group{plural}",
            self.platform
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kib(machine: &str, page_shift: u32, size_shift: u32, levels: u32) -> u64 {
        let profile = Profile::named(machine).expect("it is a name");
        Facts::of(&profile, &[]).charge(page_shift, 1 << size_shift, levels) >> 10
    }

    #[test]
    fn charges_are_those_of_real_kernels() {
        assert_eq!(kib("powernv9", 12, 31, 1), 8192);
        assert_eq!(kib("powernv9-64k", 12, 31, 1), 8192);
        assert_eq!(kib("powernv9-64k", 16, 36, 2), 16_512);
        assert_eq!(kib("powernv9-64k", 16, 40, 2), 262_272);
        assert_eq!(kib("powernv9-64k", 21, 40, 1), 8192);
        assert_eq!(kib("powernv9", 21, 32, 1), 32);
        assert_eq!(kib("powernv9-64k", 21, 32, 1), 128);
        assert_eq!(kib("pseries", 12, 30, 1), 2048);
        assert_eq!(kib("pseries", 12, 30, 2), (4 << 20) - 4);
    }

    #[test]
    fn levels_are_those_of_real_kernels() {
        let deepest = |machine, page_shift| {
            Facts::of(&Profile::named(machine).expect("it is a name"), &[])
                .deepest_levels(page_shift)
        };
        assert_eq!([12, 16, 21, 30].map(|shift| deepest("powernv9", shift)), [4, 4, 3, 2]);
        assert_eq!([12, 16, 21, 30].map(|shift| deepest("powernv9-64k", shift)), [3, 2, 2, 1]);
    }
}
