//! What is mapped in a window: the engine's own truth, never asked back from the kernel.
//!
//! An ordered map of runs: contiguous TCEs that point to contiguous memory are one entry.

use std::collections::BTreeMap;

use crate::{
    access::Access,
    addr::{Bytes, HostAddr, PageShift, Pages},
    region::RegionId,
};

/// What a TCE points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The memory.
    pub address: HostAddr,
    /// What the device may do.
    pub access: Access,
    /// The region that the memory belongs to.
    pub region: RegionId,
}

impl Target {
    /// The target `pages` further on.
    ///
    /// # Panics
    /// If that is no address: targets lie inside a region, whose addresses all exist.
    #[must_use]
    pub(crate) fn advanced(self, pages: u64, page: PageShift) -> Self {
        let offset = Pages::new(pages).bytes(page).unwrap_or(Bytes::new(u64::MAX));
        let address = self.address.checked_add(offset).expect("an address inside the region");
        Self { address, ..self }
    }
}

/// Contiguous TCEs with contiguous targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRun {
    /// Index of the first TCE.
    pub first: u64,
    /// How many.
    pub pages: u64,
    /// What the first points to.
    pub target: Target,
}

impl MappedRun {
    fn of_entry((first, (pages, target)): (&u64, &(u64, Target))) -> Self {
        Self { first: *first, pages: *pages, target: *target }
    }

    /// The index behind the last TCE.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.pages
    }

    /// The part of it between `first` and `end`, which must overlap it.
    fn clipped(self, first: u64, end: u64, page: PageShift) -> Self {
        let low = self.first.max(first);
        let high = self.end().min(end);
        let target = self.target.advanced(low - self.first, page);
        Self { first: low, pages: high - low, target }
    }
}

/// The TCEs of one window.
#[derive(Debug)]
pub struct Table {
    page: PageShift,
    runs: BTreeMap<u64, (u64, Target)>,
    tces: u64,
}

impl Table {
    /// An empty table of a window with this page.
    #[must_use]
    pub const fn new(page: PageShift) -> Self {
        Self { page, runs: BTreeMap::new(), tces: 0 }
    }

    /// The window's page.
    #[must_use]
    pub const fn page(&self) -> PageShift {
        self.page
    }

    /// How many TCEs are set.
    #[must_use]
    pub const fn tces(&self) -> u64 {
        self.tces
    }

    /// How many runs they make.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The mapped runs between `first` and `end`, cut to that range, ascending.
    pub fn within(&self, first: u64, end: u64) -> impl Iterator<Item = MappedRun> + '_ {
        let from = self.first_key_within(first, end).unwrap_or(end);
        let runs = (from < end).then(|| self.runs.range(from..end)).into_iter().flatten();
        runs.map(move |entry| MappedRun::of_entry(entry).clipped(first, end, self.page))
    }

    /// Where the first run that reaches into a range begins.
    fn first_key_within(&self, first: u64, end: u64) -> Option<u64> {
        let last = self.last_before(end).filter(|run| run.end() > first && first < end)?;
        if last.first <= first {
            // The usual case for short ranges: one run, one search.
            return Some(last.first);
        }
        let reaching_in = self.last_before(first).filter(|run| run.end() > first);
        Some(reaching_in.map_or(first, |run| run.first))
    }

    /// Whether nothing is mapped between `first` and `end`.
    #[must_use]
    pub fn is_empty_within(&self, first: u64, end: u64) -> bool {
        self.first_key_within(first, end).is_none()
    }

    /// Forgets what is mapped between `first` and `end`, and hands each run of it to `forgotten`.
    pub(crate) fn clear(&mut self, first: u64, end: u64, mut forgotten: impl FnMut(&MappedRun)) {
        if first >= end {
            return;
        }
        while let Some(run) = self.last_before(end).filter(|run| run.end() > first) {
            self.runs.remove(&run.first);
            let cut = run.clipped(first, end, self.page);
            if run.first < first {
                self.runs.insert(run.first, (first - run.first, run.target));
            }
            if run.end() > end {
                let rest = run.clipped(end, run.end(), self.page);
                self.runs.insert(rest.first, (rest.pages, rest.target));
            }
            self.tces -= cut.pages;
            forgotten(&cut);
            if run.first <= first {
                return;
            }
        }
    }

    /// Notes a run as mapped, where nothing is.
    pub(crate) fn set(&mut self, mut run: MappedRun) {
        debug_assert!(self.is_empty_within(run.first, run.end()), "cleared before it is set");
        self.tces += run.pages;
        if let Some(before) = self.last_before(run.first).filter(|old| self.joins(old, &run)) {
            run = MappedRun { pages: before.pages + run.pages, ..before };
        }
        let after = self.runs.get(&run.end()).copied();
        if let Some((pages, target)) = after {
            let after = MappedRun { first: run.end(), pages, target };
            if self.joins(&run, &after) {
                self.runs.remove(&after.first);
                run.pages += after.pages;
            }
        }
        self.runs.insert(run.first, (run.pages, run.target));
    }

    fn last_before(&self, end: u64) -> Option<MappedRun> {
        self.runs.range(..end).next_back().map(MappedRun::of_entry)
    }

    fn joins(&self, low: &MappedRun, high: &MappedRun) -> bool {
        low.end() == high.first && low.target.advanced(low.pages, self.page) == high.target
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{
        PAGE, PageModel, any_wish, grant, grant_table, handle, pages_of, table_of, target,
    };

    fn runs(table: &Table) -> Vec<(u64, u64)> {
        table.within(0, u64::MAX).map(|run| (run.first, run.pages)).collect()
    }

    #[test]
    fn neighbours_become_one_run_where_their_memory_is_contiguous_too() {
        assert_eq!(runs(&table_of(&[(0, 2, 10), (4, 2, 14), (2, 2, 12)])), [(0, 6)]);
        assert_eq!(runs(&table_of(&[(0, 2, 10), (2, 2, 13)])), [(0, 2), (2, 2)]);
    }

    #[test]
    fn runs_of_other_regions_and_accesses_stay_apart() {
        let others = [
            Target { region: RegionId(handle(1)), ..target(11) },
            Target { access: Access::Read, ..target(11) },
        ];
        for other in others {
            let mut table = table_of(&[(0, 1, 10)]);
            table.set(MappedRun { first: 1, pages: 1, target: other });
            assert_eq!(runs(&table), [(0, 1), (1, 1)]);
        }
    }

    #[test]
    fn clearing_the_middle_leaves_both_ends_where_they_were() {
        let mut table = table_of(&[(0, 10, 100)]);
        let mut forgotten = Vec::new();
        table.clear(3, 5, |run| forgotten.push((run.first, run.pages, run.target)));
        assert_eq!(forgotten, [(3, 2, target(103))]);
        assert_eq!(runs(&table), [(0, 3), (5, 5)]);
        assert_eq!(table.within(5, 6).next().map(|run| run.target), Some(target(105)));
    }

    #[test]
    fn an_empty_or_backward_range_holds_nothing() {
        let mut table = table_of(&[(0, 10, 100)]);
        for (first, end) in [(5, 5), (0, 0), (10, 10), (8, 2), (u64::MAX, 0)] {
            assert!(table.is_empty_within(first, end), "{first}..{end}");
            assert_eq!(table.within(first, end).count(), 0);
            table.clear(first, end, |run| panic!("{run:?}"));
        }
        assert_eq!(runs(&table), [(0, 10)]);
    }

    proptest! {
        #[test]
        fn a_table_is_what_it_is_page_by_page(
            wishes in proptest::collection::vec(any_wish(), 1..40),
            (first, pages) in (0u64..60, 0u64..30),
        ) {
            let mut table = Table::new(PAGE);
            let mut model = PageModel::new();
            for wish in &wishes {
                let mut forgotten = Vec::new();
                let old: PageModel =
                    model.range(wish.first..wish.end).map(|(at, old)| (*at, *old)).collect();
                let mut cleared = table_of(&[]);
                std::mem::swap(&mut cleared, &mut table);
                cleared.clear(wish.first, wish.end, |run| forgotten.push(*run));
                prop_assert_eq!(pages_of(forgotten.into_iter()), old);
                table = cleared;
                grant_table(&mut table, wish);
                grant(&mut model, wish);
                prop_assert_eq!(pages_of(table.within(0, u64::MAX)), model.clone());
                prop_assert_eq!(table.tces(), u64::try_from(model.len()).expect("it is small"));
            }
            let end = first + pages;
            let part: PageModel = model.range(first..end).map(|(at, it)| (*at, *it)).collect();
            prop_assert_eq!(table.is_empty_within(first, end), part.is_empty());
            prop_assert_eq!(pages_of(table.within(first, end)), part);
            let all: Vec<MappedRun> = table.within(0, u64::MAX).collect();
            prop_assert!(all.windows(2).all(|pair| !table.joins(&pair[0], &pair[1])), "{all:?}");
        }
    }
}
