//! Invariant 1: a request is checked in full before any kernel call. The simulation counts calls; none may be added.

use tce_engine::{
    Error,
    access::Access,
    addr::{Bytes, HostAddr, Iova, PageShift},
    edit::{BATCH_EDITS_MAX, Edit},
    error::{EditRefusal, GroupRefusal},
    facts::Slot,
    kernel::MemoryRange,
    layout::LayoutRefusal,
    lease::{LeaseRefusal, Quota},
    machine::Backing,
    region::RegionRefusal,
    window::{Claim, ClaimRefusal},
};

use crate::bench::{Bench, HIGH, K4, K64, NOW, Tenant, choice, request};

#[track_caller]
fn refused(bench: &mut Bench, tenant: &Tenant, edit: Edit) -> EditRefusal {
    // A good edit in front of it shows that nothing of the batch is made.
    let edits = [tenant.map(0, 1, 0), edit];
    let calls = bench.calls();
    let refusal = bench.engine.apply(tenant.lease, &edits, NOW).expect_err("it is refused");
    assert_eq!(bench.calls(), calls, "{refusal}");
    assert_eq!(bench.engine.plan(tenant.lease, &edits, NOW), Err(refusal.clone()));
    let Error::Edit(refusal) = refusal else { panic!("{refusal}") };
    refusal
}

#[test]
fn a_range_outside_the_window_the_alignment_or_the_lease_is_refused() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    let end = HIGH + (64 << 20);
    let claims = [
        (HIGH, 0, "is empty"),
        (HIGH + 1, 0x1000, "is not aligned"),
        (HIGH, 0x1001, "is not aligned"),
        (HIGH, (64 << 20) + 0x1000, "leaves the window"),
        (end - 0x1000, 0x2000, "leaves the window"),
        (end, 0x1000, "leaves the window"),
        (HIGH - 0x1000, 0x2000, "leaves the window"),
        (HIGH, !0xfff, "leaves the window"),
        (!0xfff, 0x1000, "leaves the window"),
    ];
    for (start, size, expected) in claims {
        let (start, size) = (Iova::new(start), Bytes::new(size));
        for edit in [
            Edit::Unmap(Claim { start, size }),
            Edit::Map {
                iova: start,
                region: tenant.region,
                offset: Bytes::ZERO,
                size,
                access: Access::Read,
            },
        ] {
            let refusal = refused(&mut bench, &tenant, edit);
            let EditRefusal::Claim { edit: 1, refusal } = refusal else { panic!("{refusal}") };
            assert!(refusal.to_string().contains(expected), "{start} {size}: {refusal}");
        }
    }
    bench.close();
}

#[test]
fn an_edit_outside_its_lease_is_refused() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let tenant = bench.tenant(window, Bytes::mib(16));
    for (index, pages) in [(4096, 1), (4095, 2)] {
        for edit in [tenant.map(index, pages, 0), tenant.unmap(index, pages)] {
            let refusal = refused(&mut bench, &tenant, edit);
            let outside = LeaseRefusal::Outside {
                lease: tenant.lease,
                claim: edit.claim(),
                leased: tenant.claim,
            };
            assert_eq!(refusal, EditRefusal::Lease { edit: 1, refusal: outside });
        }
    }
    bench.close();
}

#[test]
fn among_edits_that_continue_one_another_the_wrong_one_is_named() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let tenant = bench.tenant(window, Bytes::mib(16));
    let calls = bench.calls();
    let lease = tenant.lease;
    let mut refusal = |edits: &[Edit]| match bench.engine.apply(lease, edits, NOW) {
        Err(Error::Edit(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let row: Vec<Edit> = (0..4).map(|at| tenant.map(4094 + at, 1, at)).collect();
    let outside = LeaseRefusal::Outside { lease, claim: row[2].claim(), leased: tenant.claim };
    assert_eq!(refusal(&row), EditRefusal::Lease { edit: 2, refusal: outside });
    // Halves of a page make a whole one, and are wrong all the same.
    let unmap =
        |start, size| Edit::Unmap(Claim { start: Iova::new(HIGH + start), size: Bytes::new(size) });
    let halves = [unmap(0, 0x1000), unmap(0x1000, 0x800), unmap(0x1800, 0x800)];
    let misaligned = ClaimRefusal::Misaligned { claim: halves[1].claim(), page: K4 };
    assert_eq!(refusal(&halves), EditRefusal::Claim { edit: 1, refusal: misaligned });
    let empty = [unmap(0, 0x1000), unmap(0x1000, 0), unmap(0x1000, 0x1000)];
    let nothing = ClaimRefusal::Empty(Iova::new(HIGH + 0x1000));
    assert_eq!(refusal(&empty), EditRefusal::Claim { edit: 1, refusal: nothing });
    assert_eq!(bench.calls(), calls);
    bench.close();
}

#[test]
fn more_access_or_more_tces_than_the_lease_allows_are_refused() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.engine.revoke(tenant.lease).expect("nothing fails");
    let size = Bytes::mib(64);
    let wanted = request(tenant.window, size);
    let wanted =
        tce_engine::LeaseRequest { access: Access::Read, quota: Quota::of_tces(4), ..wanted };
    let lease = bench.try_lease(wanted).expect("there is room");
    let tenant = Tenant { lease, ..tenant };
    let read = |index, pages, page| match tenant.map(index, pages, page) {
        Edit::Map { iova, region, offset, size, .. } => {
            Edit::Map { iova, region, offset, size, access: Access::Read }
        }
        unmap @ Edit::Unmap(_) => unmap,
    };
    let calls = bench.calls();
    let (allowed, wanted) = (Access::Read, Access::ReadWrite);
    let refusal = LeaseRefusal::Access { lease, allowed, wanted };
    let refusal = EditRefusal::Lease { edit: 0, refusal };
    let applied = bench.engine.apply(lease, &[tenant.map(0, 1, 0)], NOW);
    assert_eq!(applied, Err(Error::Edit(refusal)));
    let quota = |wanted| Err(Error::Lease(LeaseRefusal::Quota { lease, tces_max: 4, wanted }));
    assert_eq!(bench.engine.apply(lease, &[read(0, 5, 0)], NOW), quota(5));
    assert_eq!(bench.engine.apply(lease, &[read(0, 3, 0), read(2, 3, 9)], NOW), quota(5));
    assert_eq!(bench.calls(), calls);
    bench.engine.apply(lease, &[read(0, 4, 0)], NOW).expect("as many as there may be");
    assert_eq!(bench.engine.apply(lease, &[read(4, 1, 0)], NOW), quota(5));
    bench.engine.apply(lease, &[read(4, 1, 0), tenant.unmap(0, 1)], NOW).expect("one for one");
    bench.engine.apply(lease, &[read(1, 4, 30)], NOW).expect("replaced in place");
    bench.close();
}

#[test]
fn memory_that_is_not_registered_or_does_not_reach_is_refused() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    let (gone, _) = bench.region(Bytes::mib(1));
    bench.engine.unregister(gone).expect("nothing is mapped");
    let map = |region, offset, size| Edit::Map {
        iova: tenant.iova(8),
        region,
        offset: Bytes::new(offset),
        size: Bytes::new(size),
        access: Access::ReadWrite,
    };
    let outside = |offset, size| RegionRefusal::Outside {
        region: tenant.region,
        offset: Bytes::new(offset),
        size: Bytes::new(size),
    };
    let last = 63 << 12;
    for (edit, expected) in [
        (map(gone, 0, 0x1000), RegionRefusal::Gone(gone)),
        (map(tenant.region, last, 0x2000), outside(last, 0x2000)),
        (map(tenant.region, u64::MAX, 0x1000), outside(u64::MAX, 0x1000)),
        (
            map(tenant.region, 0x800, 0x1000),
            RegionRefusal::NotWholePages {
                region: tenant.region,
                page: K4,
                offset: Bytes::new(0x800),
                size: Bytes::new(0x1000),
            },
        ),
    ] {
        let refusal = refused(&mut bench, &tenant, edit);
        assert_eq!(refusal, EditRefusal::Region { edit: 1, refusal: expected });
    }
    bench.close();
}

#[test]
fn a_tce_page_larger_than_what_backs_the_memory_is_refused() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K64, Bytes::mib(64));
    let tenant = bench.tenant(window, Bytes::mib(64));
    let refusal = refused_first(&mut bench, &tenant, tenant.map(0, 1, 0));
    let EditRefusal::Region { edit: 0, refusal: RegionRefusal::PageTooLarge { .. } } = refusal
    else {
        panic!("{refusal}")
    };
    let huge = bench.memory(Bytes::mib(4), Backing::Hugetlb(PageShift::M2));
    let region = bench.engine.register(huge, PageShift::M2).expect("it can be pinned");
    let tenant = Tenant { region, ..tenant };
    bench.apply(&tenant, &[tenant.map(0, 64, 0)]);
    bench.close();
}

fn refused_first(bench: &mut Bench, tenant: &Tenant, edit: Edit) -> EditRefusal {
    let calls = bench.calls();
    let refusal = bench.engine.apply(tenant.lease, &[edit], NOW).expect_err("it is refused");
    assert_eq!(bench.calls(), calls, "{refusal}");
    let Error::Edit(refusal) = refusal else { panic!("{refusal}") };
    refusal
}

#[test]
fn reserved_ranges_take_no_lease_and_no_edit() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::Zero, K64, Bytes::gib(8));
    for (at, size) in [(2u64 << 30, Bytes::kib(64)), ((2 << 30) - 0x10000, Bytes::kib(128))] {
        let at = Some(Iova::new(at));
        let wanted = tce_engine::LeaseRequest { at, ..request(window, size) };
        let refusal = bench.engine.grant_lease(wanted).expect_err("it is MMIO");
        let Error::Lease(LeaseRefusal::Claim(ClaimRefusal::Reserved { .. })) = refusal else {
            panic!("{refusal}")
        };
    }
    let tenant = bench.tenant(window, Bytes::gib(2));
    let refusal = refused_first(&mut bench, &tenant, tenant.map((2 << 30) >> 16, 1, 0));
    let EditRefusal::Claim { edit: 0, refusal: ClaimRefusal::Reserved { .. } } = refusal else {
        panic!("{refusal}")
    };
    bench.close();
}

#[test]
fn a_batch_of_too_many_edits_is_refused() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    let calls = bench.calls();
    let edits = vec![tenant.unmap(0, 1); BATCH_EDITS_MAX + 1];
    let refusal = EditRefusal::TooMany(edits.len());
    assert_eq!(bench.engine.apply(tenant.lease, &edits, NOW), Err(Error::Edit(refusal)));
    assert_eq!(bench.calls(), calls);
    bench.close();
}

#[test]
fn memory_that_cannot_be_a_region_is_refused() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9-64k");
    let calls = bench.calls();
    let start = tenant.memory.address.raw();
    for (address, size) in
        [(start, 0), (start + 0x1000, 0x10000), (start, 0x1000), (!0xffff, 0x1000)]
    {
        let range = MemoryRange { address: HostAddr::new(address), size: Bytes::new(size) };
        let refusal = RegionRefusal::Misaligned { range, page: K64 };
        assert_eq!(bench.engine.register(range, K64), Err(Error::Region(refusal)));
    }
    let range = MemoryRange { address: HostAddr::new(!0xffff), size: Bytes::kib(64) };
    let refusal = RegionRefusal::BeyondUserSpace { range };
    assert_eq!(bench.engine.register(range, K64), Err(Error::Region(refusal)));
    let other = tenant.region;
    let range = MemoryRange { size: Bytes::kib(64), ..tenant.memory };
    let refusal = RegionRefusal::Overlaps { range, other };
    assert_eq!(bench.engine.register(range, K64), Err(Error::Region(refusal)));
    assert_eq!(bench.calls(), calls);
    bench.close();
}

/// Invariant 5.
#[test]
fn a_region_stays_registered_while_anything_points_into_it() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.apply(&tenant, &[tenant.map(0, 3, 0), tenant.map(10, 2, 0)]);
    let calls = bench.calls();
    let mapped = |tces| Err(Error::Region(RegionRefusal::Mapped { region: tenant.region, tces }));
    assert_eq!(bench.engine.unregister(tenant.region), mapped(5));
    assert_eq!(bench.calls(), calls);
    bench.apply(&tenant, &[tenant.unmap(0, 11)]);
    assert_eq!(bench.engine.unregister(tenant.region), mapped(1));
    bench.apply(&tenant, &[tenant.unmap(0, 12)]);
    assert_eq!(bench.engine.unregister(tenant.region), Ok(()));
    let gone = RegionRefusal::Gone(tenant.region);
    assert_eq!(bench.engine.unregister(tenant.region), Err(Error::Region(gone)));
    bench.close();
}

#[test]
fn without_a_group_there_is_no_backend_and_no_call() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.engine.detach(bench.group).expect("nothing fails");
    let calls = bench.calls();
    let engine = &mut bench.engine;
    assert_eq!(engine.register(tenant.memory, K4), Err(Error::NoBackend));
    assert_eq!(engine.unregister(tenant.region), Err(Error::NoBackend));
    let layout = [choice(Slot::Zero, K4, Bytes::gib(1))];
    assert_eq!(engine.grant_layout(&layout).map(|_| ()), Err(Error::NoBackend));
    let wanted = request(tenant.window, Bytes::mib(1));
    assert_eq!(engine.grant_lease(wanted).map(|_| ()), Err(Error::NoBackend));
    assert_eq!(engine.detach(bench.group), Err(Error::NoBackend));
    assert!(engine.facts().is_none() && engine.regions().is_none() && engine.layouts().is_none());
    assert_eq!((engine.windows().count(), engine.unleased(tenant.window)), (0, Bytes::ZERO));
    assert_eq!(bench.calls(), calls);
}

#[test]
fn a_group_is_attached_once_and_a_partition_takes_one_only() {
    let profile = tce_sim::Profile::pseries().with_device(
        tce_engine::kernel::GroupNumber(9),
        tce_sim::profile::DeviceProfile::edu("0001:00:00.0"),
    );
    let mut bench = Bench::new(profile);
    let calls = bench.calls();
    let other = tce_engine::kernel::GroupNumber(9);
    let refusal = GroupRefusal::OneGroupOnly(other);
    assert_eq!(bench.engine.attach(other), Err(Error::Group(refusal)));
    let again = GroupRefusal::Attached { group: bench.group, attached: true };
    assert_eq!(bench.engine.attach(bench.group), Err(Error::Group(again)));
    let absent = GroupRefusal::Attached { group: other, attached: false };
    assert_eq!(bench.engine.detach(other), Err(Error::Group(absent)));
    assert_eq!(bench.calls(), calls);
    bench.close();
}

#[test]
fn a_layout_that_cannot_be_is_refused() {
    let mut bench = Bench::named("powernv9");
    let calls = bench.calls();
    let window = choice(Slot::One, K64, Bytes::new(3 << 30));
    let refusal = LayoutRefusal::NoCandidate { slot: 1, page: K64, size: window.size, levels: 1 };
    assert_eq!(bench.try_windows(&[window]), Err(Error::Layout(refusal)));
    assert_eq!(bench.calls(), calls);
    bench.close();
}
