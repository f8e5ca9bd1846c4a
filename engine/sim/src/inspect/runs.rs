//! Where a container's TCEs point, in bulk.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    kernel::{ContainerFd, MemoryRange},
};

use crate::{
    window::{Entry, Window, entry::TceAccess, table::TableRun},
    world::World,
};

/// TCEs that follow each other, in a window and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRun {
    /// Where the device sees it.
    pub iova: Iova,
    /// The memory.
    pub memory: MemoryRange,
    /// What the device may do.
    pub access: TceAccess,
    /// The TCE page.
    pub page_shift: PageShift,
}

impl World {
    /// TCEs of a container that point into memory of the process it is bound to.
    pub(crate) fn mapped_of(&self, container: ContainerFd, memory: MemoryRange) -> u64 {
        let Some(backend) = self.backend_of(container) else { return 0 };
        let Some(owner) = backend.owner() else { return 0 };
        let start = memory.address.raw();
        let range = start..start.saturating_add(memory.size.raw());
        if self.mms.get(owner).regions.is_unmapped(range.start, range.end) {
            return 0;
        }
        let tces = backend.windows().flat_map(|(_, window)| {
            window.table.iter(TableRun { index: 0, count: window.table.entries() })
        });
        let pointing =
            tces.filter(|(_, entry)| entry.mm == owner && range.contains(&entry.address.raw()));
        u64::try_from(pointing.count()).unwrap_or(u64::MAX)
    }

    /// The longest runs of TCEs that follow each other in both address spaces, with the same access.
    pub(crate) fn mapped_runs(
        &self,
        container: ContainerFd,
        range: (Iova, Bytes),
        max: usize,
    ) -> Vec<MappedRun> {
        let windows = self.backend_of(container).into_iter().flat_map(|backend| backend.windows());
        let mut windows: Vec<_> = windows.map(|(_, window)| window).collect();
        windows.sort_by_key(|window| window.start);
        windows.into_iter().flat_map(|window| runs_of(window, range)).take(max).collect()
    }
}

/// The runs of one window within a range of bus addresses, in ascending order.
fn runs_of(window: &Window, (start, size): (Iova, Bytes)) -> impl Iterator<Item = MappedRun> {
    let page = window.page_shift.bytes().raw();
    let mut tces = window.table.iter(indices_of(window, start, size)).peekable();
    std::iter::from_fn(move || {
        let (first, entry) = tces.next()?;
        let mut count = 1;
        let mut follows = |next: &(u64, Entry)| {
            let address = entry.address.raw().wrapping_add(count * page);
            let is_next = next.0 == first + count
                && next.1 == Entry { address: HostAddr::new(address), ..entry };
            count += u64::from(is_next);
            is_next
        };
        while tces.next_if(&mut follows).is_some() {}
        let memory = MemoryRange { address: entry.address, size: Bytes::new(count * page) };
        let (access, page_shift) = (entry.access, window.page_shift);
        Some(MappedRun { iova: window.iova_of(first), memory, access, page_shift })
    })
}

/// The TCEs of a window whose pages touch a range.
fn indices_of(window: &Window, start: Iova, size: Bytes) -> TableRun {
    let shift = window.page_shift.raw();
    let base = window.start.raw() >> shift;
    let none = TableRun { index: 0, count: 0 };
    let Some(last) = size.raw().checked_sub(1) else { return none };
    let last = start.raw().saturating_add(last) >> shift;
    let first = (start.raw() >> shift).max(base) - base;
    let end = (last + 1).saturating_sub(base).min(window.table.entries());
    TableRun { index: first, count: end.saturating_sub(first) }
}
