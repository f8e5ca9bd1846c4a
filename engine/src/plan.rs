//! From wishes to the fewest kernel calls.
//!
//! One call takes one contiguous run of IOVAs and, to map, one contiguous run of memory; the kernel flushes once per
//! call. So neighbours become one call, what is as wished already takes none, and an unmap may span TCEs that are not
//! set. A live TCE that stays as it is is never written.

use crate::{
    access::Access,
    addr::{HostAddr, PageShift, Pages},
    edit::Wish,
    table::{MappedRun, Table, Target},
};

/// The most TCEs of one call. A call cannot be interrupted, so this bounds how long one takes.
pub const CALL_TCES_MAX: u64 = 1 << 20;

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
}

/// Plans wishes, which are sorted and do not overlap.
pub(crate) fn plan(table: &Table, wishes: &[Wish]) -> Plan {
    let mut planner = Planner { table, plan: Plan::default() };
    for wish in wishes {
        match wish.target {
            Some(target) => planner.map(wish, target),
            None => planner.unmap(wish),
        }
    }
    planner.plan
}

struct Planner<'a> {
    table: &'a Table,
    plan: Plan,
}

impl Planner<'_> {
    fn unmap(&mut self, wish: &Wish) {
        // A call begins at a TCE that is set, and takes in all that its length allows, holes included.
        for run in self.table.within(wish.first, wish.end) {
            self.plan.tces_cleared += run.pages;
            self.push(run.first, run.end(), Action::Unmap);
        }
    }

    fn map(&mut self, wish: &Wish, target: Target) {
        let page = self.table.page();
        let mut next = wish.first;
        self.plan.tces_new += wish.end - wish.first;
        for run in self.table.within(wish.first, wish.end) {
            self.plan.tces_new -= run.pages;
            let wanted = target.advanced(run.first - wish.first, page);
            if is_same(&run, &wanted) {
                self.map_piece(next, run.first, wish, target);
                self.plan.tces_kept += run.pages;
                next = run.end();
            }
        }
        self.map_piece(next, wish.end, wish, target);
    }

    fn map_piece(&mut self, first: u64, end: u64, wish: &Wish, target: Target) {
        if first == end {
            return;
        }
        let Target { address, access, .. } = target.advanced(first - wish.first, self.table.page());
        self.plan.tces_set += end - first;
        self.push(first, end, Action::Map { address, access });
    }

    /// Adds a call, joined to the one before where one call can do both, and split where it would be too long.
    fn push(&mut self, first: u64, end: u64, action: Action) {
        let page = self.table.page();
        let (mut first, mut action) = (first, action);
        if let Some(last) = self.plan.calls.last_mut()
            && joins(last, first, action, self.table)
        {
            let reach = end.min(last.first + CALL_TCES_MAX);
            if reach > first {
                action = advanced(action, reach - first, page);
                last.pages = reach - last.first;
                first = reach;
            }
        }
        while first < end {
            let pages = (end - first).min(CALL_TCES_MAX);
            self.plan.calls.push(PlannedCall { first, pages, action });
            action = advanced(action, pages, page);
            first += pages;
        }
    }
}

/// Whether a TCE run points where it should already.
fn is_same(run: &MappedRun, wanted: &Target) -> bool {
    run.target.address == wanted.address && run.target.access == wanted.access
}

fn joins(last: &PlannedCall, first: u64, action: Action, table: &Table) -> bool {
    match (last.action, action) {
        (Action::Unmap, Action::Unmap) => table.is_empty_within(last.end(), first),
        (Action::Map { .. }, Action::Map { .. }) => {
            last.end() == first && advanced(last.action, last.pages, table.page()) == action
        }
        _ => false,
    }
}

fn advanced(action: Action, pages: u64, page: PageShift) -> Action {
    match action {
        Action::Unmap => Action::Unmap,
        Action::Map { address, access } => {
            let address = Pages::new(pages).bytes(page).and_then(|size| address.checked_add(size));
            Action::Map { address: address.expect("an address of the region or its end"), access }
        }
    }
}
