//! Invariants 2, 3 and 4: a batch is made in full or not at all, and what the kernel's rollback erased comes back.

use tce_engine::{
    Error,
    addr::Bytes,
    edit::Edit,
    errno::Errno,
    error::{BatchFailure, EditRefusal, Undone},
    facts::Slot,
    kernel::Raw,
    region::RegionRefusal,
};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{Bench, K4, NOW, PROFILES, Tenant},
    truth::assert_agreement,
};

const EIO: Fault = Fault::Errno(Errno::EIO);

/// A tenant with mappings that a batch will replace, extend, drop and leave alone.
fn busy(name: &str) -> (Bench, Tenant, Vec<Edit>) {
    let mut bench = Bench::named(name);
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(64));
    bench.apply(&tenant, &[tenant.map(0, 8, 0), tenant.map(16, 4, 20), tenant.map(30, 2, 40)]);
    let edits = vec![
        tenant.map(4, 8, 30),
        tenant.unmap(16, 1),
        tenant.map(17, 1, 50),
        tenant.map(18, 2, 22),
        tenant.unmap(30, 8),
        tenant.map(40, 3, 0),
    ];
    (bench, tenant, edits)
}

#[track_caller]
fn fail(bench: &mut Bench, tenant: &Tenant, edits: &[Edit]) -> BatchFailure {
    match bench.engine.apply(tenant.lease, edits, NOW) {
        Err(Error::Batch(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_is_made_as_planned() {
    for name in PROFILES {
        let (mut bench, tenant, edits) = busy(name);
        let plan = bench.engine.plan(tenant.lease, &edits, NOW).expect("nothing speaks against it");
        let (maps, unmaps) =
            (bench.machine.calls(Operation::Map), bench.machine.calls(Operation::Unmap));
        let applied = bench.engine.apply(tenant.lease, &edits, NOW).expect("as planned");
        assert_eq!(bench.machine.calls(Operation::Map) - maps, applied.map_calls);
        assert_eq!(bench.machine.calls(Operation::Unmap) - unmaps, applied.unmap_calls);
        assert_eq!((applied.map_calls, applied.unmap_calls, plan[0].plan.calls.len()), (3, 2, 5));
        assert_eq!(applied.tces_kept, 2, "18 and 19 were as wanted");
        assert_agreement(&bench.machine, &bench.engine);
        bench.apply(&tenant, &edits);
        assert_eq!(bench.machine.calls(Operation::Map) - maps, applied.map_calls, "nothing to do");
        bench.close();
    }
}

/// Invariant 2: the kernel answers +1, and what hypercalls return, to calls that it did not make.
#[test]
fn a_positive_result_is_a_failure() {
    for (operation, value) in [(Operation::Map, 1), (Operation::Unmap, 1), (Operation::Map, 4096)] {
        let (mut bench, tenant, edits) = busy("powernv9");
        bench.machine.fail_next(operation, Fault::Value(value));
        let failure = fail(&mut bench, &tenant, &edits);
        assert_eq!(
            (failure.fault.result, failure.outcome),
            (Raw::Returned(value), Undone::Restored)
        );
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

/// Invariant 4. At every call, before its work or after any number of TCEs.
#[test]
fn a_batch_that_fails_at_any_call_and_tce_leaves_everything_as_it_was() {
    for name in PROFILES {
        let errno = Errno::ENOMEM;
        let cuts = (0..9).map(|count| Fault::AfterTces { count, errno });
        let at_map: Vec<Fault> = cuts.chain([EIO, Fault::Value(1)]).collect();
        let at_unmap = vec![EIO, Fault::Value(1)];
        for (operation, calls, faults) in
            [(Operation::Map, 3, at_map), (Operation::Unmap, 2, at_unmap)]
        {
            for (nth, fault) in (1..=calls).flat_map(|nth| faults.iter().map(move |it| (nth, *it)))
            {
                let (mut bench, tenant, edits) = busy(name);
                let before = tables(&bench);
                bench.machine.fail_nth(operation, nth, fault);
                let failure = fail(&mut bench, &tenant, &edits);
                assert_eq!(failure.outcome, Undone::Restored, "{operation:?} {nth} {fault:?}");
                assert_eq!(tables(&bench), before);
                assert_agreement(&bench.machine, &bench.engine);
                bench.apply(&tenant, &edits);
                assert_agreement(&bench.machine, &bench.engine);
                bench.close();
            }
        }
    }
}

fn tables(bench: &Bench) -> Vec<tce_engine::table::MappedRun> {
    bench.engine.windows().flat_map(|state| state.table().within(0, u64::MAX)).collect()
}

/// The errno survives, with the call and its arguments.
#[test]
fn a_failure_names_the_call_and_what_it_returned() {
    let (mut bench, tenant, edits) = busy("powernv9");
    bench.machine.fail_next(Operation::Map, EIO);
    let failure = fail(&mut bench, &tenant, &edits);
    assert_eq!(failure.fault.errno(), Some(Errno::EIO));
    let text = Error::from(Box::new(failure)).to_string();
    for part in ["VFIO_IOMMU_MAP_DMA", "32 KiB", "0x4000", "EIO", "put back"] {
        assert!(text.contains(part), "{text}");
    }
    bench.close();
}

/// Fails a batch and its undoing.
fn quarantined(name: &str) -> (Bench, Tenant) {
    let (mut bench, tenant, edits) = busy(name);
    bench.machine.fail_nth(Operation::Map, 1, Fault::AfterTces { count: 3, errno: Errno::EIO });
    bench.machine.fail_nth(Operation::Map, 2, EIO);
    let failure = fail(&mut bench, &tenant, &edits);
    let Undone::Quarantined(ranges) = failure.outcome else { panic!("{failure}") };
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert_eq!((ranges[0].window, ranges[0].claim), (tenant.window, tenant.range(4, 8)));
    assert_eq!(ranges[0].fault.errno(), Some(Errno::EIO));
    (bench, tenant)
}

#[test]
fn a_range_that_cannot_be_restored_takes_no_edits_and_the_rest_does() {
    let (mut bench, tenant) = quarantined("powernv9");
    let closed = tenant.range(4, 8);
    let calls = bench.calls();
    for edit in [tenant.map(4, 1, 0), tenant.unmap(0, 64), tenant.unmap(11, 1), tenant.map(3, 2, 3)]
    {
        let refused = EditRefusal::Quarantined { edit: 0, claim: closed };
        let applied = bench.engine.apply(tenant.lease, &[edit], NOW);
        assert_eq!(applied, Err(Error::Edit(refused)));
    }
    assert_eq!(bench.calls(), calls);
    let reported: Vec<_> = bench.engine.windows().flat_map(|it| it.quarantined()).collect();
    assert_eq!(reported, [closed]);
    bench.apply(&tenant, &[tenant.map(12, 1, 0), tenant.unmap(0, 4)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.revoke(tenant.lease).expect("nothing fails now");
    assert_agreement(&bench.machine, &bench.engine);
    assert_eq!(bench.machine.live_tces(), 0);
    bench.engine.unregister(tenant.region).expect("nothing is mapped any more");
    let again = bench.tenant(tenant.window, Bytes::mib(64));
    bench.apply(&again, &[again.map(4, 8, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_container_with_a_quarantine_closes_clean() {
    for name in PROFILES {
        quarantined(name).0.close();
    }
}

/// Invariant 5: what a batch wanted to map may be mapped, although the table does not say so.
#[test]
fn memory_that_a_quarantine_may_point_to_stays_registered() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    let (other, _) = bench.region(Bytes::mib(1));
    let mapping = |index| Edit::Map {
        iova: tenant.iova(index),
        region: other,
        offset: Bytes::ZERO,
        size: Bytes::kib(16),
        access: tce_engine::access::Access::ReadWrite,
    };
    bench.machine.fail_nth(Operation::Map, 2, EIO);
    bench.machine.fail_next(Operation::Unmap, EIO);
    let failure = fail(&mut bench, &tenant, &[mapping(0), mapping(8)]);
    assert!(matches!(failure.outcome, Undone::Quarantined { .. }), "{failure}");
    assert_eq!(bench.machine.live_tces(), 4, "the first call could not be undone");
    let refused = RegionRefusal::Mapped { region: other, tces: 4 };
    assert_eq!(bench.engine.unregister(other), Err(Error::Region(refused)));
    bench.engine.revoke(tenant.lease).expect("nothing fails now");
    assert_eq!(bench.engine.unregister(other), Ok(()));
    bench.close();
}

/// Invariant 11.
#[test]
fn a_lease_has_one_quarantine_however_often_batches_fail() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    for index in 0..20 {
        bench.apply(&tenant, &[tenant.map(2 * index, 1, 0)]);
        bench.machine.fail_nth(Operation::Map, 1, Fault::AfterTces { count: 1, errno: Errno::EIO });
        bench.machine.fail_nth(Operation::Map, 2, EIO);
        fail(&mut bench, &tenant, &[tenant.map(2 * index, 1, 9)]);
        let reported: Vec<_> = bench.engine.windows().flat_map(|it| it.quarantined()).collect();
        assert_eq!(reported, [tenant.range(0, 2 * index + 1)]);
    }
    bench.close();
}

#[test]
fn leases_of_one_window_do_not_touch_each_other() {
    let mut bench = Bench::named("powernv9");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    let (one, two) = (bench.tenant(window, Bytes::mib(1)), bench.tenant(window, Bytes::mib(1)));
    bench.apply(&one, &[one.map(0, 64, 0), one.map(250, 6, 0)]);
    bench.apply(&two, &[two.map(0, 64, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.revoke(one.lease).expect("nothing fails");
    assert_agreement(&bench.machine, &bench.engine);
    assert_eq!(bench.machine.live_tces(), 64);
    bench.close();
}
