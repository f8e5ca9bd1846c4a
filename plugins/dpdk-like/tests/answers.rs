//! What DPDK would do.

#[allow(dead_code, reason = "several tests share it")]
#[path = "../../samples/mod.rs"]
mod samples;

use dpdk_like::DpdkLike;
use samples::{GIB, K64, M2, MIB, at, demand, facts, region, setting, window_question};
use tce_policy_sdk::{
    page_selection::{PageQuestion, PageSelection},
    types::{LockedMemory, Refusal, RefusalReason, Region, Setting},
    window_sizing::{WindowChoice, WindowSizing},
};

fn page(regions: Vec<Region>) -> Result<u8, Refusal> {
    let question = PageQuestion { facts: facts(), demand: demand(regions, 0), settings: vec![] };
    DpdkLike::select_pages(question).map(|choices| choices[0].page)
}

fn window(regions: Vec<Region>, settings: Vec<Setting>) -> Result<WindowChoice, Refusal> {
    let mut question = window_question(demand(regions, GIB), M2);
    question.settings = settings;
    question.facts.locked_memory = LockedMemory { limit: None, charged: 0 };
    DpdkLike::size_windows(question).map(|mut windows| windows.remove(0))
}

#[test]
fn the_page_is_the_one_behind_the_highest_region() {
    let high = |backing| at(GIB, region(2, 64 * MIB, backing));
    assert_eq!(page(vec![at(0, region(1, 64 * MIB, M2)), high(K64)]), Ok(K64));
    let refusal = page(vec![at(0, region(1, 64 * MIB, K64)), high(M2)]).expect_err("it fails");
    assert_eq!(refusal.reason, RefusalReason::PageSize);
    assert!(refusal.detail.contains("region 1 does not allow them"), "{}", refusal.detail);
    let refusal = page(vec![region(1, 64 * MIB, 24)]).expect_err("no such page");
    assert!(refusal.detail.contains("no pages of 16 MiB"), "{}", refusal.detail);
}

/// The rows of a measurement: 256 MiB of hugepages have 4 GiB, 256 GiB or 64 TiB.
#[test]
fn the_window_reaches_from_0_to_the_top_however_little_lies_in_it() {
    let memory = |end: u64| vec![at(end - 256 * MIB, region(1, 256 * MIB, M2))];
    for (end, size) in [(GIB, GIB), (5 * GIB, 8 * GIB), (0x20_1000_0000, 256 * GIB)] {
        let window = window(memory(end), vec![]).expect("a window");
        assert_eq!((window.slot, window.size, window.levels), (0, size, 1));
    }
    let anywhere = || vec![region(1, 256 * MIB, M2)];
    assert_eq!(window(anywhere(), vec![]).expect("a window").size, 1 << 46);
    let small = window(anywhere(), vec![setting("top", "3G")]).expect("a window");
    assert_eq!(small.size, 4 * GIB);
}

#[test]
fn a_top_that_cannot_be_is_refused() {
    let anywhere = || vec![region(1, 256 * MIB, M2)];
    let too_high = window(anywhere(), vec![setting("top", "4096T")]).expect_err("too high");
    assert_eq!(too_high.reason, RefusalReason::Window);
    let nonsense = window(anywhere(), vec![setting("top", "high")]).expect_err("no address");
    assert_eq!(nonsense.reason, RefusalReason::Settings);
    let reserved = vec![at(3 * GIB, region(1, 256 * MIB, M2))];
    assert_eq!(window(reserved, vec![]).expect_err("mmio").reason, RefusalReason::Window);
}

#[test]
fn what_the_limit_does_not_allow_is_refused() {
    let question = window_question(demand(vec![region(1, 256 * MIB, M2)], 0), M2);
    let refusal = DpdkLike::size_windows(question).expect_err("a table of 512 MiB");
    assert_eq!(refusal.reason, RefusalReason::Memory);
}
