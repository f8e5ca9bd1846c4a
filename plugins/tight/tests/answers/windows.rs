//! `size-windows` of the reference policy.

use crate::common::{GIB, K4, K64, M2, MIB, demand, facts, region};
use tce_policy_sdk::{
    types::{LockedMemory, PageChoice, Refusal, RefusalReason, Region},
    window_sizing::{Candidate, Origin, WindowChoice, WindowQuestion},
};

/// A created window in slot 0 or 1 whose table takes 8 bytes a page, twice.
fn candidate(slot: u8, page: u8, size: u64, levels: u8) -> Candidate {
    let table = (size >> page) * 8;
    Candidate {
        slot,
        start: u64::from(slot) << 59,
        page,
        size,
        levels,
        origin: Origin::Created,
        table,
        charge: 2 * table,
    }
}

/// Powers of two from 1 MiB to 64 GiB in both slots, and the default window.
fn candidates(page: u8) -> Vec<Candidate> {
    let default_window =
        Candidate { origin: Origin::DefaultWindow, charge: 0, ..candidate(0, K4, 2 * GIB, 1) };
    let mut all = vec![default_window];
    for slot in [0, 1] {
        for shift in 20..=36 {
            let levels = 1..=3;
            all.extend(levels.map(|levels| candidate(slot, page, 1 << shift, levels)));
        }
    }
    all
}

fn question(regions: Vec<Region>, growth: u64, page: u8) -> WindowQuestion {
    let demand = demand(regions, growth);
    WindowQuestion {
        facts: facts(),
        pages: vec![demand.all_with(page)],
        demand,
        candidates: candidates(page),
        settings: vec![],
    }
}

fn only(question: &WindowQuestion) -> WindowChoice {
    match tight::windows::size(question).as_deref() {
        Ok([window]) => window.clone(),
        other => panic!("not one window: {other:?}"),
    }
}

fn refusal(question: &WindowQuestion) -> Refusal {
    tight::windows::size(question).expect_err("a refusal")
}

#[test]
fn the_smallest_window_that_covers_demand_and_growth_is_taken() {
    for (size, growth, window) in [
        (MIB, 0, MIB),
        (MIB, 1, 2 * MIB),
        (3 * MIB, 0, 4 * MIB),
        (GIB, GIB, 2 * GIB),
        (GIB, 3 * GIB, 4 * GIB),
    ] {
        let choice = only(&question(vec![region(1, size, K64)], growth, K64));
        assert_eq!((choice.size, choice.levels), (window, 1), "{size} + {growth}");
        assert_eq!(choice.regions, [1]);
    }
}

#[test]
fn what_a_reserved_range_takes_is_no_room() {
    // 4 GiB at 0 have 2 GiB of room, so that slot 1 has the smaller window.
    let choice = only(&question(vec![region(1, 3 * GIB, K64)], 0, K64));
    assert_eq!((choice.slot, choice.size), (1, 4 * GIB));
}

#[test]
fn a_region_is_not_laid_around_a_reserved_range() {
    let mut question = question(vec![region(1, 5 * GIB, K64)], 0, K64);
    question.candidates.retain(|each| each.slot == 0);
    // 8 GiB at 0 have 6 GiB of room, 4 GiB of them in one piece.
    assert_eq!(only(&question).size, 16 * GIB);
}

#[test]
fn among_equals_fewer_levels_then_less_charge_then_the_lower_slot_win() {
    let mut question = question(vec![region(1, MIB, K64)], 0, K64);
    question.candidates.reverse();
    assert_eq!(only(&question).slot, 0);
    for each in question.candidates.iter_mut().filter(|each| each.slot == 0) {
        each.charge += 1;
    }
    assert_eq!(only(&question).slot, 1);
    for each in question.candidates.iter_mut().filter(|each| each.slot == 1) {
        each.levels += 1;
    }
    assert_eq!((only(&question).slot, only(&question).levels), (0, 1));
}

#[test]
fn a_default_window_of_the_right_size_costs_nothing_and_wins() {
    let mut question = question(vec![region(1, 2 * GIB, K4)], 0, K4);
    question.candidates.retain(|each| each.slot == 0);
    question.facts.locked_memory = LockedMemory { limit: Some(MIB), charged: MIB };
    assert_eq!(only(&question).size, 2 * GIB);
    assert_eq!(only(&question).origin, Origin::DefaultWindow);
}

#[test]
fn a_region_with_a_bus_address_lies_inside_its_window() {
    let at = |at| vec![Region { at: Some(at), ..region(1, MIB, K64) }];
    let choice = only(&question(at(GIB), 0, K64));
    assert_eq!((choice.slot, choice.size), (0, 2 * GIB));
    let choice = only(&question(at(1 << 59), 0, K64));
    assert_eq!((choice.slot, choice.size), (1, MIB));
    let reserved = refusal(&question(at(3 * GIB), 0, K64));
    assert_eq!(reserved.reason, RefusalReason::Window);
}

#[test]
fn regions_that_want_the_same_address_get_no_window() {
    let at = |id| Region { at: Some(GIB), ..region(id, MIB, K64) };
    assert_eq!(refusal(&question(vec![at(1), at(2)], 0, K64)).reason, RefusalReason::Window);
}

#[test]
fn a_demand_no_candidate_holds_is_refused_with_the_numbers() {
    let refused = refusal(&question(vec![region(1, 64 * GIB, K64)], MIB, K64));
    assert_eq!(refused.reason, RefusalReason::Window);
    assert_eq!(
        refused.detail,
        "no window that is possible here holds regions of 64 GiB together and growth of 1 MiB \
         with pages of 64 KiB"
    );
    let endless = refusal(&question(vec![region(1, u64::MAX, K64)], u64::MAX, K64));
    assert_eq!(endless.reason, RefusalReason::Window);
}

#[test]
fn candidates_with_other_pages_are_not_taken() {
    let mut question = question(vec![region(1, MIB, K64)], 0, K64);
    question.candidates = candidates(M2);
    assert_eq!(refusal(&question).reason, RefusalReason::Window);
}

#[test]
fn a_table_beyond_the_locked_memory_limit_is_refused_with_what_is_needed() {
    let mut question = question(vec![region(1, GIB, K64)], 0, K64);
    let charge = 256 << 10;
    question.facts.locked_memory = LockedMemory { limit: Some(MIB + charge), charged: MIB };
    assert_eq!(only(&question).size, GIB);
    question.facts.locked_memory.limit = Some(MIB + charge - 1);
    let refused = refusal(&question);
    assert_eq!(refused.reason, RefusalReason::Memory);
    assert_eq!(
        refused.detail,
        "the cheapest table takes 256 KiB of locked memory, and 1 MiB of 1310719 bytes are taken, \
         the demand's memory included: the limit would have to be 1280 KiB"
    );
}

#[test]
fn a_cheaper_candidate_is_taken_where_the_first_is_too_expensive() {
    let mut question = question(vec![region(1, GIB, K64)], 0, K64);
    for each in question.candidates.iter_mut().filter(|each| each.slot == 0) {
        each.charge = u64::MAX;
    }
    assert_eq!(only(&question).slot, 1);
}

#[test]
fn two_page_sizes_get_a_window_each() {
    let mut question = two_pages(GIB, 3 * MIB, 0);
    let layout = tight::windows::size(&question).expect("a layout");
    assert_eq!(shapes(&layout), [(0, K4, 4 * MIB), (1, K64, GIB)]);
    assert_eq!(layout[0].regions, [2]);
    question.candidates.retain(|each| each.slot == 1);
    assert_eq!(refusal(&question).reason, RefusalReason::Window);
}

#[test]
fn the_growth_belongs_to_the_larger_page() {
    let layout = tight::windows::size(&two_pages(MIB, 64 * MIB, 4 * MIB)).expect("a layout");
    assert_eq!(shapes(&layout), [(0, K4, 64 * MIB), (1, K64, 8 * MIB)]);
    let mut same = two_pages(MIB, MIB, 7 * MIB);
    same.pages.iter_mut().for_each(|choice| choice.page = K64);
    let layout = tight::windows::size(&same).expect("a layout");
    assert_eq!(shapes(&layout), [(0, K64, 8 * MIB), (1, K64, MIB)]);
}

#[test]
fn two_windows_start_at_different_addresses() {
    let mut question = two_pages(GIB, 3 * MIB, 0);
    question.candidates.retain(|each| each.origin == Origin::Created);
    question.candidates.iter_mut().for_each(|each| each.start = 1 << 59);
    let refused = refusal(&question);
    assert_eq!(refused.reason, RefusalReason::Window);
    assert!(refused.detail.contains("different starts"), "{}", refused.detail);
}

/// Region 1 in 64K pages and region 2 in 4K pages; the second is the first choice.
fn two_pages(large: u64, small: u64, growth: u64) -> WindowQuestion {
    let mut question = question(vec![region(1, large, K64), region(2, small, K4)], growth, K64);
    question.pages =
        vec![PageChoice { page: K4, regions: vec![2] }, PageChoice { page: K64, regions: vec![1] }];
    question.candidates.extend(candidates(K4));
    question
}

fn shapes(layout: &[WindowChoice]) -> Vec<(u8, u8, u64)> {
    layout.iter().map(|each| (each.slot, each.page, each.size)).collect()
}

#[test]
fn three_page_sizes_are_refused() {
    let mut question = question(vec![region(1, GIB, K64)], 0, K64);
    question.pages = vec![PageChoice { page: K64, regions: vec![] }; 3];
    assert!(refusal(&question).detail.starts_with("3 page sizes"));
    question.pages.clear();
    assert!(refusal(&question).detail.starts_with("0 page sizes"));
}
