//! What QEMU would do.

#[allow(dead_code, reason = "several tests share it")]
#[path = "../../samples/mod.rs"]
mod samples;

use qemu_like::QemuLike;
use samples::{GIB, HIGH, K4, K64, M2, MIB, at, demand, facts, region, setting, window_question};
use tce_policy_sdk::{
    page_selection::{PageQuestion, PageSelection},
    types::{LockedMemory, PageChoice, RefusalReason, Region, Setting},
    window_sizing::{WindowChoice, WindowQuestion, WindowSizing},
};

fn pages(regions: Vec<Region>, settings: Vec<Setting>) -> Vec<(u8, Vec<u32>)> {
    let question = PageQuestion { facts: facts(), demand: demand(regions, 0), settings };
    let choices = QemuLike::select_pages(question).expect("pages");
    choices.into_iter().map(|choice| (choice.page, choice.regions)).collect()
}

fn only(question: WindowQuestion) -> WindowChoice {
    let mut windows = QemuLike::size_windows(question).expect("windows");
    assert_eq!(windows.len(), 1);
    windows.remove(0)
}

#[test]
fn the_page_is_the_smaller_one_of_the_guest_s_and_the_memory_s() {
    let huge = || region(1, 256 * MIB, M2);
    assert_eq!(pages(vec![huge()], vec![]), [(K64, vec![1])]);
    assert_eq!(pages(vec![huge()], vec![setting("guest-page", "16M")]), [(M2, vec![1])]);
    let mixed = vec![huge(), region(2, 16 * MIB, K4)];
    assert_eq!(pages(mixed, vec![setting("guest-page", "16M")]), [(K4, vec![1, 2])]);
}

#[test]
fn what_must_lie_below_1_gib_is_the_boot_window_s() {
    let regions = vec![at(0, region(1, GIB, K64)), at(HIGH, region(2, GIB, K64))];
    assert_eq!(pages(regions.clone(), vec![]), [(K4, vec![1]), (K64, vec![2])]);
    assert_eq!(pages(vec![at(MIB, region(1, GIB, K64))], vec![]), [(K64, vec![1])]);
    let all_for_boot = pages(vec![region(1, MIB, K64)], vec![setting("ddw", "off")]);
    assert_eq!(all_for_boot, [(K4, vec![1])]);
    let demand = demand(regions, 0);
    let choice = |page, region| PageChoice { page, regions: vec![region] };
    let pages = vec![choice(K4, 1), choice(K64, 2)];
    let question = WindowQuestion { pages, ..window_question(demand, K64) };
    let windows = QemuLike::size_windows(question).expect("windows");
    let shown: Vec<_> = windows.iter().map(|it| (it.slot, it.page, it.size, it.levels)).collect();
    assert_eq!(shown, [(0, K4, GIB, 1), (1, K64, GIB, 1)]);
}

#[test]
fn the_dynamic_window_is_memory_and_growth_rounded_up_in_slot_1() {
    for (size, growth, window) in
        [(256 * MIB, 0, 256 * MIB), (256 * MIB, MIB, 512 * MIB), (3 * GIB, 0, 4 * GIB)]
    {
        let question = window_question(demand(vec![region(1, size, K64)], growth), K64);
        let choice = only(question);
        assert_eq!((choice.slot, choice.size, choice.levels), (1, window, 1));
    }
}

/// The rows of a measurement: 1 GiB in 4 KiB pages has two levels on a kernel with 4 KiB pages, one on the other.
#[test]
fn levels_are_qemu_s_formula() {
    for (system_page, levels) in [(K4, 2), (K64, 1)] {
        let mut question = window_question(demand(vec![region(1, GIB, K64)], 0), K4);
        question.facts.system_page = system_page;
        assert_eq!(only(question).levels, levels, "{system_page}");
    }
    let mut question = window_question(demand(vec![region(1, GIB, K64)], 0), K4);
    question.facts.system_page = K4;
    question.candidates.retain(|each| each.levels == 1);
    let refusal = QemuLike::size_windows(question).expect_err("a partition has one level");
    assert!(refusal.detail.contains("QEMU would ask for 2 levels"), "{}", refusal.detail);
}

#[test]
fn without_a_second_window_the_first_has_to_do() {
    let question = |size| {
        let mut question = window_question(demand(vec![region(1, size, K64)], 0), K64);
        question.candidates.retain(|each| each.slot == 0);
        question
    };
    let choice = only(question(MIB));
    assert_eq!((choice.slot, choice.size), (0, GIB));
    let refusal = QemuLike::size_windows(question(2 * GIB)).expect_err("more than 1 GiB");
    assert_eq!(refusal.reason, RefusalReason::Window);
}

#[test]
fn what_the_limit_does_not_allow_is_refused() {
    let mut question = window_question(demand(vec![region(1, 256 * GIB, K64)], 0), K4);
    question.facts.locked_memory = LockedMemory { limit: Some(64 * MIB), charged: 0 };
    let refusal = QemuLike::size_windows(question).expect_err("too large a table");
    assert_eq!(refusal.reason, RefusalReason::Memory);
}
