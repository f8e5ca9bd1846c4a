//! Shares, priorities, expiry, reclaim.

#[allow(dead_code, reason = "several tests share it")]
#[path = "../../samples/mod.rs"]
mod samples;

use samples::{GIB, MIB, NOW, admit, lease, reclaim, renew, request, setting, with_priority};
use tce_policy_sdk::{
    lease_policy::{AdmitQuestion, LeasePolicy, ReclaimQuestion, Shortage},
    settings::Settings,
    types::{Hint, Lease, LeaseRequest, RefusalReason, Setting, Terms},
};
use tenant_quota::TenantQuota;

fn shares() -> Vec<Setting> {
    vec![setting("shares", "vm-7=50, vm-8 = 30"), setting("default-share", "5")]
}

/// Whether so much is admitted beside these leases.
fn admits(holder: &str, size: u64, leases: Vec<Lease>) -> bool {
    let question = AdmitQuestion { settings: shares(), ..admit(request(holder, size), leases) };
    match TenantQuota::admit(question) {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal.reason, RefusalReason::Quota, "{}", refusal.detail);
            false
        }
    }
}

#[test]
fn a_holder_has_its_share_of_the_window_and_no_more() {
    assert!(admits("vm-7", GIB / 2, vec![]));
    assert!(admits("vm-8", 256 * MIB, vec![]));
    assert!(!admits("vm-8", 320 * MIB, vec![]));
    assert!(admits("vm-9", 51 * MIB, vec![]));
    assert!(!admits("vm-9", 52 * MIB, vec![]));
    // What it has counts, what others have and what has expired does not.
    assert!(!admits("vm-7", 256 * MIB, vec![lease(1, "vm-7", 257 * MIB)]));
    assert!(admits("vm-7", 256 * MIB, vec![lease(1, "vm-8", 257 * MIB)]));
    let terms = Terms { expires: Some(NOW), ..lease(1, "vm-7", MIB).terms };
    assert!(admits("vm-7", 256 * MIB, vec![Lease { terms, ..lease(1, "vm-7", 257 * MIB) }]));
}

#[test]
fn a_holder_has_its_share_of_the_locked_memory() {
    let question = |memory| {
        let request = LeaseRequest { memory, ..request("vm-7", MIB) };
        let leases = vec![lease(1, "vm-7", MIB)];
        AdmitQuestion { settings: shares(), ..admit(request, leases) }
    };
    // Half of 64 MiB, of which a lease may have 1 MiB already.
    let terms = TenantQuota::admit(question(31 * MIB)).expect("terms");
    assert_eq!(terms.pinned_max, Some(31 * MIB));
    let refusal = TenantQuota::admit(question(31 * MIB + 1)).expect_err("beyond the share");
    assert_eq!(refusal.reason, RefusalReason::Quota);
    assert!(refusal.detail.ends_with("its share of the locked memory is 50%: 32 MiB"));
}

#[test]
fn no_lease_lasts_longer_than_the_settings_allow() {
    let expires = |duration, max: &[Setting]| {
        let request = LeaseRequest { duration, ..request("vm-7", MIB) };
        let settings = max.to_vec();
        TenantQuota::admit(AdmitQuestion { settings, ..admit(request, vec![]) })
            .map(|it| it.expires)
    };
    let max = [setting("lease-max", "1m")];
    assert_eq!(expires(None, &[]), Ok(None));
    assert_eq!(expires(None, &max), Ok(Some(NOW + 60_000)));
    assert_eq!(expires(Some(90_000), &max), Ok(Some(NOW + 60_000)));
    assert_eq!(expires(Some(5_000), &max), Ok(Some(NOW + 5_000)));
}

#[test]
fn who_has_more_than_its_share_is_not_renewed() {
    let renewed = |size| {
        let mine = lease(1, "vm-8", size);
        let mut question = renew(mine.clone(), vec![mine]);
        question.settings = shares();
        TenantQuota::renew(question)
    };
    assert_eq!(renewed(300 * MIB).expect("terms").expires, Some(NOW + 5_000));
    assert_eq!(renewed(310 * MIB).expect_err("beyond").reason, RefusalReason::Quota);
}

fn with_hint(priority: &str, request: LeaseRequest) -> LeaseRequest {
    let (key, value) = ("priority".to_owned(), priority.to_owned());
    LeaseRequest { hints: vec![Hint { key, value }], ..request }
}

#[test]
fn the_least_important_goes_first_then_who_ends_soonest_then_the_oldest() {
    let ends = |expires, lease: Lease| Lease { terms: Terms { expires, ..lease.terms }, ..lease };
    let since = |since, lease: Lease| Lease { since, ..lease };
    let of = |id, priority| with_priority(priority, lease(id, "vm-8", MIB));
    let leases = vec![
        of(1, "3"),
        since(NOW - 2_000, ends(None, of(2, "1"))),
        ends(Some(NOW + 9), of(3, "1")),
        since(NOW - 5, of(4, "2")),
        since(NOW - 6, of(5, "2")),
        of(6, "4"),
        of(7, "5"),
    ];
    let asks = with_hint("4", request("vm-7", MIB));
    let all = ReclaimQuestion { settings: shares(), ..reclaim(asks, MIB, leases) };
    assert_eq!(TenantQuota::reclaim(all), [3, 2, 5, 4, 1]);
}

#[test]
fn nothing_is_taken_from_a_higher_priority_or_in_vain() {
    let of = |id, priority, size| with_priority(priority, lease(id, "vm-8", size));
    let leases = vec![of(1, "1", MIB), of(2, "9", GIB)];
    let asks = |wanted| {
        let asks = with_hint("5", request("vm-7", wanted));
        TenantQuota::reclaim(reclaim(asks, wanted, leases.clone()))
    };
    assert_eq!(asks(MIB), [1]);
    assert!(asks(2 * MIB).is_empty());
    // A number that is none is the least.
    let asks = with_hint("urgent", request("vm-7", MIB));
    assert!(TenantQuota::reclaim(reclaim(asks, MIB, leases.clone())).is_empty());
}

#[test]
fn room_in_another_window_is_not_what_somebody_waits_for() {
    let of = |slot, id| Lease { slot, ..with_priority("1", lease(id, "vm-8", MIB)) };
    let asks = || with_hint("5", request("vm-7", MIB));
    assert!(TenantQuota::reclaim(reclaim(asks(), MIB, vec![of(0, 1)])).is_empty());
    assert_eq!(TenantQuota::reclaim(reclaim(asks(), MIB, vec![of(0, 1), of(1, 2)])), [2]);
    // Locked memory is the same in all of them.
    let memory = reclaim(asks(), MIB, vec![of(0, 1)]);
    let memory = ReclaimQuestion { shortage: Shortage::LockedMemory, ..memory };
    assert_eq!(TenantQuota::reclaim(memory), [1]);
}

#[test]
fn of_the_same_priority_only_what_is_beyond_a_share_goes() {
    let leases = vec![lease(1, "vm-8", 200 * MIB), lease(2, "vm-8", 200 * MIB)];
    let question = |holder| {
        let question = reclaim(request(holder, MIB), MIB, leases.clone());
        ReclaimQuestion { settings: shares(), ..question }
    };
    // 400 MiB where the share is 307: one of the two is enough.
    assert_eq!(TenantQuota::reclaim(question("vm-7")), [1]);
    assert!(TenantQuota::reclaim(question("vm-8")).is_empty());
}

#[test]
fn the_settings_know_better_than_a_hint_who_matters() {
    let leases = vec![with_priority("9", lease(1, "vm-8", MIB))];
    let mut question = reclaim(request("vm-7", MIB), MIB, leases);
    assert!(TenantQuota::reclaim(question.clone()).is_empty());
    question.settings = vec![setting("priorities", "vm-7=2, vm-8=1")];
    assert_eq!(TenantQuota::reclaim(question.clone()), [1]);
    question.settings = vec![setting("priorities", "vm-7")];
    assert!(TenantQuota::reclaim(question).is_empty());
}

#[test]
fn only_leases_with_registered_memory_bring_locked_memory() {
    let without = Lease { pinned: 0, ..lease(1, "vm-8", MIB) };
    let leases = vec![with_priority("1", without), with_priority("2", lease(2, "vm-9", MIB))];
    let asks = with_hint("5", request("vm-7", MIB));
    let shortage = Shortage::LockedMemory;
    let question = ReclaimQuestion { shortage, ..reclaim(asks, MIB, leases) };
    assert_eq!(TenantQuota::reclaim(question), [2]);
}

#[test]
fn settings_are_checked_one_by_one() {
    let settings = [
        setting("shares", "vm-7=50,vm-7=30"),
        setting("shares", "vm-7=101"),
        setting("shares", "=1"),
        setting("default-share", "-1"),
        setting("priorities", "vm-7=256"),
        setting("lease-max", "0s"),
    ];
    assert_eq!(TenantQuota::check_settings(&settings).len(), settings.len());
    let fine = [setting("shares", ""), setting("shares", "a=b=3,"), setting("lease-max", "7d")];
    assert!(TenantQuota::check_settings(&fine).is_empty());
}
