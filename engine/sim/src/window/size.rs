//! How large a window's table is, what it costs, and whether the kernel can allocate it.
//!
//! The arithmetic is the kernel's, 32-bit wraps and oversized shifts included, because a window smaller than its page
//! is decided by them alone.

use tce_engine::{
    addr::PageShift,
    errno::Errno,
    kernel::{CreateCall, Platform},
};

use crate::profile::{POWERNV_LEVELS_MAX, Profile};

/// Largest piece of memory the page allocator hands out: `MAX_PAGE_ORDER` is 16 MiB with either page size.
const ALLOCATION_SHIFT_MAX: u64 = 24;
/// `pnv_pci_ioda2_table_alloc_pages` refuses tables that reach this many address bits.
const ADDRESS_BITS_MAX: u64 = 55;
/// `log2` of the size of a TCE.
const TCE_SHIFT: u32 = 3;
/// `~0U`: what `spapr_tce_get_table_size` says of more than one level.
const NO_SUCH_TABLE: u64 = 0xffff_ffff;

/// `ops->get_table_size`: the bytes to charge before the table is made; 0 is refused.
pub(crate) fn charged_bytes(profile: &Profile, call: &CreateCall) -> u64 {
    match profile.platform {
        Platform::Powernv => powernv_charged_bytes(profile.page_shift, call),
        Platform::Pseries => pseries_charged_bytes(call),
    }
}

/// `pnv_pci_ioda2_get_table_size`: each level aligned to one level's table, and all of it twice, for the user-space
/// copy.
fn powernv_charged_bytes(system: PageShift, call: &CreateCall) -> u64 {
    let size = call.size.raw();
    if !levels_exist(call.levels) || !size.is_power_of_two() {
        return 0;
    }
    let entries_shift = size.trailing_zeros().wrapping_sub(call.page_shift);
    let mut table_bytes = shifted(entries_shift.wrapping_add(TCE_SHIFT)).max(0x1000);
    let level_shift = level_shift(system, entries_shift, call.levels);
    let level_bytes = shifted(level_shift);
    let mut bytes: u64 = 0;
    for _ in 0..call.levels {
        bytes = bytes.wrapping_add(aligned(table_bytes, level_bytes));
        // The division by a power of two is a shift; an oversized one leaves nothing.
        table_bytes =
            if level_bytes == 0 { 0 } else { table_bytes >> level_bytes.trailing_zeros() };
        table_bytes = (table_bytes << TCE_SHIFT).max(level_bytes);
    }
    bytes.wrapping_mul(2)
}

/// `spapr_tce_get_table_size`: the mirror only; the table itself is the hypervisor's.
fn pseries_charged_bytes(call: &CreateCall) -> u64 {
    if call.levels > 1 {
        return NO_SUCH_TABLE;
    }
    shifted_down(call.size.raw(), call.page_shift.wrapping_sub(TCE_SHIFT))
}

/// `pnv_pci_ioda2_table_alloc_pages`: the number of TCEs the table gets. Only its first level is allocated now.
pub(crate) fn powernv_entries(system: PageShift, call: &CreateCall) -> Result<u64, Errno> {
    let size = call.size.raw();
    if !levels_exist(call.levels) || !size.is_power_of_two() {
        return Err(Errno::EINVAL);
    }
    let entries_shift = size.trailing_zeros().wrapping_sub(call.page_shift);
    let table_shift = entries_shift.wrapping_add(TCE_SHIFT).max(u32::from(system.raw()));
    let level_shift = u64::from(level_shift(system, entries_shift, call.levels));
    let address_bits =
        (level_shift - u64::from(TCE_SHIFT)) * u64::from(call.levels) + u64::from(call.page_shift);
    if address_bits >= ADDRESS_BITS_MAX {
        return Err(Errno::EINVAL);
    }
    if level_shift > ALLOCATION_SHIFT_MAX {
        return Err(Errno::ENOMEM);
    }
    // A table smaller than a page is rounded up to one: it_size grows beyond the window asked for.
    Ok(shifted(table_shift) >> TCE_SHIFT)
}

/// `log2` of the TCEs in one table of the lowest level.
pub(crate) fn lowest_level_shift(system: PageShift, call: &CreateCall) -> u32 {
    let entries_shift = call.size.raw().trailing_zeros().wrapping_sub(call.page_shift);
    level_shift(system, entries_shift, call.levels.max(1)).wrapping_sub(TCE_SHIFT) & 63
}

const fn levels_exist(levels: u32) -> bool {
    levels >= 1 && levels <= POWERNV_LEVELS_MAX
}

/// The size of one level's table, as a shift. `unsigned int` arithmetic, so a window below its page wraps.
fn level_shift(system: PageShift, entries_shift: u32, levels: u32) -> u32 {
    let per_level = entries_shift.wrapping_add(levels - 1) / levels;
    per_level.wrapping_add(TCE_SHIFT).max(u32::from(system.raw()))
}

/// `value >> shift` as POWER's `srd` does it.
pub(crate) fn shifted_down(value: u64, shift: u32) -> u64 {
    value.checked_shr(shift & 127).unwrap_or(0)
}

/// `1UL << shift` as POWER's `sld` does it: seven bits of the shift count, and 64 or more leave nothing.
pub(crate) fn shifted(shift: u32) -> u64 {
    1_u64.checked_shl(shift & 127).unwrap_or(0)
}

/// The kernel's `ALIGN`, which does not mind a zero.
const fn aligned(value: u64, to: u64) -> u64 {
    let mask = to.wrapping_sub(1);
    value.wrapping_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use tce_engine::addr::Bytes;

    use super::*;

    fn call(window_shift: u32, page_shift: u32, levels: u32) -> CreateCall {
        CreateCall { page_shift, size: Bytes::new(1 << window_shift), levels }
    }

    fn charged_kib(system: PageShift, window_shift: u32, page_shift: u32, levels: u32) -> u64 {
        powernv_charged_bytes(system, &call(window_shift, page_shift, levels)) >> 10
    }

    #[test]
    fn charges_are_those_measured_on_real_kernels() {
        let table = [
            // kernel-facts section 4, on 64K pages.
            (PageShift::K64, 31, 12, 1, 8192),
            (PageShift::K64, 36, 16, 2, 16_512),
            (PageShift::K64, 40, 16, 2, 262_272),
            (PageShift::K64, 40, 21, 1, 8192),
            // peers section 8.1.
            (PageShift::K4, 32, 21, 1, 32),
            (PageShift::K64, 32, 21, 1, 128),
            (PageShift::K4, 46, 21, 1, 524_288),
            (PageShift::K4, 46, 21, 2, 1_048_704 - 524_288),
            (PageShift::K64, 47, 21, 1, 1_048_576),
            (PageShift::K64, 47, 21, 2, 2_097_280 - 1_048_576),
            (PageShift::K4, 38, 21, 1, 2048),
            (PageShift::K4, 33, 30, 1, 8),
            (PageShift::K4, 46, 30, 1, 1024),
            // peers section 8.2: the default window and the guest's second one.
            (PageShift::K4, 30, 12, 2, 4104),
            (PageShift::K4, 31, 12, 2, 8208),
            (PageShift::K64, 31, 16, 1, 512),
            (PageShift::K64, 31, 21, 1, 128),
        ];
        for (system, window, page, levels, kib) in table {
            assert_eq!(charged_kib(system, window, page, levels), kib, "2^{window} of {page}");
        }
    }

    #[test]
    fn the_partition_pays_for_the_mirror_only() {
        let bytes = |levels| pseries_charged_bytes(&call(30, 12, levels));
        assert_eq!(bytes(1), 2 << 20);
        assert_eq!(bytes(0), 2 << 20);
        assert_eq!(bytes(2), 0xffff_ffff);
    }

    #[test]
    fn levels_that_work_are_those_of_the_table_in_the_facts() {
        let works = |system, page_shift, levels| {
            (page_shift..=52)
                .any(|window| powernv_entries(system, &call(window, page_shift, levels)).is_ok())
        };
        let table: [(PageShift, u32, u32); 10] = [
            (PageShift::K64, 12, 3),
            (PageShift::K64, 16, 2),
            (PageShift::K64, 21, 2),
            (PageShift::K64, 28, 2),
            (PageShift::K64, 30, 1),
            (PageShift::K4, 12, 4),
            (PageShift::K4, 16, 4),
            (PageShift::K4, 24, 3),
            (PageShift::K4, 28, 2),
            (PageShift::K4, 30, 2),
        ];
        for (system, page_shift, deepest) in table {
            for levels in 1..=5 {
                let expected = levels <= deepest;
                assert_eq!(works(system, page_shift, levels), expected, "{page_shift} {levels}");
            }
        }
    }

    #[test]
    fn a_level_beyond_16_mib_cannot_be_allocated() {
        let entries =
            |window, page, levels| powernv_entries(PageShift::K4, &call(window, page, levels));
        assert_eq!(entries(33, 12, 1), Ok(1 << 21));
        assert_eq!(entries(34, 12, 1), Err(Errno::ENOMEM));
        assert_eq!(entries(34, 12, 2), Ok(1 << 22));
        assert_eq!(entries(46, 21, 1), Err(Errno::ENOMEM));
    }

    #[test]
    fn a_small_table_fills_a_page() {
        let small = CreateCall { page_shift: 16, size: Bytes::mib(1), levels: 1 };
        // 1 MiB of 64K pages was asked for, 512 MiB are accepted.
        assert_eq!(powernv_entries(PageShift::K64, &small), Ok(8192));
        assert_eq!(powernv_entries(PageShift::K4, &small), Ok(512));
    }

    #[test]
    fn a_window_below_its_page_is_decided_by_wrapped_arithmetic() {
        let refused = call(12, 16, 1);
        assert_eq!(powernv_charged_bytes(PageShift::K4, &refused), 0);
        let accepted = call(15, 16, 1);
        assert_eq!(powernv_charged_bytes(PageShift::K4, &accepted), 8192);
        assert_eq!(powernv_entries(PageShift::K4, &accepted), Ok(512));
        let leaking = call(12, 16, 2);
        assert_ne!(powernv_charged_bytes(PageShift::K4, &leaking), 0);
        assert_eq!(powernv_entries(PageShift::K4, &leaking), Err(Errno::EINVAL));
    }

    #[test]
    fn no_level_and_odd_sizes_are_no_table() {
        assert_eq!(powernv_charged_bytes(PageShift::K4, &call(30, 12, 0)), 0);
        assert_eq!(powernv_charged_bytes(PageShift::K4, &call(30, 12, 6)), 0);
        let odd = CreateCall { page_shift: 12, size: Bytes::new(3 << 30), levels: 1 };
        assert_eq!(powernv_charged_bytes(PageShift::K4, &odd), 0);
        let nothing = CreateCall { page_shift: 12, size: Bytes::ZERO, levels: 1 };
        assert_eq!(powernv_charged_bytes(PageShift::K4, &nothing), 0);
    }
}
