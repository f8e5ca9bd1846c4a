//! One DMA window of a container: the kernel's `struct iommu_table`.

use tce_engine::addr::{Iova, PageShift};

use crate::{inspect::HostLog, process::Mm, region::Unused};

pub(crate) mod entry;
pub(crate) mod levels;
pub(crate) mod size;
pub(crate) mod table;

pub(crate) use entry::Entry;
pub(crate) use levels::Levels;
pub(crate) use table::Table;

use table::TableRun;

/// Names a table of the machine. No name is used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TableId(pub(crate) u64);

/// What `ops->create_table` makes: where the window starts, and its number of TCEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewTable {
    /// `it_offset`, as an address.
    pub(crate) start: Iova,
    /// `it_size`.
    pub(crate) entries: u64,
}

/// A window, as the kernel sees it: `it_offset`, `it_size` and the table itself.
#[derive(Debug)]
pub(crate) struct Window {
    /// Its name.
    pub(crate) id: TableId,
    /// Its first address.
    pub(crate) start: Iova,
    /// Its TCE page.
    pub(crate) page_shift: PageShift,
    /// Its levels.
    pub(crate) levels: Levels,
    /// What it costs in locked memory, in system pages (`it_allocated_size`).
    pub(crate) charge_pages: u64,
    /// Its TCEs. Their number is the kernel's, which rounds small windows up.
    pub(crate) table: Table,
}

impl Window {
    /// The index of the TCE for an address, if the window has one (`tce_iommu_find_table`).
    pub(crate) fn index_of(&self, iova: Iova) -> Option<u64> {
        let shift = self.page_shift.raw();
        let index = (iova.raw() >> shift).checked_sub(self.start.raw() >> shift)?;
        (index < self.table.entries()).then_some(index)
    }

    /// The index that a host bridge finds which looks at as many bits of an address as the table's levels have.
    pub(crate) fn wrapped_index_of(&self, iova: Iova) -> u64 {
        let index = iova.raw() >> self.page_shift.raw();
        index & 1_u64.checked_shl(self.levels.index_bits()).map_or(u64::MAX, |end| end - 1)
    }

    /// The address of a TCE of the window.
    pub(crate) fn iova_of(&self, index: u64) -> Iova {
        Iova::new(self.start.raw().wrapping_add(index << self.page_shift.raw()))
    }

    /// The TCEs that fill `bytes`, rounded down as the kernel's shift does.
    pub(crate) fn pages_in(&self, bytes: u64) -> u64 {
        bytes >> self.page_shift.raw()
    }

    /// Whether a number is no multiple of the TCE page, as `IOMMU_PAGE_MASK` sees it. The mask is an `int`: for a page
    /// of 4 GiB and more it is 0, and only 0 is a multiple.
    pub(crate) fn is_uneven(&self, value: u64) -> bool {
        let shift = u32::from(self.page_shift.raw());
        let low_bits = if shift < u32::BITS { (1 << shift) - 1 } else { u64::MAX };
        value & low_bits != 0
    }

    /// Clears TCEs and counts down what the kernel has recorded behind them; says how many were set.
    pub(crate) fn clear(&mut self, run: TableRun, mm: &mut Mm) -> u64 {
        let mut unused = Unused::new(&mut mm.regions, self.page_shift.raw());
        let cleared = self.table.clear(run, |word| unused.put(word));
        unused.finish();
        cleared
    }
}

impl HostLog {
    /// Notes pages behind the end of a table.
    pub(crate) fn beyond_the_table(&mut self, call: &str, count: u64) {
        self.corrupt(format!("{call} of {count} TCEs behind the end of the window's table"));
    }
}
