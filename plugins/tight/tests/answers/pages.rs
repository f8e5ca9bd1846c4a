//! `select-pages` of the reference policy.

use crate::common::{G1, GIB, K4, K64, KIB, M2, MIB, demand, facts, region, setting};
use tce_policy_sdk::{
    page_selection::PageQuestion,
    types::{PageChoice, Refusal, RefusalReason, Region, Setting},
};

fn ask(regions: Vec<Region>, settings: Vec<Setting>) -> Result<Vec<PageChoice>, Refusal> {
    tight::pages::select(&PageQuestion { facts: facts(), demand: demand(regions, 0), settings })
}

fn page_for(regions: Vec<Region>) -> Option<u8> {
    let ids: Vec<u32> = regions.iter().map(|region| region.id).collect();
    match ask(regions, vec![]).ok()?.as_slice() {
        [all] if all.regions == ids => Some(all.page),
        other => panic!("not one choice for all regions: {other:?}"),
    }
}

fn refusal(regions: Vec<Region>, settings: Vec<Setting>) -> Refusal {
    ask(regions, settings).expect_err("a refusal")
}

#[test]
fn the_largest_page_that_the_backing_allows_is_chosen() {
    assert_eq!(page_for(vec![region(1, GIB, K4)]), Some(K4));
    assert_eq!(page_for(vec![region(1, GIB, K64)]), Some(K64));
    assert_eq!(page_for(vec![region(1, GIB, M2)]), Some(M2));
    assert_eq!(page_for(vec![region(1, GIB, G1)]), Some(G1));
}

#[test]
fn the_smallest_backing_decides_for_all() {
    assert_eq!(page_for(vec![region(1, GIB, G1), region(7, MIB, K64)]), Some(K64));
}

#[test]
fn a_backing_between_two_page_sizes_takes_the_smaller_one() {
    assert_eq!(page_for(vec![region(1, GIB, 24)]), Some(M2));
}

#[test]
fn no_page_is_larger_than_the_pieces_that_are_mapped() {
    let pieces = |granule| Region { granule, ..region(1, GIB, M2) };
    assert_eq!(page_for(vec![pieces(K4)]), Some(K4));
    assert_eq!(page_for(vec![pieces(K64)]), Some(K64));
    assert_eq!(page_for(vec![pieces(G1)]), Some(M2));
    assert_eq!(page_for(vec![region(2, GIB, M2), pieces(K64)]), Some(K64));
}

#[test]
fn size_and_bus_address_are_whole_pages() {
    assert_eq!(page_for(vec![region(1, 3 * MIB, M2)]), Some(K64));
    let placed = Region { at: Some(GIB + 4 * KIB), ..region(1, 2 * MIB, M2) };
    assert_eq!(page_for(vec![placed]), Some(K4));
}

#[test]
fn a_page_that_no_region_can_have_is_refused_with_the_reason_why() {
    let backing = refusal(vec![region(3, MIB, 10)], vec![]);
    assert_eq!(backing.reason, RefusalReason::PageSize);
    assert_eq!(
        backing.detail,
        "region 3 is backed by pages of 1 KiB, and the container's smallest page is 4 KiB"
    );
    let granule = refusal(vec![Region { granule: 10, ..region(3, MIB, K64) }], vec![]);
    assert_eq!(
        granule.detail,
        "region 3 is mapped in pieces of 1 KiB, and the container's smallest page is 4 KiB"
    );
    let size = refusal(vec![region(3, MIB + 512, K64)], vec![]);
    assert_eq!(
        size.detail,
        "region 3 is 1049088 bytes, which is no whole number of pages: the container's smallest page is 4 KiB"
    );
    let at = refusal(vec![Region { at: Some(0x200), ..region(3, MIB, K64) }], vec![]);
    assert_eq!(
        at.detail,
        "region 3 shall be at 0x200, which is no whole page: the container's smallest page is 4 KiB"
    );
}

#[test]
fn a_container_without_pages_is_refused() {
    let question = PageQuestion {
        facts: tce_policy_sdk::types::ContainerFacts { page_shifts: vec![], ..facts() },
        demand: demand(vec![region(1, MIB, K64)], 0),
        settings: vec![],
    };
    let refusal = tight::pages::select(&question).expect_err("a refusal");
    assert_eq!(refusal.detail, "the container offers no page size at all");
}

#[test]
fn the_setting_page_max_limits_the_page() {
    let ask = |value: &str| ask(vec![region(1, GIB, M2)], vec![setting("page-max", value)]);
    assert_eq!(ask("16").map(|choices| choices[0].page), Ok(K64));
    assert_eq!(ask("17").map(|choices| choices[0].page), Ok(K64));
    assert_eq!(ask("63").map(|choices| choices[0].page), Ok(M2));
    assert_eq!(ask("64K").map(|choices| choices[0].page), Ok(K64));
}

#[test]
fn a_page_max_that_leaves_nothing_is_refused_as_a_setting() {
    let refused = refusal(vec![region(1, GIB, M2)], vec![setting("page-max", "11")]);
    assert_eq!(refused.reason, RefusalReason::Settings);
    assert_eq!(
        refused.detail,
        "the setting page-max allows pages up to 2 KiB, and the smallest page that suits is 4 KiB"
    );
    let refused = refusal(vec![region(1, GIB, M2)], vec![setting("page-max", "large")]);
    assert_eq!(
        refused.detail,
        "the setting page-max is a page such as 64K, or its shift such as 16, not `large`"
    );
}

#[test]
fn unknown_settings_are_ignored() {
    let answer = ask(vec![region(1, GIB, M2)], vec![setting("colour", "red")]);
    assert_eq!(answer.map(|choices| choices[0].page), Ok(M2));
}

#[test]
fn what_is_no_page_is_a_problem_of_the_setting() {
    let problems = |value: &str| tight::pages::check_settings(&[setting("page-max", value)]);
    assert!(problems("64K").is_empty() && problems("16").is_empty());
    for value in ["large", "64", "3K", ""] {
        assert_eq!(problems(value).len(), 1, "{value}");
    }
}
