//! A guest's TCE table: what the guest believes (`kvmppc_spapr_tce_table`), and the hardware's tables that follow it.

use std::collections::BTreeMap;

use tce_engine::{addr::PageShift, errno::Errno, kernel::GuestTableCall};

use super::VmId;
use crate::{
    inspect::GuestTableView,
    window::{TableId, Window},
};

/// Names a guest's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GuestTableId(pub(crate) u32);

/// Pages of a guest's TCEs: 12 to 34.
const PAGE_SHIFT_MIN: u32 = 12;
const PAGE_SHIFT_MAX: u32 = 34;
/// `sizeof(struct kvmppc_spapr_tce_table)`, in front of its pointers to pages.
const HEADER_BYTES: u64 = 120;
/// `KMALLOC_MAX_SIZE`: 16 MiB with either page size.
const ALLOCATION_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a TCE, and of a pointer to a page.
const WORD_BYTES: u64 = 8;

/// The table.
#[derive(Debug)]
pub(crate) struct GuestTable {
    pub(crate) vm: VmId,
    pub(crate) call: GuestTableCall,
    /// What it costs in locked memory, in system pages.
    pub(crate) charge_pages: u64,
    /// The hardware's tables that follow, newest first.
    hardware: Vec<Lease>,
    /// TCEs as the guest set them, but for zeros: runs of one value, by the number of their first. They do not overlap.
    tces: BTreeMap<u64, Run>,
}

/// A hold on a table of the hardware's (`kvmppc_spapr_tce_iommu_table`).
#[derive(Clone, Copy, Debug)]
struct Lease {
    table: TableId,
    references: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    end: u64,
    value: u64,
}

/// The checks that come before anything is charged.
pub(crate) fn check(call: &GuestTableCall) -> Result<(), Errno> {
    let shift_exists = (PAGE_SHIFT_MIN..=PAGE_SHIFT_MAX).contains(&call.page_shift);
    // The sum wraps, as the kernel's does.
    let fits = || call.offset.wrapping_add(call.size) <= u64::MAX >> call.page_shift;
    if call.size == 0 || !shift_exists || !fits() { Err(Errno::EINVAL) } else { Ok(()) }
}

/// What a table costs (`kvmppc_stt_pages`), and whether it can be allocated.
pub(crate) struct Cost {
    /// System pages to charge.
    pub(crate) pages: u64,
    bytes_at_once: u64,
}

impl Cost {
    pub(crate) fn of(call: &GuestTableCall, system: PageShift) -> Self {
        let page = system.bytes().raw();
        // ALIGN wraps as well: a size that does costs nothing, and no address reaches its table.
        let tce_pages = call.size.wrapping_mul(WORD_BYTES).wrapping_add(page - 1) / page;
        let bytes_at_once = tce_pages.saturating_mul(WORD_BYTES).saturating_add(HEADER_BYTES);
        Self { pages: tce_pages.saturating_add(bytes_at_once.div_ceil(page)), bytes_at_once }
    }

    /// The table's header and pointers come from one allocation.
    pub(crate) const fn is_allocatable(&self) -> bool {
        self.bytes_at_once <= ALLOCATION_BYTES_MAX
    }
}

impl GuestTable {
    pub(crate) const fn new(vm: VmId, call: GuestTableCall, charge_pages: u64) -> Self {
        Self { vm, call, charge_pages, hardware: Vec::new(), tces: BTreeMap::new() }
    }

    /// Whether a window can follow: the same place, no larger page, and no smaller size.
    pub(crate) fn fits(&self, window: &Window) -> bool {
        let shift = u32::from(window.page_shift.raw());
        let size = window.table.entries() << shift;
        shift <= self.call.page_shift
            && window.start.raw() == self.call.offset << self.call.page_shift
            && size >= self.call.size << self.call.page_shift
    }

    /// The number of the TCE for an I/O address in the table, if it is aligned and inside (`iommu_tce_check_ioba` of one
    /// page, its sum wrapping).
    pub(crate) fn index_of(&self, ioba: u64) -> Option<u64> {
        let entry = ioba >> self.call.page_shift;
        let is_aligned = entry << self.call.page_shift == ioba;
        let is_inside = entry < self.call.offset.wrapping_add(self.call.size);
        entry.checked_sub(self.call.offset).filter(|_| is_aligned && is_inside)
    }

    /// Makes a table follow. One that does already is only held once more.
    pub(crate) fn hold(&mut self, table: TableId) {
        match self.hardware.iter_mut().find(|lease| lease.table == table) {
            Some(lease) => lease.references += 1,
            None => self.hardware.insert(0, Lease { table, references: 1 }),
        }
    }

    pub(crate) fn holds(&self, table: TableId) -> bool {
        self.hardware.iter().any(|lease| lease.table == table)
    }

    /// Gives one hold back.
    pub(crate) fn release(&mut self, table: TableId) {
        for lease in self.hardware.iter_mut().filter(|lease| lease.table == table) {
            lease.references = lease.references.saturating_sub(1);
        }
        self.hardware.retain(|lease| lease.references > 0);
    }

    /// The tables that follow.
    pub(crate) fn hardware(&self) -> Vec<TableId> {
        self.hardware.iter().map(|lease| lease.table).collect()
    }

    pub(crate) fn view(&self) -> GuestTableView {
        let references = self.hardware.iter().map(|lease| lease.references).sum();
        GuestTableView { liobn: self.call.liobn, references }
    }

    /// Writes down what the guest set in some TCEs (`kvmppc_tce_put`), by the first's number from address 0 on.
    pub(crate) fn put(&mut self, entry: u64, count: u64, value: u64) {
        let start = entry.wrapping_sub(self.call.offset);
        let end = start.saturating_add(count);
        self.split_at(start);
        self.split_at(end);
        let covered: Vec<u64> = self.tces.range(start..end).map(|(first, _)| *first).collect();
        for first in covered {
            self.tces.remove(&first);
        }
        if value != 0 && start < end {
            self.tces.insert(start, Run { end, value });
        }
    }

    fn split_at(&mut self, at: u64) {
        let run = self.tces.range_mut(..at).next_back().map(|(_, run)| run);
        if let Some(run) = run.filter(|run| run.end > at) {
            let rest = *run;
            run.end = at;
            self.tces.insert(at, rest);
        }
    }

    /// What the guest set, by the TCE's number in the table.
    pub(crate) fn tce(&self, index: u64) -> Option<u64> {
        let run = self.tces.range(..=index).next_back().map(|(_, run)| run);
        let value = run.filter(|run| run.end > index).map_or(0, |run| run.value);
        (index < self.call.size).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(page_shift: u32, offset: u64, size: u64) -> GuestTableCall {
        GuestTableCall { liobn: 1, page_shift, offset, size }
    }

    #[test]
    fn arguments_are_checked_with_a_sum_that_wraps() {
        assert_eq!(check(&call(12, 0, 1)), Ok(()));
        assert_eq!(check(&call(34, 1 << 29, 1)), Ok(()));
        for wrong in [call(12, 0, 0), call(11, 0, 1), call(35, 0, 1), call(12, 1 << 52, 1)] {
            assert_eq!(check(&wrong), Err(Errno::EINVAL));
        }
        assert_eq!(check(&call(12, u64::MAX, 2)), Ok(()));
    }

    #[test]
    fn no_address_is_inside_a_table_whose_end_wraps() {
        let wrapped = GuestTable::new(VmId(0), call(12, 2, u64::MAX), 0);
        assert_eq!([0, 0x1000, 0x2000, 0x3000].map(|ioba| wrapped.index_of(ioba)), [None; 4]);
        let table = GuestTable::new(VmId(0), call(12, 2, 2), 0);
        let indices = [0x1000, 0x2000, 0x2800, 0x3000, 0x4000].map(|ioba| table.index_of(ioba));
        assert_eq!(indices, [None, Some(0), None, Some(1), None]);
    }

    #[test]
    fn the_mirror_and_its_pointers_are_charged() {
        let pages = |size, system| Cost::of(&call(12, 0, size), system).pages;
        // 2 GiB of 4K pages: 4 MiB of TCEs, 1024 pointers behind a header.
        assert_eq!(pages(1 << 19, PageShift::K4), 1024 + 3);
        assert_eq!(pages(1 << 19, PageShift::K64), 64 + 1);
        assert_eq!(pages(1, PageShift::K4), 2);
        assert_eq!(pages(u64::MAX, PageShift::K4), 1, "the arithmetic wraps");
        assert!(Cost::of(&call(12, 0, 1 << 29), PageShift::K4).is_allocatable());
        assert!(!Cost::of(&call(12, 0, 1 << 30), PageShift::K4).is_allocatable());
    }

    #[test]
    fn the_guest_reads_what_it_set() {
        let mut table = GuestTable::new(VmId(0), call(12, 100, 50), 0);
        table.put(110, 20, 0x5550);
        table.put(115, 2, 0x1003);
        table.put(116, 1, 0);
        let read = |index| table.tce(index);
        let seen = [9, 10, 14, 15, 16, 17, 29, 30].map(read);
        let poison = Some(0x5550);
        let zero = Some(0);
        assert_eq!(seen, [zero, poison, poison, Some(0x1003), zero, poison, poison, zero]);
        assert_eq!((read(49), read(50)), (zero, None));
    }

    #[test]
    fn a_hold_taken_twice_is_given_back_twice() {
        let mut table = GuestTable::new(VmId(0), call(12, 0, 16), 0);
        table.hold(TableId(5));
        table.hold(TableId(7));
        table.hold(TableId(5));
        assert_eq!(table.hardware(), [TableId(7), TableId(5)]);
        table.release(TableId(5));
        table.release(TableId(7));
        assert_eq!(table.hardware(), [TableId(5)]);
        table.release(TableId(5));
        assert!(!table.holds(TableId(5)));
    }
}
