//! An ordered map of runs: contiguous TCEs that point to contiguous memory are one entry.

use std::collections::BTreeMap;

use tce_engine::{
    addr::Pages,
    region::RegionId,
    table::{MappedRun, Target},
};

use super::candidate::{Candidate, Change, PAGE};

/// The first TCE of each run, how many there are, and what the first points to.
pub(crate) struct OrderedRuns(BTreeMap<u64, (u64, Target)>);

impl OrderedRuns {
    fn last_before(&self, end: u64) -> Option<MappedRun> {
        self.0.range(..end).next_back().map(run_of)
    }

    fn within(&self, first: u64, end: u64) -> impl Iterator<Item = MappedRun> + '_ {
        let reaching_in = self.last_before(first).filter(|run| run.end() > first);
        let from = reaching_in.map_or(first, |run| run.first);
        self.0.range(from..end.max(from)).map(move |entry| clipped(run_of(entry), first, end))
    }

    fn clear(&mut self, first: u64, end: u64) -> u64 {
        let mut forgotten = 0;
        while let Some(run) = self.last_before(end).filter(|run| run.end() > first) {
            self.0.remove(&run.first);
            if run.first < first {
                self.0.insert(run.first, (first - run.first, run.target));
            }
            if run.end() > end {
                let rest = clipped(run, end, run.end());
                self.0.insert(rest.first, (rest.pages, rest.target));
            }
            forgotten += clipped(run, first, end).pages;
            if run.first <= first {
                break;
            }
        }
        forgotten
    }

    fn set(&mut self, mut run: MappedRun) {
        if let Some(before) = self.last_before(run.first).filter(|old| joins(old, &run)) {
            run = MappedRun { pages: before.pages + run.pages, ..before };
        }
        let after = self.0.get(&run.end()).copied();
        if let Some((pages, target)) = after {
            let after = MappedRun { first: run.end(), pages, target };
            if joins(&run, &after) {
                self.0.remove(&after.first);
                run.pages += after.pages;
            }
        }
        self.0.insert(run.first, (run.pages, run.target));
    }
}

impl Candidate for OrderedRuns {
    const NAME: &'static str = "ordered runs";

    fn new(_window: u64) -> Self {
        Self(BTreeMap::new())
    }

    fn change(&mut self, change: Change, region: RegionId) -> u64 {
        let Change { first, pages, .. } = change;
        let forgotten = self.clear(first, first + pages);
        if let Some(target) = change.target(region) {
            self.set(MappedRun { first, pages, target });
        }
        forgotten
    }

    fn tces_within(&self, first: u64, end: u64) -> u64 {
        self.within(first, end).map(|run| run.pages).sum()
    }

    /// By formula: the standard library does not say. A node has room for 11 entries and is two thirds full, as it is
    /// between the halves that a split leaves and the whole; its inner nodes are a tenth more.
    fn bytes(&self) -> u64 {
        let entry = size_of::<u64>() + size_of::<(u64, Target)>();
        let node = 11 * entry + 16;
        let nodes = (self.0.len() * 3).div_ceil(2 * 11);
        u64::try_from(nodes * node * 11 / 10).expect("it fits")
    }
}

fn run_of((first, (pages, target)): (&u64, &(u64, Target))) -> MappedRun {
    MappedRun { first: *first, pages: *pages, target: *target }
}

fn advanced(target: Target, pages: u64) -> Target {
    let offset = Pages::new(pages).bytes(PAGE).expect("it fits");
    Target { address: target.address.checked_add(offset).expect("it fits"), ..target }
}

fn clipped(run: MappedRun, first: u64, end: u64) -> MappedRun {
    let (low, high) = (run.first.max(first), run.end().min(end));
    let target = advanced(run.target, low - run.first);
    MappedRun { first: low, pages: high - low, target }
}

fn joins(low: &MappedRun, high: &MappedRun) -> bool {
    low.end() == high.first && advanced(low.target, low.pages) == high.target
}
