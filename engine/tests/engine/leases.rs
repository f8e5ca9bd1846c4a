//! Leases: where they lie, how they end, and that an end is told.

use tce_engine::{
    Error, LeaseRequest,
    addr::{Bytes, Iova},
    errno::Errno,
    facts::Slot,
    lease::{EndCause, LEASES_MAX, LeaseId, LeaseRefusal, LeaseState, Timestamp},
    window::{Claim, ClaimRefusal, WindowId},
};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{Bench, HIGH, K4, K64, NOW, request},
    truth::assert_agreement,
};

fn windowed(size: Bytes) -> (Bench, WindowId) {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, size);
    (bench, window)
}

fn placed(bench: &mut Bench, window: WindowId, size: Bytes) -> (LeaseId, u64) {
    let lease = bench.try_lease(request(window, size)).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    (lease, claim.start.raw())
}

#[test]
fn a_lease_goes_to_the_lowest_gap_that_holds_it() {
    let (mut bench, window) = windowed(Bytes::mib(4));
    let mib = 1 << 20;
    let leases: Vec<LeaseId> = (0..4)
        .map(|n| {
            let (lease, start) = placed(&mut bench, window, Bytes::mib(1));
            assert_eq!(start, HIGH + n * mib);
            lease
        })
        .collect();
    let no_room = |size, at| Err(Error::Lease(LeaseRefusal::NoRoom { window, size, at }));
    assert_eq!(bench.try_lease(request(window, Bytes::kib(4))), no_room(Bytes::kib(4), None));
    bench.engine.revoke(leases[1]).expect("nothing fails");
    bench.engine.revoke(leases[2]).expect("nothing fails");
    assert_eq!(bench.engine.unleased(window), Bytes::mib(2));
    assert_eq!(bench.try_lease(request(window, Bytes::mib(3))), no_room(Bytes::mib(3), None));
    assert_eq!(placed(&mut bench, window, Bytes::kib(64)).1, HIGH + mib);
    assert_eq!(placed(&mut bench, window, Bytes::mib(1)).1, HIGH + mib + 0x10000);
    let at = Some(Iova::new(HIGH + mib));
    let taken = LeaseRequest { at, ..request(window, Bytes::kib(4)) };
    assert_eq!(bench.try_lease(taken), no_room(Bytes::kib(4), at));
    let last = LeaseRequest {
        at: Some(Iova::new(HIGH + 3 * mib - 0x1000)),
        ..request(window, Bytes::kib(4))
    };
    bench.try_lease(last).expect("the last free page");
    bench.close();
}

#[test]
fn a_lease_goes_around_reserved_ranges() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::Zero, K64, Bytes::gib(8));
    assert_eq!(bench.engine.unleased(window), Bytes::gib(6));
    assert_eq!(placed(&mut bench, window, Bytes::gib(3)).1, 4 << 30);
    assert_eq!(placed(&mut bench, window, Bytes::gib(2)).1, 0);
    assert_eq!(placed(&mut bench, window, Bytes::gib(1)).1, 7 << 30);
    assert_eq!(bench.engine.unleased(window), Bytes::ZERO);
    bench.close();
}

#[test]
fn a_range_no_window_admits_is_refused_for_what_it_is() {
    let (mut bench, window) = windowed(Bytes::mib(4));
    let refused = |bench: &mut Bench, at: Option<u64>, size| {
        let wanted = LeaseRequest { at: at.map(Iova::new), ..request(window, Bytes::new(size)) };
        bench.try_lease(wanted)
    };
    let claim = |start, size| Claim { start: Iova::new(start), size: Bytes::new(size) };
    let because = |refusal| Err(Error::Lease(LeaseRefusal::Claim(refusal)));
    let misaligned = |claim| because(ClaimRefusal::Misaligned { claim, page: K4 });
    let (start, size) = (Iova::new(HIGH), Bytes::mib(4));
    let outside = |claim| because(ClaimRefusal::Outside { claim, start, size });
    assert_eq!(refused(&mut bench, None, 0), because(ClaimRefusal::Empty(start)));
    assert_eq!(refused(&mut bench, None, 0x1001), misaligned(claim(HIGH, 0x1001)));
    assert_eq!(refused(&mut bench, Some(HIGH + 1), 0x1000), misaligned(claim(HIGH + 1, 0x1000)));
    for (at, size) in [(0, 0x1000), (HIGH, 5 << 20), (HIGH, !0xfff), (!0xfff, 0x1000)] {
        assert_eq!(refused(&mut bench, Some(at), size), outside(claim(at, size)));
    }
    let (size, at) = (Bytes::new(!0xfff), None);
    let no_room = LeaseRefusal::NoRoom { window, size, at };
    assert_eq!(refused(&mut bench, None, !0xfff), Err(Error::Lease(no_room)));
    bench.close();
}

#[test]
fn a_grant_whose_place_was_taken_meanwhile_makes_no_lease() {
    let (mut bench, window) = windowed(Bytes::mib(4));
    let grants = [0; 2].map(|_| bench.engine.grant_lease(request(window, Bytes::mib(1))));
    let [first, second] = grants.map(|grant| grant.expect("there is room"));
    bench.engine.lease(first).expect("the first one has it");
    let refused = bench.engine.lease(second);
    assert!(matches!(refused, Err(Error::Lease(LeaseRefusal::NoRoom { .. }))), "{refused:?}");
    bench.close();
}

#[test]
fn a_revoked_lease_takes_no_edits_and_its_holder_is_told_once() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    bench.engine.revoke(tenant.lease).expect("nothing fails");
    assert_eq!(bench.machine.live_tces(), 0);
    let calls = bench.calls();
    bench.engine.revoke(tenant.lease).expect("it changes nothing");
    let ended = LeaseRefusal::Ended { lease: tenant.lease, cause: EndCause::Revoked };
    let applied = bench.engine.apply(tenant.lease, &[tenant.map(0, 1, 0)], NOW);
    assert_eq!(applied, Err(Error::Lease(ended)));
    assert_eq!(bench.calls(), calls);
    let events = bench.engine.take_events();
    let told: Vec<_> = events.iter().map(|it| (it.lease, it.holder.name(), it.end())).collect();
    assert_eq!(told, [(tenant.lease, "tenant", Some(EndCause::Revoked))]);
    assert_eq!(bench.engine.take_events(), []);
    bench.close();
}

#[test]
fn a_lease_whose_time_is_over_takes_no_edits_even_before_it_is_ended() {
    let (mut bench, window) = windowed(Bytes::mib(4));
    let expires = Some(NOW);
    let wanted = LeaseRequest { expires, ..request(window, Bytes::mib(1)) };
    let short = bench.try_lease(wanted).expect("there is room");
    let tenant = bench.tenant(window, Bytes::mib(1));
    let short = crate::bench::Tenant {
        lease: short,
        claim: Claim { start: Iova::new(HIGH), size: Bytes::mib(1) },
        ..tenant
    };
    bench.engine.apply(short.lease, &[short.map(0, 4, 0)], Timestamp(999)).expect("in time");
    let ended = LeaseRefusal::Ended { lease: short.lease, cause: EndCause::Expired };
    let late = bench.engine.apply(short.lease, &[short.unmap(0, 4)], NOW);
    assert_eq!(late, Err(Error::Lease(ended)));
    bench.engine.expire(Timestamp(999)).expect("nothing is over");
    assert_eq!(bench.machine.live_tces(), 4);
    bench.engine.expire(NOW).expect("nothing fails");
    assert_eq!(bench.machine.live_tces(), 0);
    let causes: Vec<_> =
        bench.engine.take_events().iter().filter_map(|it| Some((it.lease, it.end()?))).collect();
    assert_eq!(causes, [(short.lease, EndCause::Expired)]);
    bench.close();
}

/// Invariant 8: revocation goes on where it stopped.
#[test]
fn a_revocation_that_failed_half_way_can_be_called_again() {
    for (operation, calls) in
        [(Operation::ReadDevice, 2), (Operation::WriteDevice, 1), (Operation::Unmap, 2)]
    {
        for nth in 1..=calls {
            let (mut bench, tenant) = Bench::with_tenant("powernv9");
            let ended = LeaseRefusal::Ended { lease: tenant.lease, cause: EndCause::Revoked };
            bench.apply(&tenant, &[tenant.map(0, 4, 0), tenant.map(16, 4, 8)]);
            bench.machine.fail_nth(operation, nth, Fault::Errno(Errno::EIO));
            let first = bench.engine.revoke(tenant.lease);
            // One call unmaps both ranges and the hole between them.
            assert_eq!(first.is_err(), (operation, nth) != (Operation::Unmap, 2));
            if let Err(error) = first {
                assert_eq!(error.fault().and_then(|fault| fault.errno()), Some(Errno::EIO));
                let applied = bench.engine.apply(tenant.lease, &[tenant.unmap(0, 1)], NOW);
                assert_eq!(applied, Err(Error::Lease(ended)), "no edits in between");
                assert_eq!(bench.engine.take_events(), []);
                bench.engine.revoke(tenant.lease).expect("this time");
            }
            assert_eq!(bench.machine.live_tces(), 0);
            assert_eq!(bench.engine.take_events().len(), 1);
            assert_agreement(&bench.machine, &bench.engine);
        }
    }
}

#[test]
fn a_device_that_answers_no_more_does_not_stand_in_the_way() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    bench.machine.freeze(bench.group);
    bench.engine.revoke(tenant.lease).expect("a frozen PE starts no DMA");
    assert_eq!(bench.machine.live_tces(), 0);
    bench.engine.resume_devices().expect_err("but it cannot be let go either");
    bench.close();
}

/// Invariant 11: what ended is remembered as long as there is room, and events are bounded with the leases.
#[test]
fn leases_and_their_events_are_bounded() {
    let (mut bench, window) = windowed(Bytes::mib(64));
    let page = || request(window, Bytes::kib(4));
    let first = bench.try_lease(page()).expect("there is room");
    for _ in 1..LEASES_MAX {
        bench.try_lease(page()).expect("there is room");
    }
    let too_many = Err(Error::Lease(LeaseRefusal::TooMany));
    assert_eq!(bench.try_lease(page()), too_many);
    bench.engine.revoke(first).expect("nothing fails");
    assert_eq!(bench.try_lease(page()), too_many, "nobody took the event");
    assert_eq!(bench.engine.take_events().len(), 1);
    assert_eq!(
        bench.engine.leases().get(first).map(|it| it.state),
        Ok(LeaseState::Ended(EndCause::Revoked))
    );
    let next = bench.try_lease(page()).expect("the oldest is forgotten");
    assert_eq!(bench.engine.leases().get(first).map(|_| ()), Err(LeaseRefusal::Stale(first)));
    assert_ne!(next.number(), first.number());
    assert_eq!(bench.engine.revoke(first), Err(Error::Lease(LeaseRefusal::Stale(first))));
    bench.close();
}
