//! What a lease may use, for how long, and what of it its holder gives away.

use std::num::NonZeroU32;

use tce_engine::{
    Error, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova},
    errno::Errno,
    error::EditRefusal,
    facts::Slot,
    lease::{EndCause, Holder, LeaseId, LeaseRefusal, LeaseState, News, Quota, Term, Timestamp},
    machine::{Backing, Machine},
    region::{RegionId, RegionRequest},
    window::Claim,
};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{Bench, HIGH, K4, NOW, Tenant, request},
    truth::assert_agreement,
};

const PAGE: u64 = 1 << 12;

fn later(millis: u64) -> Timestamp {
    Timestamp(NOW.0 + millis)
}

fn rate(edits: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(edits)
}

/// A tenant under these terms, and the tenant that the bench made.
fn tenant_with(change: impl FnOnce(LeaseRequest) -> LeaseRequest) -> (Bench, Tenant) {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let lease = bench.try_lease(change(request(window, Bytes::mib(1)))).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let (region, memory) = bench.region(Bytes::kib(256));
    (bench, Tenant { window, lease, claim, region, memory, page: K4 })
}

fn news(bench: &mut Bench) -> Vec<(LeaseId, News)> {
    bench.engine.take_events().into_iter().map(|event| (event.lease, event.news)).collect()
}

#[test]
fn a_renewed_lease_lives_until_its_new_end() {
    let (mut bench, tenant) = tenant_with(|it| LeaseRequest { expires: Some(later(100)), ..it });
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    bench.engine.renew(tenant.lease, Some(later(200)), later(99)).expect("it has not ended");
    bench.engine.expire(later(150)).expect("nothing is over");
    let applied = bench.engine.apply(tenant.lease, &[tenant.unmap(0, 1)], later(150));
    assert!(applied.is_ok(), "{applied:?}");
    let cause = EndCause::Expired;
    let ended = Err(Error::Lease(LeaseRefusal::Ended { lease: tenant.lease, cause }));
    assert_eq!(bench.engine.renew(tenant.lease, None, later(200)), ended, "too late");
    bench.engine.expire(later(200)).expect("nothing fails");
    assert_eq!(bench.machine.live_tces(), 0);
    let told = news(&mut bench);
    let renewed = News::Renewed(Some(later(200)));
    assert_eq!(told, [(tenant.lease, renewed), (tenant.lease, News::Ended(cause))]);
    bench.close();
}

#[test]
fn a_lease_can_be_freed_of_its_end() {
    let (mut bench, tenant) = tenant_with(|it| LeaseRequest { expires: Some(later(1)), ..it });
    bench.engine.renew(tenant.lease, None, NOW).expect("it has not ended");
    bench.engine.expire(later(1 << 40)).expect("nothing is over");
    bench.apply(&tenant, &[tenant.map(0, 1, 0)]);
    bench.close();
}

#[test]
fn edits_come_no_faster_than_the_quota_says_and_a_refusal_says_when() {
    let quota = Quota { edits_per_second: rate(100), ..Quota::NONE };
    let (mut bench, tenant) = tenant_with(|it| LeaseRequest { quota, ..it });
    let batch: Vec<_> = (0..60).map(|at| tenant.map(at, 1, at)).collect();
    bench.apply(&tenant, &batch);
    bench.apply(&tenant, &batch);
    let calls = bench.calls();
    let refused = bench.engine.apply(tenant.lease, &[tenant.unmap(0, 1)], NOW);
    let Err(Error::Lease(LeaseRefusal::TooFast { lease, until, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((lease, until, bench.calls()), (tenant.lease, later(201), calls));
    let planned = bench.engine.plan(tenant.lease, &[tenant.unmap(0, 1)], later(200));
    assert!(planned.is_err(), "a plan is what would be done");
    bench.engine.apply(tenant.lease, &[tenant.unmap(0, 1)], until).expect("it waited");
    bench.close();
}

#[test]
fn edits_that_are_refused_are_not_counted() {
    let quota = Quota { edits_per_second: rate(1), ..Quota::NONE };
    let (mut bench, tenant) = tenant_with(|it| LeaseRequest { quota, ..it });
    let outside = tenant.map(256, 1, 0);
    for _ in 0..3 {
        let refused = bench.engine.apply(tenant.lease, &[outside], NOW);
        assert!(matches!(refused, Err(Error::Edit(_))), "{refused:?}");
    }
    bench.apply(&tenant, &[tenant.map(0, 1, 0)]);
    bench.close();
}

#[test]
fn a_lease_that_shrinks_keeps_what_it_has_in_the_rest() {
    let (mut bench, tenant) = tenant_with(|it| it);
    bench.apply(&tenant, &[tenant.map(0, 8, 0), tenant.map(100, 8, 8), tenant.map(200, 8, 16)]);
    let left = tenant.range(104, 64);
    bench.engine.shrink(tenant.lease, left).expect("nothing speaks against it");
    let lease = bench.engine.leases().get(tenant.lease).expect("it is there");
    assert_eq!((lease.home().claim, lease.tces()), (left, 4));
    assert_eq!(bench.machine.live_tces(), 4);
    assert_agreement(&bench.machine, &bench.engine);
    assert_eq!(news(&mut bench), [(tenant.lease, News::Shrunk(left))]);
    let outside = bench.engine.apply(tenant.lease, &[tenant.map(103, 1, 0)], NOW);
    assert!(matches!(
        outside,
        Err(Error::Edit(EditRefusal::Lease { refusal: LeaseRefusal::Outside { .. }, .. }))
    ));
    bench.apply(&tenant, &[tenant.map(167, 1, 0)]);
    // Others can have what it gave back.
    bench
        .try_lease(LeaseRequest {
            at: Some(tenant.iova(0)),
            ..request(tenant.window, Bytes::new(104 * PAGE))
        })
        .expect("there is room");
    bench.close();
}

#[test]
fn what_is_no_part_of_a_lease_is_no_smaller_one() {
    let (mut bench, tenant) = tenant_with(|it| it);
    let calls = bench.calls();
    for (start, size) in [(HIGH - PAGE, 4 * PAGE), (HIGH, 257 * PAGE), (HIGH, 0), (HIGH + 1, PAGE)]
    {
        let left = Claim { start: Iova::new(start), size: Bytes::new(size) };
        let refused = bench.engine.shrink(tenant.lease, left);
        assert!(matches!(refused, Err(Error::Lease(_))), "{left}: {refused:?}");
    }
    assert_eq!(bench.calls(), calls);
    bench.close();
}

#[test]
fn a_shrinking_that_failed_can_be_called_again() {
    let (mut bench, tenant) = tenant_with(|it| it);
    bench.apply(&tenant, &[tenant.map(0, 8, 0), tenant.map(200, 8, 16)]);
    bench.machine.fail_nth(Operation::Unmap, 1, Fault::Value(1));
    let left = tenant.range(100, 100);
    bench.engine.shrink(tenant.lease, left).expect_err("a call failed");
    assert_eq!(
        bench.engine.leases().get(tenant.lease).expect("it is there").home().claim,
        tenant.claim
    );
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.shrink(tenant.lease, left).expect("nothing fails any more");
    assert_eq!(bench.machine.live_tces(), 0);
    bench.close();
}

#[test]
fn a_quota_never_falls_below_what_is_used() {
    let (mut bench, tenant) = tenant_with(|it| it);
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    let refused = bench.engine.set_quota(tenant.lease, Quota::of_tces(7));
    let (tces_max, wanted) = (7, 8);
    assert_eq!(
        refused,
        Err(Error::Lease(LeaseRefusal::Quota { lease: tenant.lease, tces_max, wanted }))
    );
    bench.engine.set_quota(tenant.lease, Quota::of_tces(8)).expect("it uses no more");
    bench.engine.apply(tenant.lease, &[tenant.map(8, 1, 0)], NOW).expect_err("that is all");
    bench.close();
}

/// A lease of 256 TCEs with a sub-lease of 16 of them from TCE 64.
fn divided(quota: Quota) -> (Bench, Tenant, Tenant) {
    let (mut bench, parent) = tenant_with(|it| LeaseRequest { quota, ..it });
    let wanted = LeaseRequest {
        at: Some(parent.iova(64)),
        parent: Some(parent.lease),
        quota: Quota { tces: 16, ..quota },
        ..request(parent.window, Bytes::new(16 * PAGE))
    };
    let lease = bench.try_lease(wanted).expect("it is a part");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let Tenant { window, region, memory, page, .. } = parent;
    (bench, parent, Tenant { window, lease, claim, region, memory, page })
}

#[test]
fn a_sub_lease_takes_its_range_and_its_quota_from_its_parent() {
    let (mut bench, parent, part) = divided(Quota::of_tces(40));
    bench.apply(&part, &[part.map(0, 16, 0)]);
    let refused = bench.engine.apply(parent.lease, &[parent.map(60, 5, 0)], NOW);
    let (lease, claim, to) = (parent.lease, part.claim, part.lease);
    let refusal = LeaseRefusal::Sublet { lease, claim, to };
    assert_eq!(refused, Err(Error::Edit(EditRefusal::Lease { edit: 0, refusal })));
    bench.apply(&parent, &[parent.map(0, 24, 16)]);
    let refused = bench.engine.apply(parent.lease, &[parent.map(24, 1, 0)], NOW);
    let (tces_max, wanted) = (24, 25);
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::Quota { lease, tces_max, wanted })));
    assert_agreement(&bench.machine, &bench.engine);
    // What its holder gives back is the parent's again.
    bench.engine.revoke(part.lease).expect("nothing fails");
    bench.apply(&parent, &[parent.map(64, 16, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_sub_lease_has_no_more_than_its_parent() {
    let quota = Quota { tces: 40, pinned: Some(Bytes::mib(1)), edits_per_second: rate(10) };
    let (mut bench, parent) = tenant_with(|it| LeaseRequest {
        quota,
        access: Access::Read,
        expires: Some(later(100)),
        ..it
    });
    let good = LeaseRequest {
        parent: Some(parent.lease),
        access: Access::Read,
        expires: Some(later(100)),
        quota: Quota { tces: 16, ..quota },
        ..request(parent.window, Bytes::new(64 * PAGE))
    };
    let more = [
        (Term::Access, LeaseRequest { access: Access::ReadWrite, ..good.clone() }),
        (Term::Time, LeaseRequest { expires: None, ..good.clone() }),
        (Term::Time, LeaseRequest { expires: Some(later(101)), ..good.clone() }),
        (Term::Tces, LeaseRequest { quota: Quota { tces: 41, ..quota }, ..good.clone() }),
        (
            Term::Pinned,
            LeaseRequest { quota: Quota { pinned: None, ..good.quota }, ..good.clone() },
        ),
        (
            Term::Edits,
            LeaseRequest {
                quota: Quota { edits_per_second: rate(11), ..good.quota },
                ..good.clone()
            },
        ),
    ];
    for (term, request) in more {
        let refused = bench.try_lease(request);
        let refusal = LeaseRefusal::MoreThanParent { parent: parent.lease, term };
        assert_eq!(refused, Err(Error::Lease(refusal)));
    }
    let part = bench.try_lease(good.clone()).expect("it is no more");
    // What is left of the quota counts, not what there was.
    let second = LeaseRequest { quota: Quota { tces: 25, ..good.quota }, ..good.clone() };
    let refusal = LeaseRefusal::MoreThanParent { parent: parent.lease, term: Term::Tces };
    assert_eq!(bench.try_lease(second), Err(Error::Lease(refusal)));
    let third = LeaseRequest { parent: Some(part), ..good };
    assert_eq!(bench.try_lease(third), Err(Error::Lease(LeaseRefusal::IsSublease(part))));
    bench.close();
}

#[test]
fn a_sub_lease_is_placed_where_its_parent_has_nothing() {
    let (mut bench, parent, part) = divided(Quota::NONE);
    bench.apply(&parent, &[parent.map(2, 2, 0)]);
    let wanted = |size: u64| LeaseRequest {
        parent: Some(parent.lease),
        ..request(parent.window, Bytes::new(size * PAGE))
    };
    let lease = bench.try_lease(wanted(60)).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    assert_eq!(claim, parent.range(4, 60));
    let lease = bench.try_lease(wanted(8)).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    assert_eq!(claim, parent.range(80, 8));
    for at in [0, 63, 79, 250] {
        let at = Some(parent.iova(at));
        let refused = bench.try_lease(LeaseRequest { at, ..wanted(8) });
        assert!(matches!(refused, Err(Error::Lease(LeaseRefusal::NoRoom { .. }))), "{refused:?}");
    }
    let mut addresses =
        bench.engine.lease_addresses(parent.lease, parent.window).expect("it is there");
    let at = Some(parent.iova(2));
    let refused = bench.try_lease(LeaseRequest { at, ..wanted(2) });
    assert!(matches!(refused, Err(Error::Lease(LeaseRefusal::NoRoom { .. }))), "it is mapped");
    // 2 are mapped, 84 sublet.
    assert_eq!(addresses.free(), Bytes::new((256 - 2 - 60 - 16 - 8) * PAGE));
    addresses.take_at(part.claim).expect_err("it is sublet");
    bench.close();
}

#[test]
fn sub_leases_end_with_their_parent_and_before_it() {
    let (mut bench, parent, part) = divided(Quota::NONE);
    bench.apply(&part, &[part.map(0, 16, 0)]);
    bench.apply(&parent, &[parent.map(0, 4, 0)]);
    bench.machine.fail_nth(Operation::Unmap, 2, Fault::Value(1));
    bench.engine.revoke(parent.lease).expect_err("a call failed");
    let state = |bench: &Bench, id| bench.engine.leases().get(id).expect("it is known").state;
    let cause = EndCause::ParentEnded(parent.lease);
    assert_eq!(state(&bench, part.lease), LeaseState::Ended(cause));
    assert_eq!(state(&bench, parent.lease), LeaseState::Ending(EndCause::Revoked));
    bench.engine.revoke(parent.lease).expect("nothing fails any more");
    let ends = [News::Ended(cause), News::Ended(EndCause::Revoked)];
    assert_eq!(news(&mut bench).into_iter().map(|(_, it)| it).collect::<Vec<_>>(), ends);
    assert_eq!(bench.machine.live_tces(), 0);
    bench.close();
}

#[test]
fn a_lease_does_not_shrink_away_from_under_its_sub_leases() {
    let (mut bench, parent, part) = divided(Quota::of_tces(40));
    let refused = bench.engine.shrink(parent.lease, parent.range(0, 70));
    let (lease, claim, to) = (parent.lease, part.claim, part.lease);
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::Sublet { lease, claim, to })));
    bench.engine.shrink(parent.lease, parent.range(0, 80)).expect("it has all of it still");
    let refused = bench.engine.set_quota(parent.lease, Quota::of_tces(15));
    assert!(matches!(refused, Err(Error::Lease(LeaseRefusal::Quota { .. }))), "{refused:?}");
    // A part that shrinks leaves its parent more.
    bench.engine.shrink(part.lease, part.range(0, 4)).expect("it is a part of it");
    bench.apply(&parent, &[parent.map(0, 36, 0)]);
    bench.engine.set_quota(part.lease, Quota::of_tces(5)).expect("its range has no more than 4");
    bench
        .engine
        .extend_lease(parent.lease, parent.window, None, Bytes::new(PAGE))
        .expect_err("divided");
    bench.close();
}

#[test]
fn quotas_change_within_what_there_is_to_share() {
    let quota = Quota { tces: 40, edits_per_second: rate(10), ..Quota::NONE };
    let (mut bench, parent, part) = divided(quota);
    let more =
        |term| Err(Error::Lease(LeaseRefusal::MoreThanParent { parent: parent.lease, term }));
    // The parent uses 25, so 15 are left for a part whose range would hold 16.
    bench.engine.set_quota(part.lease, Quota { tces: 8, ..quota }).expect("it is less");
    bench.apply(&parent, &[parent.map(0, 25, 0)]);
    assert_eq!(bench.engine.set_quota(part.lease, quota), more(Term::Tces));
    let faster = Quota { tces: 15, edits_per_second: rate(11), ..quota };
    assert_eq!(bench.engine.set_quota(part.lease, faster), more(Term::Edits));
    bench.engine.set_quota(part.lease, Quota { tces: 15, ..quota }).expect("they are there");
    let slower = Quota { edits_per_second: rate(9), ..quota };
    assert_eq!(bench.engine.set_quota(parent.lease, slower), more(Term::Edits));
    bench.close();
}

#[test]
fn a_parent_s_time_covers_its_sub_leases() {
    let (mut bench, parent, part) = divided(Quota::NONE);
    let refused = bench.engine.renew(parent.lease, Some(later(50)), NOW);
    let refusal = LeaseRefusal::MoreThanParent { parent: parent.lease, term: Term::Time };
    assert_eq!(refused, Err(Error::Lease(refusal.clone())));
    bench.engine.renew(part.lease, Some(later(40)), NOW).expect("it is less");
    bench.engine.renew(parent.lease, Some(later(50)), NOW).expect("it covers it");
    let refused = bench.engine.renew(part.lease, Some(later(51)), NOW);
    assert_eq!(refused, Err(Error::Lease(refusal)));
    bench.close();
}

#[test]
fn edits_of_a_sub_lease_are_edits_of_its_parent() {
    let (mut bench, parent, part) = divided(Quota { edits_per_second: rate(4), ..Quota::NONE });
    let edits: Vec<_> = (0..8).map(|at| part.map(at, 1, at)).collect();
    bench.apply(&part, &edits);
    let refused = bench.engine.apply(parent.lease, &[parent.map(0, 1, 0)], NOW);
    assert!(
        matches!(refused, Err(Error::Lease(LeaseRefusal::TooFast { lease, .. })) if lease == parent.lease)
    );
    bench.close();
}

#[test]
fn all_leases_of_a_holder_end_when_it_is_gone() {
    let (mut bench, tenant) = tenant_with(|it| it);
    let other = Holder::new("other").expect("a name");
    let stays = LeaseRequest { holder: other, ..request(tenant.window, Bytes::mib(1)) };
    let stays = bench.try_lease(stays).expect("there is room");
    let second = bench.try_lease(request(tenant.window, Bytes::mib(1))).expect("there is room");
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    bench.engine.end_holder(&Holder::new("tenant").expect("a name")).expect("nothing fails");
    let gone = News::Ended(EndCause::HolderGone);
    assert_eq!(news(&mut bench), [(tenant.lease, gone.clone()), (second, gone)]);
    assert!(bench.engine.leases().active(stays).is_ok());
    assert_eq!(bench.machine.live_tces(), 0);
    bench.close();
}

/// 64 KiB for a lease.
fn register_for(bench: &mut Bench, lease: LeaseId) -> (RegionId, RegionRequest) {
    let range = bench.memory(Bytes::kib(64), Backing::Anonymous);
    let request = RegionRequest::uniform(range, bench.engine.system().page_shift);
    (bench.engine.register_for(lease, &request).expect("it can be pinned"), request)
}

#[test]
fn memory_of_a_lease_counts_against_its_quota_and_goes_with_it() {
    let quota = Quota { pinned: Some(Bytes::kib(128)), ..Quota::NONE };
    let (mut bench, tenant) = tenant_with(|it| LeaseRequest { quota, ..it });
    let lease = tenant.lease;
    let (first, request) = register_for(&mut bench, lease);
    let refused = bench.engine.register_for(lease, &request);
    let again = LeaseRefusal::HasRegion { lease, region: first };
    assert_eq!(refused, Err(Error::Lease(again)));
    let (second, _) = register_for(&mut bench, lease);
    let calls = bench.calls();
    let refused = bench.engine.register_for(lease, &request);
    let (limit, wanted) = (Bytes::kib(128), Bytes::kib(192));
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::Pinned { lease, limit, wanted })));
    assert_eq!(bench.calls(), calls);
    bench.engine.unregister_for(lease, second).expect("nothing points into it");
    register_for(&mut bench, lease);
    let not_its = LeaseRefusal::NoRegion { lease, region: tenant.region };
    assert_eq!(bench.engine.unregister_for(lease, tenant.region), Err(Error::Lease(not_its)));
    bench.apply(&tenant, &[Tenant { region: first, ..tenant }.map(0, 16, 0)]);
    bench.machine.fail_next(Operation::Unregister, Fault::Errno(Errno::ENOMEM));
    bench.engine.revoke(lease).expect_err("a call failed");
    bench.engine.revoke(lease).expect("nothing fails any more");
    assert_eq!(bench.engine.regions().expect("a backend").iter().count(), 1, "the owner's");
    bench.close();
}

#[test]
fn memory_that_others_use_stays_when_a_lease_ends() {
    let (mut bench, tenant) = tenant_with(|it| it);
    let other = bench.try_lease(request(tenant.window, Bytes::mib(1))).expect("there is room");
    let claim = bench.engine.leases().get(other).expect("it was just made").home().claim;
    let (mapped, _) = register_for(&mut bench, tenant.lease);
    let (shared, same) = register_for(&mut bench, tenant.lease);
    assert_eq!(bench.engine.register_for(other, &same), Ok(shared));
    let other = Tenant { lease: other, claim, region: mapped, ..tenant };
    bench.apply(&other, &[other.map(0, 4, 0)]);
    bench.engine.revoke(tenant.lease).expect("nothing fails");
    assert_agreement(&bench.machine, &bench.engine);
    bench.apply(&other, &[other.map(4, 4, 4), Tenant { region: shared, ..other }.map(8, 1, 0)]);
    bench.engine.revoke(other.lease).expect("nothing fails");
    let gone = bench.engine.unregister(shared);
    assert!(matches!(gone, Err(Error::Region(_))), "it went with its last user: {gone:?}");
    bench.engine.unregister(mapped).expect("it is the owner's");
    bench.close();
}

#[test]
fn nobody_gets_a_lease_while_a_group_could_leave_without_a_word() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let second = bench.machine.groups()[1];
    let wanted = |groups| LeaseRequest { groups, ..request(window, Bytes::mib(1)) };
    let refused = bench.try_lease(wanted(vec![second]));
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::NoGroup(second))));
    bench.engine.attach(second).expect("it is free");
    let group = bench.group;
    for groups in [vec![second], vec![group], Vec::new()] {
        let refused = bench.try_lease(wanted(groups));
        assert_eq!(refused, Err(Error::Lease(LeaseRefusal::Unwatched(second))));
    }
    let address = &bench.machine.devices_of(second)[0].address;
    bench.engine.open_device(second, address).expect("it is VFIO's");
    let lease = bench.try_lease(wanted(vec![second, group, second])).expect("both are watched");
    let groups = bench.engine.leases().get(lease).expect("it was just made").groups.clone();
    assert_eq!(groups, [group, second]);
    drop(bench);
}
