//! A small first window, and room to spare in the second.

#[allow(dead_code, reason = "several tests share it")]
#[path = "../../samples/mod.rs"]
mod samples;

use headroom::Headroom;
use samples::{GIB, K4, K64, MIB, demand, grow, region, setting, window_question};
use tce_policy_sdk::{
    types::{LockedMemory, PageChoice, RefusalReason},
    window_sizing::WindowSizing,
};

#[test]
fn the_first_window_is_the_smallest_in_slot_0_without_room_for_growth() {
    let question = window_question(demand(vec![region(1, 48 * MIB, K64)], GIB), K64);
    let windows = Headroom::size_windows(question).expect("a window");
    assert_eq!((windows[0].slot, windows[0].size, windows[0].levels), (0, 64 * MIB, 1));
    assert_eq!(windows.len(), 1);
}

#[test]
fn where_slot_0_has_no_window_slot_1_has_it() {
    let mut question = window_question(demand(vec![region(1, 48 * MIB, K64)], 0), K64);
    question.candidates.retain(|each| each.slot == 1);
    assert_eq!(Headroom::size_windows(question).expect("a window")[0].slot, 1);
}

#[test]
fn two_windows_from_the_start_are_refused() {
    let mut question = window_question(demand(vec![region(1, MIB, K64)], 0), K64);
    question.pages.push(PageChoice { page: K4, regions: vec![1] });
    let refusal = Headroom::size_windows(question).expect_err("no slot for growth");
    assert_eq!(refusal.reason, RefusalReason::Window);
}

#[test]
fn a_lease_grows_into_several_times_its_size() {
    assert_eq!(Headroom::grow(grow(GIB)).expect("a window").size, 4 * GIB);
    for (factor, size) in [("1", GIB), ("7", 4 * GIB), ("8", 8 * GIB)] {
        let mut question = grow(GIB);
        question.settings = vec![setting("headroom", factor)];
        let chosen = Headroom::grow(question).expect("a window");
        assert_eq!((chosen.size, chosen.levels), (size, 1), "{factor}");
    }
}

#[test]
fn headroom_gives_way_to_the_locked_memory_that_is_left() {
    // 1 GiB in pages of 64 KiB is a table of 128 KiB, charged twice.
    let chosen = |left: u64| {
        let mut question = grow(GIB);
        question.facts.locked_memory = LockedMemory { limit: Some(MIB + left), charged: MIB };
        Headroom::grow(question)
    };
    assert_eq!(chosen(2 * MIB).expect("a window").size, 4 * GIB);
    assert_eq!(chosen(2 * MIB - 1024).expect("a window").size, 2 * GIB);
    // More than half of what is left, but there is no smaller one.
    assert_eq!(chosen(MIB / 4).expect("a window").size, GIB);
    let refusal = chosen(MIB / 4 - 1).expect_err("nothing can be paid");
    assert_eq!(refusal.reason, RefusalReason::Memory);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for (key, value) in [("headroom", "0"), ("headroom", "1025"), ("memory-share", "101")] {
        let mut question = grow(GIB);
        question.settings = vec![setting(key, value)];
        assert_eq!(Headroom::grow(question).expect_err(key).reason, RefusalReason::Settings);
    }
}
