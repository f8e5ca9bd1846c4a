//! Leases with two windows: batches across both, and growth without an instant in which memory is out of reach.

use std::{cell::RefCell, rc::Rc};

use tce_engine::{
    Engine, Error, LeaseRequest,
    addr::{Bytes, Iova},
    errno::Errno,
    error::{EditRefusal, Undone},
    facts::Slot,
    growth::{Addresses, Growth, GrowthRefusal, GrowthRequest},
    kernel::ContainerFd,
    lease::{LeaseId, LeaseRefusal},
    lingering::{Deferral, Unmapping},
    machine::{Backing, Machine, MemoryRequest},
    window::{Claim, WindowId},
};
use tce_sim::{Fault, Operation, Profile, SimKernel, SimMachine};
use tce_trace::{event::Event, kernel::NotedKernel};

use crate::{
    bench::{Bench, K4, K64, NOW, PROFILES, Tenant, choice, request},
    truth::assert_agreement,
};

const ALL: Iova = Iova::new(u64::MAX);

/// A tenant in the default window, with two runs mapped.
fn small(name: &str) -> (Bench, Tenant) {
    let mut bench = Bench::named(name);
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(1));
    bench.apply(&tenant, &[tenant.map(0, 16, 0), tenant.map(32, 16, 16)]);
    (bench, tenant)
}

const fn into(window: WindowId, size: Bytes) -> GrowthRequest {
    GrowthRequest { window, at: None, size, device_mask: ALL, addresses: Addresses::Movable }
}

fn begin(bench: &mut Bench, tenant: &Tenant, request: &GrowthRequest) -> Result<Growth, Error> {
    bench.engine.begin_growth(tenant.lease, request, NOW)
}

fn refused(bench: &mut Bench, tenant: &Tenant, request: &GrowthRequest) -> GrowthRefusal {
    match begin(bench, tenant, request) {
        Err(Error::Growth(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The pages that a device finds at two bus addresses are the same.
#[track_caller]
fn assert_same(bench: &Bench, one: Iova, other: Iova) {
    let tce = |iova| bench.machine.tce(bench.container(), iova);
    assert!(tce(one).is_some(), "{one}");
    assert_eq!(tce(one).map(|it| it.address), tce(other).map(|it| it.address), "{one} {other}");
}

#[test]
fn a_lease_that_grows_is_reachable_at_both_addresses_and_then_at_the_new_ones() {
    for name in PROFILES {
        let (mut bench, tenant) = small(name);
        let window = bench.window(Slot::One, K4, Bytes::mib(64));
        let growth = begin(&mut bench, &tenant, &into(window, Bytes::mib(32))).expect("it can");
        for index in [0, 15, 32, 47] {
            let old = tenant.iova(index);
            assert_same(&bench, old, growth.moved(old).expect("it is old"));
        }
        assert_eq!(growth.moved(tenant.iova(256)), None, "behind the old range");
        bench.apply(&tenant, &[tenant.map(60, 2, 3), tenant.unmap(0, 1), tenant.map(33, 1, 0)]);
        for index in [60, 61, 33] {
            let old = tenant.iova(index);
            assert_same(&bench, old, growth.moved(old).expect("it is old"));
        }
        assert_agreement(&bench.machine, &bench.engine);
        bench.engine.finish_growth(tenant.lease).expect("nothing fails");
        assert_agreement(&bench.machine, &bench.engine);
        let lease = bench.engine.leases().get(tenant.lease).expect("it is there");
        assert_eq!((lease.parts.len(), lease.home().window), (1, window));
        assert_eq!((lease.home().claim, lease.tces()), (growth.new_range(), 33));
        let edits = [tenant.map(0, 1, 0)];
        let outside = bench.engine.apply(tenant.lease, &edits, NOW).expect_err("it has moved");
        assert!(matches!(outside, Error::Edit(EditRefusal::Claim { .. })), "{outside:?}");
        bench.close();
    }
}

/// Watches the TCEs of old and new addresses after each kernel call.
#[test]
fn at_no_instant_is_a_mapped_buffer_out_of_reach() {
    let mut machine = SimMachine::new(Profile::powernv9());
    let container = Rc::new(RefCell::new(None));
    let watched: Rc<RefCell<Vec<(Iova, bool)>>> = Rc::default();
    let (seen, looked_at, watch) = (machine.clone(), container.clone(), watched.clone());
    let look = move |_: Event| {
        let Some(container) = *looked_at.borrow() else { return };
        for (iova, was_lost) in watch.borrow_mut().iter_mut() {
            *was_lost |= seen.tce(container, *iova).is_none();
        }
    };
    let noted: NotedKernel<SimKernel, _> = NotedKernel::new(machine.kernel(), look);
    let mut engine = Engine::open(noted).expect("a fresh machine");
    *container.borrow_mut() = Some(ContainerFd::new(engine.descriptor()));
    let group = machine.groups()[0];
    engine.attach(group).expect("it is free");
    let device = &machine.devices_of(group)[0].address;
    engine.open_device(group, device).expect("the device is VFIO's");
    let grant = engine.grant_layout(&[choice(Slot::Zero, K4, Bytes::gib(2))]).expect("it can be");
    let small = engine.create_windows(grant).expect("it can be made")[0];
    let grant = engine.grant_lease(request(small, Bytes::mib(1))).expect("there is room");
    let old = grant.claim().start;
    let lease = engine.lease(grant).expect("there is room");
    let (size, backing) = (Bytes::mib(1), Backing::Anonymous);
    let memory = machine.allocate(&MemoryRequest { size, backing, align: K4 }).expect("memory");
    let region = engine.register(memory, K4).expect("it can be pinned");
    let access = tce_engine::access::Access::ReadWrite;
    let offset = Bytes::ZERO;
    let map = tce_engine::edit::Edit::Map { iova: old, region, offset, size, access };
    engine.apply(lease, &[map], NOW).expect("it may");
    let last = old.checked_add(Bytes::new(0xf_f000)).expect("it fits");
    watched.borrow_mut().extend([(old, false), (last, false)]);
    let grant = engine.grant_layout(&[choice(Slot::One, K4, Bytes::mib(64))]).expect("it can be");
    let large = engine.create_windows(grant).expect("it can be made")[0];
    let growth = engine.begin_growth(lease, &into(large, Bytes::mib(2)), NOW).expect("it can");
    assert!(watched.borrow().iter().all(|(_, was_lost)| !was_lost), "{watched:?}");
    *watched.borrow_mut() = vec![(growth.moved(old).expect("old"), false)];
    engine.finish_growth(lease).expect("nothing fails");
    assert!(watched.borrow().iter().all(|(_, was_lost)| !was_lost), "{watched:?}");
    watched.borrow_mut().clear();
    engine.close().expect("nothing fails");
}

#[test]
fn growth_that_cannot_be_is_refused_before_any_call() {
    let (mut bench, tenant) = small("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let lease = tenant.lease;
    let calls = bench.calls();
    let good = into(window, Bytes::mib(32));
    let fixed = GrowthRequest { addresses: Addresses::Fixed, ..good };
    assert_eq!(refused(&mut bench, &tenant, &fixed), GrowthRefusal::HolderIsFixed(lease));
    let mask = Iova::new(u64::from(u32::MAX));
    let near = GrowthRequest { device_mask: mask, ..good };
    let claim = Claim { start: Iova::new(1 << 59), size: good.size };
    assert_eq!(refused(&mut bench, &tenant, &near), GrowthRefusal::OutOfReach { claim, mask });
    let edge = Iova::new((1 << 59) + (32 << 20) - 1);
    let little = GrowthRequest { size: Bytes::kib(4), ..good };
    let (has, size) = (Bytes::mib(1), Bytes::kib(4));
    assert_eq!(refused(&mut bench, &tenant, &little), GrowthRefusal::TooSmall { lease, has, size });
    let same = begin(&mut bench, &tenant, &into(tenant.window, Bytes::mib(32)));
    let part = LeaseRefusal::Part { lease, window: tenant.window, only: false };
    assert_eq!(same, Err(Error::Lease(part)));
    let not = Err(Error::Growth(GrowthRefusal::NotGrowing(lease)));
    assert_eq!(bench.engine.finish_growth(lease), not);
    assert_eq!(bench.engine.abandon_growth(lease), not);
    assert_eq!(bench.calls(), calls);
    let reached = GrowthRequest { device_mask: edge, ..good };
    begin(&mut bench, &tenant, &reached).expect("the last address is in reach");
    let twice = begin(&mut bench, &tenant, &good);
    assert_eq!(twice, Err(Error::Lease(LeaseRefusal::TwoParts(lease))));
    bench.close();
}

#[test]
fn larger_pages_take_what_fits_them() {
    let (mut bench, tenant) = small("powernv9-64k");
    let window = bench.window(Slot::One, K64, Bytes::mib(64));
    let growth = begin(&mut bench, &tenant, &into(window, Bytes::mib(32))).expect("16 pages fit");
    assert_same(&bench, tenant.iova(0), growth.moved(tenant.iova(0)).expect("old"));
    let edit = tenant.map(64, 1, 0);
    let told = bench.engine.apply(tenant.lease, &[edit], NOW).expect_err("4K of 64K");
    assert!(matches!(told, Error::Edit(EditRefusal::Growing { .. })), "{told:?}");
    bench.engine.abandon_growth(tenant.lease).expect("nothing fails");
    bench.apply(&tenant, &[edit]);
    let claim = tenant.range(64, 1);
    let misfit = GrowthRefusal::Pages { lease: tenant.lease, claim, page: K64 };
    assert_eq!(refused(&mut bench, &tenant, &into(window, Bytes::mib(32))), misfit);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn the_image_of_the_old_range_takes_no_edits_of_its_own() {
    let (mut bench, tenant) = small("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let growth = begin(&mut bench, &tenant, &into(window, Bytes::mib(32))).expect("it can");
    let moved = Tenant { claim: growth.new_range(), ..tenant };
    let inside = moved.map(255, 1, 0);
    let told = bench.engine.apply(tenant.lease, &[inside], NOW);
    let claim = moved.range(255, 1);
    let refusal = EditRefusal::InImage { edit: 0, claim, old: growth.old() };
    assert_eq!(told, Err(Error::Edit(refusal)));
    bench.apply(&moved, &[moved.map(256, 1, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

/// At every call of the growth and of an edit in both windows.
#[test]
fn growth_and_edits_in_two_windows_are_all_or_none() {
    for nth in 1..=2 {
        let (mut bench, tenant) = small("powernv9");
        let window = bench.window(Slot::One, K4, Bytes::mib(64));
        bench.machine.fail_nth(Operation::Map, nth, Fault::Errno(Errno::ENOMEM));
        let failed = begin(&mut bench, &tenant, &into(window, Bytes::mib(32)));
        let Err(Error::Batch(failure)) = failed else { panic!("{failed:?}") };
        assert_eq!(failure.outcome, Undone::Restored);
        assert_eq!(parts(&bench, tenant.lease), 1);
        assert_agreement(&bench.machine, &bench.engine);
        begin(&mut bench, &tenant, &into(window, Bytes::mib(32))).expect("now it works");
        bench.machine.fail_nth(Operation::Map, nth, Fault::Errno(Errno::ENOMEM));
        let edits = [tenant.map(4, 8, 40), tenant.unmap(32, 4)];
        let failed = bench.engine.apply(tenant.lease, &edits, NOW);
        let Err(Error::Batch(failure)) = failed else { panic!("{failed:?}") };
        assert_eq!(failure.outcome, Undone::Restored);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

fn parts(bench: &Bench, lease: LeaseId) -> usize {
    bench.engine.leases().get(lease).expect("it is there").parts.len()
}

#[test]
fn where_undoing_fails_in_two_windows_both_are_quarantined() {
    let (mut bench, tenant) = small("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let growth = begin(&mut bench, &tenant, &into(window, Bytes::mib(32))).expect("it can");
    // The map in the second window fails, then putting back what both had.
    bench.machine.fail_nth(Operation::Map, 2, Fault::AfterTces { count: 2, errno: Errno::EIO });
    bench.machine.fail_nth(Operation::Map, 3, Fault::Errno(Errno::EIO));
    bench.machine.fail_nth(Operation::Map, 4, Fault::Errno(Errno::EIO));
    let failed = bench.engine.apply(tenant.lease, &[tenant.map(4, 8, 40)], NOW);
    let Err(Error::Batch(failure)) = failed else { panic!("{failed:?}") };
    let Undone::Quarantined(ranges) = &failure.outcome else { panic!("{failure}") };
    let windows: Vec<WindowId> = ranges.iter().map(|it| it.window).collect();
    assert_eq!(windows, [growth.into, growth.from]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_lease_may_have_both_windows_for_good() {
    let (mut bench, tenant) = small("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let claim = bench.engine.extend_lease(tenant.lease, window, None, Bytes::mib(2));
    let high = Tenant { claim: claim.expect("there is room"), ..tenant };
    let applied = bench.engine.apply(
        tenant.lease,
        &[tenant.map(100, 4, 0), high.map(7, 4, 8), tenant.unmap(0, 16)],
        NOW,
    );
    assert_eq!(applied.map(|it| (it.map_calls, it.unmap_calls)), Ok((2, 1)));
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.give_up_part(tenant.lease, window).expect("nothing fails");
    let only = LeaseRefusal::Part { lease: tenant.lease, window: tenant.window, only: true };
    assert_eq!(bench.engine.give_up_part(tenant.lease, tenant.window), Err(Error::Lease(only)));
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn what_lingers_stays_behind() {
    let mut bench = Bench::named("powernv9");
    let old = bench.default_window();
    let tenant = bench.tenant(old, Bytes::mib(1));
    let deferral = Deferral::new(16, 100).expect("good bounds");
    let unmapping = Unmapping::Deferred(deferral);
    let lease = bench
        .try_lease(LeaseRequest { unmapping, ..request(old, Bytes::mib(1)) })
        .expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let tenant = Tenant { lease, claim, ..tenant };
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    bench.apply(&tenant, &[tenant.unmap(2, 3)]);
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let growth = begin(&mut bench, &tenant, &into(window, Bytes::mib(32))).expect("it can");
    for (index, is_there) in [(1, true), (2, false), (4, false), (5, true)] {
        let new = growth.moved(tenant.iova(index)).expect("it is old");
        assert!(bench.machine.tce(bench.container(), tenant.iova(index)).is_some(), "{index}");
        assert_eq!(bench.machine.tce(bench.container(), new).is_some(), is_there, "{index}");
    }
    bench.apply(&tenant, &[tenant.unmap(6, 1)]);
    assert_eq!(bench.engine.leases().get(lease).map(|it| it.lingering.tces()), Ok(5));
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.finish_growth(lease).expect("nothing fails");
    assert_eq!(bench.engine.leases().get(lease).map(|it| it.lingering.tces()), Ok(1));
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}
