//! Plans one by one, and all small ones against a search for the fewest calls.

use proptest::prelude::*;

use super::*;
use crate::{
    edit::settle,
    testing::{
        PAGE, PageModel, any_settled, any_wish, grant, grant_table, pages_of, table_of, target,
        wish, wished_pages,
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
fn check(runs: &[(u64, u64, u64)], wishes: &[(u64, u64, Option<u64>)], expected: &[&str]) -> Plan {
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
    // Nor what is replaced: it would be nothing for a moment.
    let calls = ["map 3..4 to 30", "unmap 0..1", "unmap 6..7"];
    check(&runs, &[(0, 1, None), (3, 1, Some(30)), (6, 1, None)], &calls);
}

#[test]
fn an_unmap_comes_first_where_it_spans_what_a_map_sets_and_last_otherwise() {
    let runs = [(0, 1, 1), (3, 1, 5), (6, 1, 9)];
    let wishes = [(0, 1, None), (1, 1, Some(30)), (3, 1, None)];
    check(&runs, &wishes, &["unmap 0..4", "map 1..2 to 30"]);
    check(&runs, &[(0, 1, None), (1, 2, Some(30))], &["map 1..3 to 30", "unmap 0..1"]);
    check(&runs, &[(2, 1, Some(30)), (3, 1, None)], &["map 2..3 to 30", "unmap 3..4"]);
    let one_of_each =
        [(0, 1, None), (1, 2, Some(30)), (3, 1, None), (4, 2, Some(40)), (6, 1, None)];
    let calls = ["unmap 0..7", "map 1..3 to 30", "map 4..6 to 40"];
    check(&runs, &one_of_each, &calls);
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
    let Action::Map { address, access } = call.action else { return None };
    let offset = Pages::new(page - call.first).bytes(PAGE).expect("it fits");
    Some((address.checked_add(offset).expect("it fits"), access))
}

/// The plan if each wish is planned for itself.
fn one_by_one(table: &Table, wishes: &[Wish], tces_max: u64) -> Plan {
    let mut planner = Planner::new(table, tces_max);
    wishes.iter().for_each(|wish| planner.take(wish));
    planner.finish()
}

proptest! {
    #[test]
    fn wishes_planned_together_are_planned_as_one_by_one(
        batches in proptest::collection::vec(any_settled(), 2),
        tces_max in 1u64..6,
    ) {
        let mut table = table_of(&[]);
        batches[0].iter().for_each(|wish| grant_table(&mut table, wish));
        let mut plan = plan_calls_of(&table, &batches[1], tces_max);
        plan.found = Found::default();
        prop_assert_eq!(plan, one_by_one(&table, &batches[1], tces_max));
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
                let is_wished = new == shown_at(&after, page);
                prop_assert!(is_wished || new == old, "page {page}: neither old nor wished");
                let before = hardware.insert(page, new).flatten();
                prop_assert!(new.is_none() || before != new, "page {page} had it already");
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

/// What a page was and what it shall be.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    old: Shown,
    new: Shown,
}

/// What a call does to pages: a bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Those that it writes.
    written: u32,
    /// Those of them that it makes as wished.
    done: u32,
    /// Those of them that it sets.
    set: u32,
}

impl Step {
    /// What a call does, if no page becomes anything but what it was or what it shall be.
    fn of(pages: &[Wanted], call: &PlannedCall) -> Option<Self> {
        let mut step = Self::default();
        for (page, Wanted { old, new }) in (0u64..).zip(pages) {
            if (call.first..call.end()).contains(&page) {
                let (bit, effect) = (1 << page, effect(call, page));
                step.written |= bit;
                step.done |= if effect == *new { bit } else { 0 };
                step.set |= if effect.is_some() { bit } else { 0 };
                (effect == *new || effect == *old).then_some(())?;
            }
        }
        Some(step)
    }

    /// What is as wished after the call, if it writes no live page with what that page has.
    fn after(self, as_wished: u32) -> Option<u32> {
        let changed = (as_wished ^ self.done) & self.set;
        (changed == self.set).then_some(as_wished & !self.written | self.done)
    }
}

/// Those that need no call.
fn as_wished(pages: &[Wanted]) -> u32 {
    (0..).zip(pages).map(|(page, it)| if it.old == it.new { 1 << page } else { 0 }).sum()
}

/// All that a call may do, of calls of at most so many TCEs.
fn steps(pages: &[Wanted], tces_max: u64) -> Vec<Step> {
    let end = u64::try_from(pages.len()).expect("it is small");
    let ranges =
        (0..end).flat_map(|first| (1..=tces_max.min(end - first)).map(move |n| (first, n)));
    let calls = ranges.flat_map(|(first, count)| {
        let Wanted { old, new } = pages[usize::try_from(first).expect("it is small")];
        let maps = [old, new].into_iter().flatten();
        let maps = maps.map(|(address, access)| Action::Map { address, access });
        let actions = maps.chain([Action::Unmap]);
        actions.map(move |action| PlannedCall { first, pages: count, action })
    });
    calls.filter_map(|call| Step::of(pages, &call)).collect()
}

/// The fewest calls after which all is as wished, found by trying all there are.
fn fewest_calls(pages: &[Wanted], tces_max: u64) -> usize {
    let all = (1u32 << pages.len()) - 1;
    let steps = steps(pages, tces_max);
    let mut states = vec![as_wished(pages)];
    let mut reached = std::collections::BTreeSet::from_iter(states.iter().copied());
    for calls in 0.. {
        if reached.contains(&all) {
            return calls;
        }
        let next = states.iter().flat_map(|state| steps.iter().filter_map(|it| it.after(*state)));
        states = next.filter(|state| reached.insert(*state)).collect();
        assert!(!states.is_empty(), "{pages:?} cannot be reached");
    }
    unreachable!("there are finitely many states")
}

/// Pages of memory, before and as wished; outer `None`: no wish.
type Case = [(Option<u64>, Option<Option<u64>>)];

#[track_caller]
fn check_fewest(case: &Case, tces_max: u64) {
    let shown = |page: Option<u64>| page.map(target).map(|it| (it.address, it.access));
    let pages: Vec<Wanted> = case
        .iter()
        .map(|(old, new)| Wanted { old: shown(*old), new: shown(new.unwrap_or(*old)) })
        .collect();
    let runs: Vec<(u64, u64, u64)> =
        (0..).zip(case).filter_map(|(at, (old, _))| Some((at, 1, (*old)?))).collect();
    let wishes: Vec<Wish> = (0..)
        .zip(case)
        .filter_map(|(at, (_, new))| Some(wish(at, 1, (*new)?.map(target))))
        .collect();
    let plan = plan_calls_of(&table_of(&runs), &settle(wishes, PAGE), tces_max);
    let state = plan.calls.iter().try_fold(as_wished(&pages), |state, call| {
        let step = Step::of(&pages, call).filter(|_| call.pages <= tces_max)?;
        step.after(state)
    });
    assert_eq!(state, Some((1 << pages.len()) - 1), "{plan:?} of {pages:?}");
    assert_eq!(plan.calls.len(), fewest_calls(&pages, tces_max), "{plan:?} of {pages:?}");
}

/// What a page of memory may be for a TCE: none, one that goes on with its neighbours', one that does not.
fn memory_page(kind: usize, tce: u64) -> Option<u64> {
    [None, Some(100 + tce), Some(300 - tce), Some(101 + tce)][kind]
}

#[test]
fn no_plan_for_four_tces_can_do_with_fewer_calls() {
    const KINDS: usize = 3;
    const WISHES: usize = KINDS + 1;
    for number in 0..(KINDS * WISHES).pow(4) {
        let mut rest = number;
        let case: Vec<_> = (0..4)
            .map(|tce| {
                let (old, new) = (rest % KINDS, rest / KINDS % WISHES);
                rest /= KINDS * WISHES;
                (memory_page(old, tce), (new < KINDS).then(|| memory_page(new, tce)))
            })
            .collect();
        for tces_max in 2..=4 {
            check_fewest(&case, tces_max);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_plan_for_some_more_tces_can_do_with_fewer_calls(
        kinds in proptest::collection::vec((0usize..4, proptest::option::weighted(0.8, 0usize..4)), 8..=9),
        tces_max in 1u64..=5,
    ) {
        let page = |tce: u64, (old, new): &(usize, Option<usize>)| {
            (memory_page(*old, tce), new.map(|new| memory_page(new, tce)))
        };
        let case: Vec<_> = (0..).zip(&kinds).map(|(tce, kind)| page(tce, kind)).collect();
        check_fewest(&case, tces_max);
    }
}
