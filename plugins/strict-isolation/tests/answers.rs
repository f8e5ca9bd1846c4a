//! One holder, one group, small pages, bounded leases.

#[allow(dead_code, reason = "several tests share it")]
#[path = "../../samples/mod.rs"]
mod samples;

use samples::{
    K4, K64, M2, MIB, NOW, admit, demand, facts, lease, region, renew, request, setting, window,
};
use strict_isolation::StrictIsolation;
use tce_policy_sdk::{
    lease_policy::{AdmitQuestion, GroupLossQuestion, LeasePolicy},
    page_selection::{PageQuestion, PageSelection},
    types::{LeaseRequest, Refusal, RefusalReason, Region, Setting, Terms},
};

fn pages(regions: Vec<Region>, settings: Vec<Setting>) -> Result<u8, Refusal> {
    let question = PageQuestion { facts: facts(), demand: demand(regions, 0), settings };
    StrictIsolation::select_pages(question).map(|choices| choices[0].page)
}

#[test]
fn pages_are_no_larger_than_the_settings_and_every_region_allow() {
    let huge = || region(1, 4 * MIB, M2);
    assert_eq!(pages(vec![huge()], vec![]), Ok(K64));
    assert_eq!(pages(vec![huge()], vec![setting("page-max", "4K")]), Ok(K4));
    assert_eq!(pages(vec![huge()], vec![setting("page-max", "1G")]), Ok(M2));
    assert_eq!(pages(vec![huge(), region(2, MIB, K4)], vec![]), Ok(K4));
    let refusal = pages(vec![huge()], vec![setting("page-max", "10")]).expect_err("no such page");
    assert_eq!(refusal.reason, RefusalReason::PageSize);
}

#[test]
fn a_container_of_several_groups_is_refused_unless_the_settings_allow_it() {
    let mut question = PageQuestion {
        facts: facts(),
        demand: demand(vec![region(1, MIB, K64)], 0),
        settings: vec![],
    };
    question.facts.groups.push(2);
    let refusal = StrictIsolation::select_pages(question.clone()).expect_err("two groups");
    assert_eq!(refusal.reason, RefusalReason::Settings);
    question.settings = vec![setting("groups", "any")];
    assert!(StrictIsolation::select_pages(question).is_ok());
    let mut question = admit(request("vm-7", MIB), vec![]);
    question.facts.groups.push(2);
    assert!(StrictIsolation::admit(question).is_err());
    let mut question = renew(lease(1, "vm-7", MIB), vec![]);
    question.facts.groups.push(2);
    assert!(StrictIsolation::renew(question).is_err());
}

#[test]
fn a_second_holder_is_neither_admitted_nor_renewed_with() {
    let mine = || lease(1, "vm-7", MIB);
    assert!(StrictIsolation::admit(admit(request("vm-7", MIB), vec![mine()])).is_ok());
    let refusal = StrictIsolation::admit(admit(request("vm-8", MIB), vec![mine()]));
    assert_eq!(
        refusal.expect_err("a second holder").detail,
        "a container is for one holder: vm-8 asks, and vm-7 has lease 1"
    );
    assert!(StrictIsolation::renew(renew(mine(), vec![mine()])).is_ok());
    assert!(StrictIsolation::renew(renew(mine(), vec![mine(), lease(2, "vm-8", MIB)])).is_err());
}

#[test]
fn a_lease_is_bounded_in_memory_edits_and_time() {
    let terms = StrictIsolation::admit(admit(request("vm-7", MIB), vec![])).expect("terms");
    assert_eq!((terms.tces_max, terms.pinned_max), (4, Some(MIB)));
    assert_eq!((terms.edits_per_second, terms.expires), (Some(10_000), Some(NOW + 5_000)));
    let settings = vec![setting("edits-per-second", "7"), setting("lease-max", "2s")];
    let forever = LeaseRequest { duration: None, ..request("vm-7", MIB) };
    let question = AdmitQuestion { settings, ..admit(forever.clone(), vec![]) };
    let terms = StrictIsolation::admit(question).expect("terms");
    assert_eq!((terms.edits_per_second, terms.expires), (Some(7), Some(NOW + 2_000)));
    let terms = StrictIsolation::admit(admit(forever, vec![])).expect("terms");
    assert_eq!(terms.expires, Some(NOW + 24 * 3_600_000));
}

#[test]
fn a_renewal_never_loosens_what_a_lease_has() {
    let mut mine = lease(1, "vm-7", MIB);
    mine.terms.edits_per_second = Some(3);
    let terms = StrictIsolation::renew(renew(mine.clone(), vec![])).expect("terms");
    let expires = Some(NOW + 5_000);
    assert_eq!(terms, Terms { expires, ..mine.terms });
    mine.terms.edits_per_second = None;
    let terms = StrictIsolation::renew(renew(mine, vec![])).expect("terms");
    assert_eq!(terms.edits_per_second, Some(10_000));
}

#[test]
fn with_a_group_every_lease_ends() {
    let question = GroupLossQuestion {
        facts: facts(),
        group: 4,
        windows: vec![window()],
        leases: vec![lease(1, "vm-7", MIB), lease(2, "vm-7", MIB)],
        now: NOW,
        settings: vec![],
    };
    assert_eq!(StrictIsolation::group_leaves(question), [1, 2]);
}
