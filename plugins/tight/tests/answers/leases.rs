//! The answers of the reference policy about leases.

use crate::common::{GIB, K64, KIB, MIB, facts};
use tce_policy_sdk::{
    lease_policy::{
        AdmitQuestion, GroupLossQuestion, Lease, LeasePolicy, LeaseRequest, ReclaimQuestion,
        RenewQuestion, Shortage, Terms, WindowFacts,
    },
    types::{Access, RefusalReason},
};
use tight::Tight;

const NOW: u64 = 1_700_000_000_000;

fn admit_question(size: u64, tces: u64, duration: Option<u64>) -> AdmitQuestion {
    AdmitQuestion {
        facts: facts(),
        window: WindowFacts { slot: 1, start: 1 << 59, size: GIB, page: K64, unleased: MIB },
        request: LeaseRequest {
            holder: "vm-7".to_owned(),
            size,
            access: Access::Read,
            tces,
            duration,
            hints: vec![],
        },
        leases: vec![],
        now: NOW,
        settings: vec![],
    }
}

fn lease() -> Lease {
    Lease {
        id: 5,
        holder: "vm-7".to_owned(),
        slot: 1,
        start: 1 << 59,
        size: MIB,
        terms: Terms { access: Access::Write, tces_max: 4, expires: Some(NOW + 1) },
        tces: 0,
    }
}

fn terms(size: u64, tces: u64, duration: Option<u64>) -> Terms {
    tight::leases::admit(&admit_question(size, tces, duration)).expect("terms")
}

#[test]
fn a_lease_that_fits_gets_what_it_asked_for() {
    let expected = Terms { access: Access::Read, tces_max: 3, expires: Some(NOW + 5_000) };
    assert_eq!(terms(MIB, 3, Some(5_000)), expected);
    assert_eq!(terms(MIB, 3, None).expires, None);
}

#[test]
fn tces_are_at_most_the_pages_of_the_lease_and_at_least_one() {
    assert_eq!(terms(MIB, u64::MAX, None).tces_max, 16);
    assert_eq!(terms(MIB, 0, None).tces_max, 1);
    assert_eq!(terms(KIB, 9, None).tces_max, 1);
}

#[test]
fn an_end_beyond_the_end_of_time_is_the_end_of_time() {
    assert_eq!(terms(MIB, 1, Some(u64::MAX)).expires, Some(u64::MAX));
}

#[test]
fn a_lease_larger_than_what_is_left_is_refused() {
    let refused = tight::leases::admit(&admit_question(MIB + 1, 1, None)).expect_err("a refusal");
    assert_eq!(refused.reason, RefusalReason::Window);
    assert_eq!(
        refused.detail,
        "1048577 bytes were asked for, and 1 MiB of the window in slot 1 are not leased yet"
    );
}

#[test]
fn a_lease_of_nothing_is_refused() {
    let refused = tight::leases::admit(&admit_question(0, 1, None)).expect_err("a refusal");
    assert_eq!(refused.reason, RefusalReason::Other);
}

#[test]
fn a_renewal_changes_the_end_alone() {
    let question = |duration| RenewQuestion {
        facts: facts(),
        lease: lease(),
        duration,
        leases: vec![lease()],
        now: NOW,
        settings: vec![],
    };
    let renewed = tight::leases::renew(&question(Some(9)));
    assert_eq!(renewed, Terms { expires: Some(NOW + 9), ..lease().terms });
    assert_eq!(tight::leases::renew(&question(None)).expires, None);
}

#[test]
fn nothing_that_was_granted_is_taken_back() {
    let leases = vec![lease()];
    let under_pressure = ReclaimQuestion {
        facts: facts(),
        shortage: Shortage::WindowSpace,
        wanted: GIB,
        leases: leases.clone(),
        now: NOW,
        settings: vec![],
    };
    assert!(Tight::reclaim(under_pressure).is_empty());
    let group_loss =
        GroupLossQuestion { facts: facts(), group: 2, leases, now: NOW, settings: vec![] };
    assert!(Tight::group_leaves(group_loss).is_empty());
}
