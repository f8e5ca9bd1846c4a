//! The arithmetic of TCE tables: which tables work, how large they are, what they cost.
//!
//! Everything is computed before the kernel is asked. Probing would be wrong: the kernel keeps the charge of each
//! attempt that fails (`tce_iommu_create_table`).

use crate::{
    addr::{Bytes, PageShift},
    kernel::Platform,
};

/// The base-2 logarithm of one table entry's size: 8 bytes.
const TCE_SIZE_SHIFT: u32 = 3;
/// The largest piece of a table the kernel can allocate: `MAX_PAGE_ORDER`, 16 MiB with 4K and with 64K pages.
const TABLE_PIECE_SHIFT_MAX: u32 = 24;
/// `pnv_pci_ioda2_table_alloc_pages` refuses tables that reach this many address bits.
const POWERNV_ADDRESS_BITS: u32 = 55;
/// `POWERNV_IOMMU_MAX_LEVELS`.
const POWERNV_LEVELS_MAX: u8 = 5;
/// `get_table_size` of pseries knows one level.
const PSERIES_LEVELS_MAX: u8 = 1;

/// A table that the kernel can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Its levels, at least 1.
    pub levels: u8,
    /// Bytes of the hardware table when it is full.
    pub table: Bytes,
    /// What `account_locked_vm` charges for it: on powernv the table and its user-space copy, on pseries the copy
    /// alone, since the table is the hypervisor's.
    pub charge: Bytes,
}

/// What the arithmetic depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Who makes the tables.
    pub platform: Platform,
    /// The kernel's page.
    pub system_page: PageShift,
    /// The most levels the container reports. Fewer may work.
    pub levels_max: u8,
}

impl Geometry {
    /// Every table that works for a window of this page and size, fewest levels first. Empty if none does: then the
    /// size is no power of two, smaller than a page, or too large.
    #[must_use]
    pub fn shapes(&self, page: PageShift, size: Bytes) -> Vec<TableShape> {
        let platform_max = match self.platform {
            Platform::Powernv => POWERNV_LEVELS_MAX,
            Platform::Pseries => PSERIES_LEVELS_MAX,
        };
        (1..=self.levels_max.min(platform_max))
            .filter_map(|levels| self.shape(page, size, levels))
            .collect()
    }

    /// The table with exactly these levels, if the kernel can make it.
    #[must_use]
    pub fn shape(&self, page: PageShift, size: Bytes, levels: u8) -> Option<TableShape> {
        if !size.raw().is_power_of_two() || levels == 0 || levels > self.levels_max {
            return None;
        }
        let entries_shift = size.raw().trailing_zeros().checked_sub(u32::from(page.raw()))?;
        match self.platform {
            Platform::Powernv => self.powernv_shape(page, entries_shift, levels),
            Platform::Pseries => self.pseries_shape(entries_shift, levels),
        }
    }

    /// `pnv_pci_ioda2_table_alloc_pages` and `pnv_pci_ioda2_get_table_size`.
    fn powernv_shape(&self, page: PageShift, entries_shift: u32, levels: u8) -> Option<TableShape> {
        if levels > POWERNV_LEVELS_MAX {
            return None;
        }
        let piece_shift = (entries_shift.div_ceil(u32::from(levels)) + TCE_SIZE_SHIFT)
            .max(u32::from(self.system_page.raw()));
        let address_bits =
            (piece_shift - TCE_SIZE_SHIFT) * u32::from(levels) + u32::from(page.raw());
        if piece_shift > TABLE_PIECE_SHIFT_MAX || address_bits >= POWERNV_ADDRESS_BITS {
            return None;
        }
        let table = levels_total(entries_shift, piece_shift, levels)?;
        let charge = table.checked_add(table)?;
        Some(TableShape { levels, table, charge })
    }

    /// `spapr_tce_get_table_size`. The charge is in whole system pages, rounded down.
    fn pseries_shape(&self, entries_shift: u32, levels: u8) -> Option<TableShape> {
        if levels != PSERIES_LEVELS_MAX {
            return None;
        }
        let table = Bytes::new(1u64.checked_shl(entries_shift + TCE_SIZE_SHIFT)?);
        let page = self.system_page.bytes().raw();
        let charge = Bytes::new(table.raw() / page * page);
        Some(TableShape { levels, table, charge })
    }
}

/// The bytes of all levels of a full table: each is rounded up to whole pieces, and each but the lowest points to the
/// pieces of the next.
fn levels_total(entries_shift: u32, piece_shift: u32, levels: u8) -> Option<Bytes> {
    const HARDWARE_TABLE_MIN: u64 = 0x1000;
    let piece = 1u64.checked_shl(piece_shift)?;
    let mut level = 1u64.checked_shl(entries_shift + TCE_SIZE_SHIFT)?.max(HARDWARE_TABLE_MIN);
    let mut total = 0u64;
    for _ in 0..levels {
        total = total.checked_add(level.checked_next_multiple_of(piece)?)?;
        level = ((level / piece) << TCE_SIZE_SHIFT).max(piece);
    }
    Some(Bytes::new(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn powernv(system_page: PageShift) -> Geometry {
        Geometry { platform: Platform::Powernv, system_page, levels_max: 5 }
    }

    fn charge_kib(geometry: Geometry, page: PageShift, size_shift: u32, levels: u8) -> Option<u64> {
        let shape = geometry.shape(page, Bytes::new(1 << size_shift), levels)?;
        assert_eq!(shape.charge.raw() % 1024, 0);
        Some(shape.charge.raw() / 1024)
    }

    #[test]
    fn charges_are_what_a_real_powernv_kernel_charged() {
        let k64 = powernv(PageShift::K64);
        assert_eq!(charge_kib(k64, PageShift::K4, 31, 1), Some(8192));
        assert_eq!(charge_kib(k64, PageShift::K64, 36, 2), Some(16512));
        assert_eq!(charge_kib(k64, PageShift::K64, 40, 2), Some(262_272));
        assert_eq!(charge_kib(k64, PageShift::M2, 40, 1), Some(8192));
        assert_eq!(charge_kib(k64, PageShift::M2, 32, 1), Some(128));
        let k4 = powernv(PageShift::K4);
        assert_eq!(charge_kib(k4, PageShift::M2, 32, 1), Some(32));
        assert_eq!(charge_kib(k4, PageShift::M2, 38, 1), Some(2048));
        assert_eq!(charge_kib(k4, PageShift::G1, 33, 1), Some(8));
        assert_eq!(charge_kib(k4, PageShift::M2, 46, 2), Some(1_048_704 - 524_288));
    }

    #[test]
    fn a_table_piece_of_more_than_16_mib_cannot_be_allocated() {
        let k64 = powernv(PageShift::K64);
        assert!(k64.shape(PageShift::K4, Bytes::gib(8), 1).is_some());
        assert_eq!(k64.shape(PageShift::K4, Bytes::gib(16), 1), None);
        assert_eq!(k64.shapes(PageShift::K4, Bytes::gib(16))[0].levels, 2);
    }

    /// The most levels that can work at all, for each page, as computed from the kernel's code.
    #[test]
    fn deep_tables_fail_where_the_kernel_says_so() {
        let most = |geometry: Geometry, page: PageShift| {
            (0..40)
                .flat_map(|extra| geometry.shapes(page, Bytes::new(page.bytes().raw() << extra)))
                .map(|shape| shape.levels)
                .max()
        };
        for (page, k64, k4) in [
            (PageShift::K4, 3, 4),
            (PageShift::K64, 2, 4),
            (PageShift::M2, 2, 3),
            (PageShift::M16, 2, 3),
            (PageShift::G1, 1, 2),
        ] {
            assert_eq!(most(powernv(PageShift::K64), page), Some(k64), "{page} on 64K");
            assert_eq!(most(powernv(PageShift::K4), page), Some(k4), "{page} on 4K");
        }
    }

    #[test]
    fn pseries_charges_the_copy_alone_and_knows_one_level() {
        let pseries =
            Geometry { platform: Platform::Pseries, system_page: PageShift::K4, levels_max: 1 };
        let shapes = pseries.shapes(PageShift::K4, Bytes::gib(1));
        assert_eq!(shapes.len(), 1);
        assert_eq!(shapes[0].charge, Bytes::mib(2));
        assert_eq!(pseries.shape(PageShift::K4, Bytes::gib(1), 2), None);
    }

    #[test]
    fn sizes_the_kernel_would_mangle_have_no_table() {
        let k64 = powernv(PageShift::K64);
        assert_eq!(k64.shape(PageShift::K64, Bytes::ZERO, 1), None);
        assert_eq!(k64.shape(PageShift::K64, Bytes::kib(4), 1), None);
        assert_eq!(k64.shape(PageShift::K4, Bytes::kib(12), 1), None);
        assert_eq!(k64.shape(PageShift::K4, Bytes::gib(2), 0), None);
        assert_eq!(k64.shape(PageShift::K4, Bytes::gib(2), 6), None);
    }
}
