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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        edit::settle,
        testing::{
            PAGE, PageModel, any_wish, grant, grant_table, pages_of, table_of, target, wish,
            wished_pages,
        },
    };

    fn shown(call: &PlannedCall) -> String {
        let (first, end) = (call.first, call.end());
        match call.action {
            Action::Map { address, .. } => {
                format!("map {first}..{end} to {}", address.raw() >> PAGE.raw())
            }
            Action::Unmap => format!("unmap {first}..{end}"),
        }
    }

    /// Runs and wishes as first TCE, number of pages, page of memory.
    #[track_caller]
    fn check(
        runs: &[(u64, u64, u64)],
        wishes: &[(u64, u64, Option<u64>)],
        expected: &[&str],
    ) -> Plan {
        let wishes: Vec<Wish> =
            wishes.iter().map(|(first, n, page)| wish(*first, *n, page.map(target))).collect();
        let plan = plan(&table_of(runs), &wishes);
        assert_eq!(plan.calls.iter().map(shown).collect::<Vec<_>>(), expected);
        plan
    }

    #[test]
    fn contiguous_wishes_are_one_call() {
        check(&[], &[(0, 1, Some(10)), (1, 1, Some(11)), (2, 3, Some(12))], &["map 0..5 to 10"]);
        let apart = ["map 0..1 to 10", "map 1..2 to 12"];
        check(&[], &[(0, 1, Some(10)), (1, 1, Some(12))], &apart);
        let with_gap = ["map 0..1 to 10", "map 2..3 to 12"];
        check(&[], &[(0, 1, Some(10)), (2, 1, Some(12))], &with_gap);
    }

    #[test]
    fn what_is_as_wished_takes_no_call() {
        let plan = check(&[(0, 8, 10)], &[(2, 3, Some(12)), (20, 4, None)], &[]);
        assert_eq!((plan.tces_kept, plan.tces_set, plan.tces_new), (3, 0, 0));
    }

    #[test]
    fn a_live_tce_that_stays_is_not_written() {
        let calls = ["map 0..2 to 10", "map 4..6 to 14"];
        let plan = check(&[(2, 2, 12)], &[(0, 6, Some(10))], &calls);
        assert_eq!((plan.tces_kept, plan.tces_set, plan.tces_new), (2, 4, 4));
    }

    #[test]
    fn a_live_tce_that_changes_is_replaced_in_place() {
        let plan = check(&[(0, 4, 50)], &[(1, 2, Some(10))], &["map 1..3 to 10"]);
        assert_eq!((plan.tces_set, plan.tces_new), (2, 0));
    }

    #[test]
    fn an_unmap_spans_holes_and_leaves_out_empty_ends() {
        let plan = check(&[(2, 1, 1), (5, 1, 9)], &[(0, 10, None)], &["unmap 2..6"]);
        assert_eq!(plan.tces_cleared, 2);
        check(&[(2, 1, 1), (5, 1, 9)], &[(2, 1, None), (5, 1, None)], &["unmap 2..6"]);
        check(&[(0, 10, 1)], &[(0, 5, None), (5, 5, None)], &["unmap 0..10"]);
    }

    #[test]
    fn an_unmap_does_not_span_what_stays_mapped() {
        let runs = [(0, 1, 1), (3, 1, 5), (6, 1, 9)];
        check(&runs, &[(0, 1, None), (6, 1, None)], &["unmap 0..1", "unmap 6..7"]);
        let calls = ["unmap 0..1", "map 1..2 to 30", "unmap 3..4"];
        check(&runs, &[(0, 1, None), (1, 1, Some(30)), (3, 1, None)], &calls);
    }

    #[test]
    fn no_call_is_longer_than_the_limit() {
        let pages = 2 * CALL_TCES_MAX + 5;
        let wanted = wish(0, pages, Some(target(0)));
        let sizes = |plan: &Plan| plan.calls.iter().map(|call| call.pages).collect::<Vec<_>>();
        assert_eq!(sizes(&plan(&table_of(&[]), &[wanted])), [CALL_TCES_MAX, CALL_TCES_MAX, 5]);
        let halves = [
            wish(0, CALL_TCES_MAX - 1, Some(target(0))),
            wish(CALL_TCES_MAX - 1, 3, Some(target(CALL_TCES_MAX - 1))),
        ];
        assert_eq!(sizes(&plan(&table_of(&[]), &halves)), [CALL_TCES_MAX, 2]);
        let mapped = table_of(&[(0, pages, 0)]);
        let all = plan(&mapped, &[wish(0, pages, None)]);
        assert_eq!(sizes(&all), [CALL_TCES_MAX, CALL_TCES_MAX, 5]);
    }

    #[test]
    fn no_call_is_made_for_the_emptiness_between_far_runs() {
        let far = 1 << 40;
        let table = table_of(&[(0, 1, 1), (far, 1, 9)]);
        let calls = plan(&table, &[wish(0, 1 << 50, None)]).calls;
        let firsts: Vec<u64> = calls.iter().map(|call| call.first).collect();
        assert_eq!(firsts, [0, far]);
    }

    type Shown = Option<(HostAddr, Access)>;

    fn shown_at(model: &PageModel, page: u64) -> Shown {
        model.get(&page).map(|target| (target.address, target.access))
    }

    /// What a call makes of a page.
    fn effect(call: &PlannedCall, page: u64) -> Shown {
        match advanced(call.action, page - call.first, PAGE) {
            Action::Map { address, access } => Some((address, access)),
            Action::Unmap => None,
        }
    }

    proptest! {
        #[test]
        fn the_calls_make_what_is_wished_and_write_nothing_else(
            present in proptest::collection::vec(any_wish(), 0..20),
            wishes in proptest::collection::vec(any_wish(), 0..20),
        ) {
            let mut table = table_of(&[]);
            present.iter().for_each(|wish| grant_table(&mut table, wish));
            let before = pages_of(table.within(0, u64::MAX));
            let wishes = settle(wishes, PAGE);
            let plan = plan(&table, &wishes);
            let mut after = before.clone();
            wishes.iter().for_each(|wish| grant(&mut after, wish));
            let mut hardware: std::collections::BTreeMap<u64, Shown> =
                (0..70).map(|page| (page, shown_at(&before, page))).collect();
            for call in &plan.calls {
                for page in call.first..call.end() {
                    let (old, new) = (shown_at(&before, page), effect(call, page));
                    prop_assert_eq!(new, shown_at(&after, page), "neither old nor wished");
                    prop_assert!(old.is_none() || old != new, "page {page} was as wished");
                    hardware.insert(page, new);
                }
            }
            for (page, shown) in hardware {
                prop_assert_eq!(shown, shown_at(&after, page), "page {}", page);
            }
            let count = |of: &dyn Fn(Shown, Shown) -> bool| {
                let wished = wishes.iter().flat_map(wished_pages).map(|(page, _)| page);
                let counted =
                    wished.filter(|page| of(shown_at(&before, *page), shown_at(&after, *page)));
                u64::try_from(counted.count()).expect("it is small")
            };
            prop_assert_eq!(plan.tces_set, count(&|old, new| new.is_some() && old != new));
            prop_assert_eq!(plan.tces_new, count(&|old, new| new.is_some() && old.is_none()));
            prop_assert_eq!(plan.tces_cleared, count(&|old, new| old.is_some() && new.is_none()));
            prop_assert_eq!(plan.tces_kept, count(&|old, new| old.is_some() && old == new));
        }
    }
}
