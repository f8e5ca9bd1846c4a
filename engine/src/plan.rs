//! From wishes to the fewest kernel calls.
//!
//! One call takes one contiguous run of IOVAs and, to map, one contiguous run of memory; the kernel flushes once per
//! call. So neighbours become one call, and what is as wished already takes none. Two rules hold for each call:
//!
//! - It writes no live TCE with the target that it has. So one that stays is left alone, and none is written as it was
//!   only to be passed over on the way to another.
//! - It makes no TCE anything but what it was or what it shall be. So an unmap never spans a TCE that is replaced. It may
//!   span TCEs that are not set, those too that a later call of the plan sets.
//!
//! The order is: unmaps that span TCEs which the plan sets; maps; the other unmaps. Maps come early because in practice
//! only they fail, and then there is less to undo.
//!
//! No plan has fewer calls; a search of all of them says the same in the tests. The reason: a map and an unmap never
//! have a TCE in common that needs both, so each kind is least for itself. A map covers contiguous TCEs and memory,
//! all of which it must write. An unmap lies between two TCEs that stay set or are replaced. For either, calls that
//! each take in as much as they may, from the left, are the fewest.

mod kinds;

use crate::{
    access::Access,
    addr::{HostAddr, PageShift, Pages},
    bits::{below, count, places},
    edit::Wish,
    table::{Found, MappedRun, TOGETHER_MAX, Table, Target, Word},
};

use kinds::Kinds;

/// The most TCEs of one call. A call cannot be interrupted, so this bounds how long one takes.
pub const CALL_TCES_MAX: u64 = 1 << 20;

/// The most calls that room is made for before it is known how many there are: those of a usual batch. Past that the list
/// grows as it fills, since wishes may join into few calls.
const CALLS_RESERVED_MAX: usize = 512;

/// What a planned call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `MAP_DMA` of memory from here on.
    Map {
        /// The memory that the first TCE points to.
        address: HostAddr,
        /// What devices may do.
        access: Access,
    },
    /// `UNMAP_DMA`.
    Unmap,
}

/// One kernel call to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedCall {
    /// Index of the first TCE.
    pub first: u64,
    /// How many.
    pub pages: u64,
    /// What to do with them.
    pub action: Action,
}

impl PlannedCall {
    /// The index behind the last TCE.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.pages
    }
}

/// The calls that make a table what is wished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are made.
    pub calls: Vec<PlannedCall>,
    /// TCEs that the calls set or replace.
    pub tces_set: u64,
    /// Those of them that replace nothing.
    pub tces_new: u64,
    /// TCEs that the calls clear, those that are set now.
    pub tces_cleared: u64,
    /// TCEs that are as wished already.
    pub tces_kept: u64,
    /// Where the table has what is wished, so that it need not be searched again for the change.
    pub found: Found,
}

/// Plans wishes, which are settled: ascending, each TCE in one at most (see [`settle`](crate::edit::settle)).
#[must_use]
pub fn plan(table: &Table, wishes: &[Wish]) -> Plan {
    plan_calls_of(table, wishes, CALL_TCES_MAX)
}

/// A plan of calls of at most so many TCEs.
fn plan_calls_of(table: &Table, wishes: &[Wish], tces_max: u64) -> Plan {
    let mut planner = Planner::new(table, tces_max);
    planner.plan.calls.reserve(wishes.len().min(CALLS_RESERVED_MAX));
    let found = table.find(wishes);
    let mut words = [Word::NOTHING; TOGETHER_MAX];
    for (together, above) in wishes.chunks(TOGETHER_MAX).zip(found.chunks()) {
        table.read(together, above, &mut words);
        planner.take_together(together, Kinds::of(together, &words[..together.len()]));
    }
    planner.plan.found = found;
    planner.finish()
}

/// An unmap that may still grow.
#[derive(Clone, Copy)]
struct OpenUnmap {
    first: u64,
    /// Behind the last TCE that it must clear.
    end: u64,
    /// Whether it spans TCEs that the plan sets.
    spans_set: bool,
    /// How many TCEs the plan sets before its end.
    tces_set: u64,
}

struct Planner<'a> {
    table: &'a Table,
    tces_max: u64,
    plan: Plan,
    open: Option<OpenUnmap>,
    /// Whether a TCE was passed since then that is set and is not to be unmapped, which ends the unmap. Not all are noted,
    /// but those that are need not be searched for in the table.
    is_cut: bool,
    /// Unmaps that span TCEs which the plan sets.
    early: Vec<PlannedCall>,
    late: Vec<PlannedCall>,
}

impl<'a> Planner<'a> {
    fn new(table: &'a Table, tces_max: u64) -> Self {
        let (early, late) = (Vec::new(), Vec::new());
        Self { table, tces_max, plan: Plan::default(), open: None, is_cut: false, early, late }
    }

    fn take(&mut self, wish: &Wish) {
        let runs = self.table.within(wish.first, wish.end);
        match wish.target {
            Some(target) => self.map(wish, target, runs),
            None => self.unmap(wish, runs),
        }
    }

    /// Plans wishes of these kinds, all that come between two for several TCEs at once.
    fn take_together(&mut self, wishes: &[Wish], kinds: Kinds) {
        let mut passed = 0;
        for at in places(kinds.several) {
            self.take_ones(wishes, kinds.at(below(at) & !passed));
            self.take(&wishes[at]);
            passed = below(at) | 1 << at;
        }
        self.take_ones(wishes, kinds.at(!passed));
    }

    /// Plans wishes for one TCE each, first the unmaps and then the maps: all that an unmap needs to know of the maps before
    /// it is how many there are, and whether one of them replaces.
    fn take_ones(&mut self, wishes: &[Wish], Kinds { maps, set, kept, .. }: Kinds) {
        let (written, stay) = (maps & !kept, maps & set);
        let tces_set = self.plan.tces_set;
        let mut passed = 0;
        for at in places(set & !maps) {
            self.is_cut |= stay & below(at) & !passed != 0;
            passed = below(at);
            self.pass_to(wishes[at].first);
            self.clear(wishes[at].first, wishes[at].end, tces_set + count(written & passed));
        }
        self.is_cut |= stay & !passed != 0;
        for at in places(written) {
            if let Some(target) = wishes[at].target {
                self.map_piece(wishes[at].first, wishes[at].end, &wishes[at], target);
            }
        }
        self.plan.tces_kept += count(kept);
        self.plan.tces_new += count(maps & !set);
    }

    /// Goes on to TCEs that are to be unmapped. Where one before them is set, it stays or is replaced, so the unmap ends.
    fn pass_to(&mut self, first: u64) {
        if let Some(open) = self.open
            && (self.is_cut || !self.table.is_empty_within(open.end, first))
        {
            self.close();
        }
        self.is_cut = false;
    }

    fn unmap(&mut self, wish: &Wish, runs: impl Iterator<Item = MappedRun>) {
        let mut runs = runs.peekable();
        if runs.peek().is_some() {
            self.pass_to(wish.first);
        }
        for run in runs {
            self.clear(run.first, run.end(), self.plan.tces_set);
        }
    }

    /// Has TCEs cleared, by the open unmap as far as it reaches. The plan sets so many before them.
    fn clear(&mut self, mut first: u64, end: u64, tces_set: u64) {
        self.plan.tces_cleared += end - first;
        if let Some(open) = &mut self.open {
            let reach = end.min(open.first + self.tces_max);
            if first < reach {
                open.spans_set |= open.tces_set < tces_set;
                open.tces_set = tces_set;
                open.end = reach;
                first = reach;
            }
        }
        while first < end {
            self.close();
            let reach = end.min(first + self.tces_max);
            self.open = Some(OpenUnmap { first, end: reach, spans_set: false, tces_set });
            first = reach;
        }
    }

    fn close(&mut self) {
        if let Some(OpenUnmap { first, end, spans_set, .. }) = self.open.take() {
            let calls = if spans_set { &mut self.early } else { &mut self.late };
            calls.push(PlannedCall { first, pages: end - first, action: Action::Unmap });
        }
    }

    fn map(&mut self, wish: &Wish, target: Target, runs: impl Iterator<Item = MappedRun>) {
        let page = self.table.page();
        let mut next = wish.first;
        let mut tces_old = 0;
        for run in runs {
            tces_old += run.pages;
            let wanted = target.advanced(run.first - wish.first, page);
            if is_same(&run, &wanted) {
                self.map_piece(next, run.first, wish, target);
                self.plan.tces_kept += run.pages;
                next = run.end();
            }
        }
        self.plan.tces_new += wish.end - wish.first - tces_old;
        self.map_piece(next, wish.end, wish, target);
    }

    fn map_piece(&mut self, mut first: u64, end: u64, wish: &Wish, target: Target) {
        let page = self.table.page();
        self.plan.tces_set += end - first;
        if let Some(last) = self.plan.calls.last_mut()
            && first < end
            && is_continued_by(last, first, target.advanced(first - wish.first, page), page)
        {
            let reach = end.min(last.first + self.tces_max);
            last.pages = reach - last.first;
            first = reach;
        }
        while first < end {
            let pages = (end - first).min(self.tces_max);
            let Target { address, access, .. } = target.advanced(first - wish.first, page);
            let action = Action::Map { address, access };
            self.plan.calls.push(PlannedCall { first, pages, action });
            first += pages;
        }
    }

    fn finish(mut self) -> Plan {
        self.close();
        let Self { mut plan, mut early, late, .. } = self;
        if !early.is_empty() {
            early.append(&mut plan.calls);
            plan.calls = early;
        }
        plan.calls.extend(late);
        plan
    }
}

/// Whether a TCE run points where it should already.
fn is_same(run: &MappedRun, wanted: &Target) -> bool {
    run.target.address == wanted.address && run.target.access == wanted.access
}

/// Whether a map goes on with a target at `first`.
fn is_continued_by(last: &PlannedCall, first: u64, target: Target, page: PageShift) -> bool {
    let Action::Map { address, access } = last.action else { return false };
    let size = Pages::new(last.pages).bytes(page);
    last.end() == first
        && access == target.access
        && size.and_then(|size| address.checked_add(size)) == Some(target.address)
}

#[cfg(test)]
mod tests;
