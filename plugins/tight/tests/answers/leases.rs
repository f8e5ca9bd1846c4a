//! The answers of the reference policy about leases.

use crate::common::{GIB, K64, KIB, MIB, facts};
use tce_policy_sdk::{
    lease_policy::{
        AdmitQuestion, GroupLossQuestion, LeasePolicy, ReclaimQuestion, RenewQuestion, Shortage,
    },
    types::{Access, Lease, LeaseRequest, RefusalReason, Terms, Window},
};
use tight::Tight;

const NOW: u64 = 1_700_000_000_000;

fn admit_question(size: u64, tces: u64, duration: Option<u64>) -> AdmitQuestion {
    AdmitQuestion {
        facts: facts(),
        window: window(),
        request: request(size, tces, duration),
        leases: vec![],
        now: NOW,
        settings: vec![],
    }
}

fn window() -> Window {
    Window {
        slot: 1,
        start: 1 << 59,
        size: GIB,
        page: K64,
        levels: 1,
        unleased: MIB,
        hints: vec![],
    }
}

fn request(size: u64, tces: u64, duration: Option<u64>) -> LeaseRequest {
    let (holder, memory) = ("vm-7".to_owned(), size);
    LeaseRequest { holder, size, access: Access::Read, tces, memory, duration, hints: vec![] }
}

const TERMS: Terms = Terms {
    access: Access::Read,
    tces_max: 3,
    pinned_max: None,
    edits_per_second: None,
    expires: Some(NOW + 5_000),
};

fn lease() -> Lease {
    Lease {
        id: 5,
        holder: "vm-7".to_owned(),
        slot: 1,
        start: 1 << 59,
        size: MIB,
        terms: Terms { access: Access::Write, tces_max: 4, expires: Some(NOW + 1), ..TERMS },
        since: NOW - 1,
        tces: 0,
        pinned: 0,
        hints: vec![],
    }
}

fn terms(size: u64, tces: u64, duration: Option<u64>) -> Terms {
    tight::leases::admit(&admit_question(size, tces, duration)).expect("terms")
}

#[test]
fn a_lease_that_fits_gets_what_it_asked_for() {
    assert_eq!(terms(MIB, 3, Some(5_000)), TERMS);
    assert_eq!(terms(MIB, 3, None).expires, None);
}

#[test]
fn tces_are_at_most_the_pages_of_the_lease_and_at_least_one() {
    assert_eq!(terms(MIB, u64::MAX, None).tces_max, 16);
    assert_eq!(terms(MIB, 0, None).tces_max, 1);
    assert_eq!(terms(KIB, 9, None).tces_max, 1);
}

#[test]
fn a_lease_for_no_time_ends_later_than_now_as_the_engine_wants_it() {
    assert_eq!(terms(MIB, 1, Some(0)).expires, Some(NOW + 1));
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
        window: window(),
        lease: lease(),
        duration,
        leases: vec![lease()],
        now: NOW,
        settings: vec![],
    };
    let renew = |duration| Tight::renew(question(duration)).expect("terms");
    assert_eq!(renew(Some(9)), Terms { expires: Some(NOW + 9), ..lease().terms });
    assert_eq!(renew(None).expires, None);
    assert_eq!(renew(Some(0)).expires, Some(NOW + 1));
}

#[test]
fn nothing_that_was_granted_is_taken_back() {
    let leases = vec![lease()];
    let under_pressure = ReclaimQuestion {
        facts: facts(),
        window: window(),
        windows: vec![window()],
        shortage: Shortage::WindowSpace,
        wanted: GIB,
        request: request(GIB, 1, None),
        leases: leases.clone(),
        now: NOW,
        settings: vec![],
    };
    assert!(Tight::reclaim(under_pressure).is_empty());
    let group_loss = GroupLossQuestion {
        facts: facts(),
        group: 2,
        windows: vec![window()],
        leases,
        now: NOW,
        settings: vec![],
    };
    assert!(Tight::group_leaves(group_loss).is_empty());
}
