//! Deferred unmaps: bounded in count and time, harmless to memory, and gone when they have to be.

use tce_engine::{
    Error,
    addr::Bytes,
    edit::Edit,
    errno::Errno,
    facts::Slot,
    lease::{Quota, Timestamp},
    lingering::{Deferral, Unmapping},
    region::RegionRefusal,
};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{Bench, K4, NOW, PROFILES, Tenant, request},
    truth::assert_agreement,
};

const TCES_MAX: u64 = 16;
const DELAY: u64 = 100;

/// A tenant whose unmaps are put off, with 64 pages mapped.
fn lazy(name: &str) -> (Bench, Tenant) {
    let mut bench = Bench::named(name);
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let tenant = bench.tenant(window, Bytes::mib(32));
    let deferral = Deferral::new(TCES_MAX, DELAY).expect("good bounds");
    let unmapping = Unmapping::Deferred(deferral);
    let request = tce_engine::LeaseRequest { unmapping, ..request(window, Bytes::mib(32)) };
    let lease = bench.try_lease(request).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let tenant = Tenant { lease, claim, ..tenant };
    bench.apply(&tenant, &[tenant.map(0, 64, 0)]);
    (bench, tenant)
}

fn lingering(bench: &Bench, tenant: &Tenant) -> u64 {
    bench.engine.leases().get(tenant.lease).expect("it is there").lingering.tces()
}

fn is_set(bench: &Bench, tenant: &Tenant, index: u64) -> bool {
    bench.machine.tce(bench.container(), tenant.iova(index)).is_some()
}

#[test]
fn an_unmap_that_is_put_off_makes_no_call_and_leaves_the_device_its_memory() {
    for name in PROFILES {
        let (mut bench, tenant) = lazy(name);
        let calls = bench.calls();
        let edits = [tenant.unmap(3, 2), tenant.unmap(10, 1), tenant.unmap(3, 2)];
        let applied = bench.engine.apply(tenant.lease, &edits, NOW).expect("it may");
        assert_eq!((applied.tces_deferred, applied.tces_cleared), (3, 0));
        assert_eq!((bench.calls(), lingering(&bench, &tenant)), (calls, 3));
        assert!(is_set(&bench, &tenant, 3), "until it is flushed");
        let again = bench.engine.apply(tenant.lease, &[tenant.unmap(4, 1)], NOW).expect("it may");
        assert_eq!(again.tces_deferred, 0, "it lingers already");
        let flushed = bench.engine.flush(tenant.lease, NOW).expect("nothing fails");
        assert_eq!((flushed.unmap_calls, flushed.tces_cleared), (2, 3));
        assert!(!is_set(&bench, &tenant, 3) && lingering(&bench, &tenant) == 0);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn more_than_may_linger_is_unmapped_at_once_with_all_that_does() {
    let (mut bench, tenant) = lazy("powernv9");
    let tces = usize::try_from(TCES_MAX).expect("it is small");
    let each: Vec<Edit> = (0..TCES_MAX).map(|at| tenant.unmap(at, 1)).collect();
    bench.apply(&tenant, &each);
    assert_eq!((lingering(&bench, &tenant), each.len()), (TCES_MAX, tces));
    let calls = bench.machine.calls(Operation::Unmap);
    let applied = bench.engine.apply(tenant.lease, &[tenant.unmap(TCES_MAX, 1)], NOW);
    let applied = applied.expect("nothing fails");
    assert_eq!((applied.unmap_calls, applied.tces_cleared), (1, TCES_MAX + 1));
    assert_eq!(bench.machine.calls(Operation::Unmap), calls + 1, "seventeen in one call");
    assert_eq!(lingering(&bench, &tenant), 0);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn nothing_lingers_longer_than_it_may() {
    let (mut bench, tenant) = lazy("powernv9");
    let at = |after: u64| Timestamp(NOW.0 + after);
    assert_eq!(bench.engine.next_due(), None);
    bench.engine.apply(tenant.lease, &[tenant.unmap(0, 1)], at(0)).expect("it may");
    bench.engine.apply(tenant.lease, &[tenant.unmap(1, 1)], at(50)).expect("it may");
    assert_eq!(bench.engine.next_due(), Some(at(DELAY)), "the oldest counts");
    assert_eq!(bench.engine.flush_due(at(DELAY - 1)).expect("nothing is due").unmap_calls, 0);
    assert_eq!(bench.engine.flush_due(at(DELAY)).expect("nothing fails").tces_cleared, 2);
    assert_eq!(bench.engine.next_due(), None);
    bench.engine.apply(tenant.lease, &[tenant.unmap(2, 1)], at(200)).expect("it may");
    let applied = bench.engine.apply(tenant.lease, &[], at(300)).expect("nothing fails");
    assert_eq!((applied.tces_cleared, lingering(&bench, &tenant)), (1, 0), "any batch flushes too");
    bench.close();
}

#[test]
fn what_lingers_can_be_used_again() {
    let (mut bench, tenant) = lazy("powernv9");
    bench.apply(&tenant, &[tenant.unmap(0, 8)]);
    let maps = bench.machine.calls(Operation::Map);
    let applied = bench.engine.apply(tenant.lease, &[tenant.map(2, 2, 2)], NOW).expect("it may");
    assert_eq!((applied.tces_kept, bench.machine.calls(Operation::Map)), (2, maps), "as it was");
    let applied = bench.engine.apply(tenant.lease, &[tenant.map(4, 2, 40)], NOW).expect("it may");
    assert_eq!((applied.map_calls, applied.unmap_calls, lingering(&bench, &tenant)), (1, 0, 4));
    assert_eq!(bench.engine.flush_all(NOW).expect("nothing fails").tces_cleared, 4);
    for (index, expected) in [(0, false), (2, true), (4, true), (6, false), (8, true)] {
        assert_eq!(is_set(&bench, &tenant, index), expected, "{index}");
    }
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn memory_stays_registered_until_what_points_into_it_is_flushed() {
    let (mut bench, tenant) = lazy("powernv9");
    bench.apply(&tenant, &[tenant.unmap(0, TCES_MAX)]);
    let rest: Vec<Edit> = vec![tenant.unmap(TCES_MAX, 64 - TCES_MAX)];
    bench.apply(&tenant, &rest);
    assert_eq!(lingering(&bench, &tenant), 0, "that was too much to linger");
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    bench.apply(&tenant, &[tenant.unmap(0, 2)]);
    let refused = bench.engine.unregister(tenant.region);
    let mapped = RegionRefusal::Mapped { region: tenant.region, tces: 4 };
    assert_eq!(refused, Err(Error::Region(mapped)), "two are in use, two linger");
    bench.apply(&tenant, &[tenant.unmap(2, 2)]);
    bench.engine.flush(tenant.lease, NOW).expect("nothing fails");
    bench.engine.unregister(tenant.region).expect("nothing points into it");
    bench.close();
}

#[test]
fn a_flush_that_fails_can_be_tried_again() {
    let (mut bench, tenant) = lazy("powernv9");
    bench.apply(&tenant, &[tenant.unmap(0, 2), tenant.unmap(8, 2)]);
    bench.machine.fail_nth(Operation::Unmap, 2, Fault::Errno(Errno::EIO));
    let failed = bench.engine.flush(tenant.lease, NOW).expect_err("the second call fails");
    assert_eq!(failed.fault().and_then(tce_engine::fault::Fault::errno), Some(Errno::EIO));
    assert_eq!(lingering(&bench, &tenant), 4, "all or none");
    assert_agreement(&bench.machine, &bench.engine);
    assert_eq!(bench.engine.flush(tenant.lease, NOW).expect("now it works").tces_cleared, 4);
    bench.close();
}

#[test]
fn a_revocation_waits_for_nothing_that_lingers() {
    for name in PROFILES {
        let (mut bench, tenant) = lazy(name);
        bench.apply(&tenant, &[tenant.unmap(5, 9)]);
        bench.engine.revoke(tenant.lease).expect("nothing fails");
        assert_eq!((bench.machine.live_tces(), lingering(&bench, &tenant)), (0, 0));
        bench.close();
    }
}

#[test]
fn what_lingers_makes_room_under_the_quota() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let tenant = bench.tenant(window, Bytes::mib(32));
    let deferral = Deferral::new(TCES_MAX, DELAY).expect("good bounds");
    let request = tce_engine::LeaseRequest {
        unmapping: Unmapping::Deferred(deferral),
        quota: Quota::of_tces(8),
        ..request(window, Bytes::mib(32))
    };
    let lease = bench.try_lease(request).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let tenant = Tenant { lease, claim, ..tenant };
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    bench.apply(&tenant, &[tenant.unmap(0, 4)]);
    let applied = bench.engine.apply(lease, &[tenant.map(20, 4, 4)], NOW).expect("there is room");
    assert_eq!((applied.tces_cleared, applied.tces_set), (4, 4), "flushed to make room");
    assert!(bench.engine.apply(lease, &[tenant.map(30, 1, 4)], NOW).is_err(), "eight is the most");
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}
