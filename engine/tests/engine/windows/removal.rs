//! Windows go by choice, and their slots are filled again.

use tce_engine::{
    Error,
    addr::{Bytes, Iova},
    errno::Errno,
    facts::Slot,
    growth::{Addresses, GrowthRequest},
    layout::LayoutRefusal,
    lease::LeaseRefusal,
};
use tce_sim::{Fault, Operation, Profile};

use crate::{
    bench::{Bench, HIGH, K4, K64, NOW, choice, request},
    truth::assert_agreement,
};

#[test]
fn both_slots_hold_a_window_each_and_each_takes_mappings() {
    for name in ["powernv8", "powernv9", "powernv9-64k", "powernv10", "powernv10-64k"] {
        let mut bench = Bench::named(name);
        let both = [choice(Slot::Zero, K4, Bytes::gib(1)), choice(Slot::One, K4, Bytes::gib(2))];
        let made = bench.try_windows(&both).expect("both can be made");
        for window in made {
            let tenant = bench.tenant(window, Bytes::mib(8));
            bench.apply(&tenant, &[tenant.map(0, 16, 0)]);
        }
        let there = bench.machine.windows(bench.container());
        let live: Vec<_> = there.iter().map(|it| (it.start.raw(), it.live_tces)).collect();
        assert_eq!(live, [(0, 16), (HIGH, 16)], "{name}");
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_window_that_replaces_another_has_a_new_generation_and_old_handles_are_refused() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    let old = tenant.window;
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    let kept = bench.engine.grant_lease(request(old, Bytes::mib(1)));
    assert!(kept.is_err(), "the tenant has all of it");
    bench.engine.revoke(tenant.lease).expect("nothing fails");
    let kept = bench.engine.grant_lease(request(old, Bytes::mib(1))).expect("there is room");
    bench.engine.remove_window(old).expect("its lease has ended");
    assert_agreement(&bench.machine, &bench.engine);
    let new = bench.window(Slot::One, K4, Bytes::mib(64));
    assert_eq!(new.slot, old.slot);
    assert!(new.generation > old.generation);
    let calls = bench.calls();
    assert_eq!(bench.engine.remove_window(old), Err(Error::Layout(LayoutRefusal::NoWindow(old))));
    let gone = || Error::Lease(LeaseRefusal::NoWindow(old));
    assert_eq!(bench.engine.lease(kept), Err(gone()));
    let again = bench.engine.grant_lease(request(old, Bytes::mib(1)));
    assert_eq!(again.map(|_| ()), Err(gone()));
    let edit = bench.engine.apply(tenant.lease, &[tenant.map(0, 4, 0)], NOW);
    assert!(matches!(edit, Err(Error::Lease(LeaseRefusal::Ended { .. }))), "{edit:?}");
    assert_eq!(bench.engine.unleased(old), Bytes::ZERO);
    assert_eq!((bench.calls(), bench.machine.live_tces()), (calls, 0));
    bench.close();
}

#[test]
fn a_window_with_a_lease_stays() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    let window = tenant.window;
    let calls = bench.calls();
    let refused = Err(Error::Layout(LayoutRefusal::Leased { window, leases: 1 }));
    assert_eq!(bench.engine.remove_window(window), refused);
    assert_eq!(bench.calls(), calls);
    // One that is ending may have TCEs still.
    bench.machine.fail_next(Operation::Unmap, Fault::Errno(Errno::EIO));
    bench.engine.revoke(tenant.lease).expect_err("the unmap fails");
    assert_eq!(bench.engine.remove_window(window), refused);
    bench.engine.revoke(tenant.lease).expect("it goes on");
    bench.engine.remove_window(window).expect("the lease has ended");
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn both_windows_of_a_growing_lease_stay_and_the_one_it_left_goes() {
    let mut bench = Bench::named("powernv9");
    let old = bench.default_window();
    let tenant = bench.tenant(old, Bytes::mib(8));
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    let new = bench.window(Slot::One, K4, Bytes::mib(64));
    let request = GrowthRequest {
        window: new,
        at: None,
        size: Bytes::mib(16),
        device_mask: Iova::new(u64::MAX),
        addresses: Addresses::Movable,
    };
    bench.engine.begin_growth(tenant.lease, &request, NOW).expect("there is room");
    for window in [old, new] {
        let refused = Err(Error::Layout(LayoutRefusal::Leased { window, leases: 1 }));
        assert_eq!(bench.engine.remove_window(window), refused);
    }
    bench.engine.finish_growth(tenant.lease).expect("nothing fails");
    bench.engine.remove_window(old).expect("nobody has a lease of it");
    bench.engine.remove_default_window().expect("nobody uses it");
    assert_eq!(bench.machine.windows(bench.container()).len(), 1);
    assert_eq!(bench.machine.live_tces(), 4);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_removal_that_fails_leaves_the_window_as_it_was() {
    let mut bench = Bench::named("powernv9-64k");
    let window = bench.window(Slot::One, K64, Bytes::gib(1));
    bench.machine.fail_next(Operation::Remove, Fault::Errno(Errno::EIO));
    let failed = bench.engine.remove_window(window).expect_err("the removal fails");
    assert!(failed.fault().is_some());
    assert_agreement(&bench.machine, &bench.engine);
    let tenant = bench.tenant(window, Bytes::mib(4));
    bench.apply(&tenant, &[tenant.map(0, 1, 0)]);
    bench.engine.revoke(tenant.lease).expect("nothing fails");
    bench.engine.remove_window(window).expect("it goes now");
    bench.close();
}

#[test]
fn a_partitions_slot_is_used_again_after_its_dynamic_window_went() {
    for name in ["pseries", "pseries-64k"] {
        let mut bench = Bench::named(name);
        for _ in 0..3 {
            let window = bench.window(Slot::One, K64, Bytes::gib(4));
            bench.engine.remove_window(window).expect("it has no lease");
            assert_agreement(&bench.machine, &bench.engine);
        }
        assert!(!bench.machine.partition_spoiled());
        assert_eq!(bench.engine.leaked(), Bytes::ZERO);
        bench.close();
    }
}

#[test]
fn a_window_that_lies_elsewhere_and_will_not_go_keeps_its_slot() {
    let mut profile = Profile::powernv9();
    profile.slot_starts[1] = Iova::new(1 << 40);
    let mut bench = Bench::new(profile);
    bench.machine.fail_next(Operation::Remove, Fault::Errno(Errno::EIO));
    let failed = bench.try_windows(&[choice(Slot::One, K64, Bytes::gib(4))]);
    assert!(failed.expect_err("the removal fails").fault().is_some());
    assert_agreement(&bench.machine, &bench.engine);
    let stuck = bench.engine.windows().map(|it| *it.window()).next().expect("the engine knows it");
    assert_eq!(stuck.start, Iova::new(1 << 40));
    let refused = bench.try_windows(&[choice(Slot::One, K64, Bytes::gib(4))]);
    assert_eq!(refused, Err(Error::Layout(LayoutRefusal::SlotTaken(1))));
    bench.engine.remove_window(stuck.id).expect("it goes now");
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}
