//! One DMA window of a container: the kernel's `struct iommu_table`.

use tce_engine::addr::{Iova, PageShift};

pub(crate) mod entry;
pub(crate) mod size;
pub(crate) mod table;

pub(crate) use entry::Entry;
pub(crate) use table::Table;

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
    /// Its first address.
    pub(crate) start: Iova,
    /// Its TCE page.
    pub(crate) page_shift: PageShift,
    /// Levels it was created with.
    pub(crate) levels: u32,
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

    /// The TCEs that fill `bytes`, rounded down as the kernel's shift does.
    pub(crate) fn pages_in(&self, bytes: u64) -> u64 {
        bytes >> self.page_shift.raw()
    }
}
