//! What is mapped in a window: the engine's own truth, never asked back from the kernel.
//!
//! An ordered map of runs: contiguous TCEs that point to contiguous memory are one entry.

use std::collections::BTreeMap;

use crate::{
    access::Access,
    addr::{Bytes, HostAddr, PageShift, Pages},
    lease::LeaseId,
    region::RegionId,
};

/// What a TCE points to, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The memory.
    pub address: HostAddr,
    /// What the device may do.
    pub access: Access,
    /// The region that the memory belongs to.
    pub region: RegionId,
    /// The lease that the TCE belongs to.
    pub lease: LeaseId,
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
        let end = end.max(first);
        let reaching_in = self.last_before(first).filter(|run| run.end() > first && first < end);
        let inside = self.runs.range(first..end).map(MappedRun::of_entry);
        reaching_in.into_iter().chain(inside).map(move |run| run.clipped(first, end, self.page))
    }

    /// Whether nothing is mapped between `first` and `end`.
    #[must_use]
    pub fn is_empty_within(&self, first: u64, end: u64) -> bool {
        self.within(first, end).next().is_none()
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
