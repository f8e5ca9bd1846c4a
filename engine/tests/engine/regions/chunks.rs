//! Large memory, registered piece by piece.

use tce_engine::{
    Charge, ChargeSubject, Error,
    addr::Bytes,
    kernel::MemoryRange,
    machine::{Backing, Machine},
    region::{Progress, RegionRefusal, RegionRequest, RegionState},
};
use tce_sim::{Operation, Profile};

use crate::bench::K4;

use super::bench::{M2, MEMORY, MemoryBench, PROFILES};

/// 8 MiB in chunks of 2 MiB.
const SIZE: Bytes = Bytes::mib(8);
const CHUNK: Bytes = Bytes::mib(2);

#[test]
fn a_large_region_is_registered_chunk_by_chunk_and_usable_when_complete() {
    for name in PROFILES {
        let mut bench = MemoryBench::named(name);
        let (memory, page) = (bench.memory(SIZE), bench.system_page());
        let calls = bench.calls(Operation::Register);
        let mut registration =
            bench.engine.register_in_chunks(memory, page, CHUNK).expect("it can be registered");
        let region = registration.region();
        assert_eq!(bench.calls(Operation::Register), calls, "nothing is registered yet");
        for done in 1..=4 {
            let registered = Bytes::mib(2 * (done - 1));
            let refusal = RegionRefusal::Registering { region, registered, size: SIZE };
            let error = bench.map(0, region, Bytes::ZERO, Bytes::kib(4)).expect_err("too early");
            assert!(error.to_string().ends_with(&refusal.to_string()), "{error}");
            let progress = bench.engine.advance(&mut registration).expect("nothing fails");
            let registered = Bytes::mib(2 * done);
            let expected = match done {
                4 => Progress::Complete(region),
                _ => Progress::Registering { registered, size: SIZE },
            };
            assert_eq!(progress, expected);
            assert_eq!(bench.calls(Operation::Register), calls + u64::from(done));
            bench.assert_agreement();
        }
        assert_eq!(bench.engine.advance(&mut registration), Ok(Progress::Complete(region)));
        assert_eq!(bench.calls(Operation::Register), calls + 4, "no call is left to make");
        // Across a border of chunks, in one call.
        let maps = bench.calls(Operation::Map);
        bench.map(0, region, Bytes::kib(1984), Bytes::kib(128)).expect("it is complete");
        assert_eq!(bench.calls(Operation::Map), maps + 1);
        bench.assert_agreement();
        bench.close();
    }
}

#[test]
fn others_go_on_between_the_calls() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.memory(SIZE);
    let other = bench.place(MEMORY + SIZE.raw(), Bytes::mib(1), Backing::Anonymous);
    let mut registration =
        bench.engine.register_in_chunks(memory, K4, CHUNK).expect("it can be registered");
    bench.engine.advance(&mut registration).expect("nothing fails");
    let region = bench.engine.register(other, K4).expect("it does not overlap");
    bench.map(0, region, Bytes::ZERO, Bytes::kib(64)).expect("it is registered");
    let part = MemoryRange { size: Bytes::mib(1), ..memory };
    let refusal = RegionRefusal::Overlaps { range: part, other: registration.region() };
    assert_eq!(bench.engine.register(part, K4), Err(Error::Region(refusal)));
    while bench.engine.advance(&mut registration) != Ok(Progress::Complete(registration.region())) {
        bench.unmap_all();
        bench.map(0, region, Bytes::ZERO, Bytes::kib(64)).expect("it is registered");
        bench.assert_agreement();
    }
    bench.close();
}

#[test]
fn who_gives_up_leaves_nothing_registered() {
    for done in 0..=4 {
        let mut bench = MemoryBench::named("powernv9");
        let (memory, locked) = (bench.memory(SIZE), bench.machine.locked());
        let mut registration =
            bench.engine.register_in_chunks(memory, K4, CHUNK).expect("it can be registered");
        for _ in 0..done {
            bench.engine.advance(&mut registration).expect("nothing fails");
        }
        let calls = bench.calls(Operation::Unregister);
        bench.engine.abandon(registration).expect("nothing fails");
        assert_eq!(bench.calls(Operation::Unregister), calls + done);
        assert_eq!((bench.machine.regions(), bench.machine.locked()), (Vec::new(), locked));
        assert_eq!(bench.engine.regions().map(|it| it.iter().count()), Some(0));
        bench.engine.register(memory, K4).expect("it is free again");
        bench.close();
    }
}

#[test]
fn a_registration_that_was_forgotten_can_be_unregistered_and_is_taken_down() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.memory(SIZE);
    for is_unregistered in [true, false] {
        let mut registration =
            bench.engine.register_in_chunks(memory, K4, CHUNK).expect("it can be registered");
        bench.engine.advance(&mut registration).expect("nothing fails");
        drop(registration);
        let regions = bench.engine.regions().expect("a group is there");
        let (id, region) = regions.iter().next().expect("it is known");
        assert_eq!(region.state(), RegionState::Registering);
        assert_eq!((region.registered(), region.pieces().len()), (CHUNK, 4));
        if is_unregistered {
            bench.engine.unregister(id).expect("nothing points into it");
        }
        bench.assert_agreement();
    }
    bench.close();
}

#[test]
fn a_registration_ends_with_the_backend() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.memory(SIZE);
    let mut registration =
        bench.engine.register_in_chunks(memory, K4, CHUNK).expect("it can be registered");
    bench.engine.advance(&mut registration).expect("nothing fails");
    let group = bench.machine.groups()[0];
    bench.engine.detach(group).expect("nothing fails");
    assert_eq!(bench.engine.advance(&mut registration), Err(Error::NoBackend));
    assert_eq!(bench.machine.regions(), Vec::new());
    bench.engine.attach(group).expect("the group is free");
    let gone = RegionRefusal::Gone(registration.region());
    assert_eq!(bench.engine.advance(&mut registration), Err(Error::Region(gone)));
    assert_eq!(bench.engine.abandon(registration), Err(Error::Region(gone)));
    bench.close();
}

#[test]
fn each_call_charges_what_was_predicted_for_it() {
    for name in PROFILES {
        let mut bench = MemoryBench::named(name);
        let request = bench.mixed().in_chunks(Bytes::mib(2));
        let charges = bench.engine.charges().len();
        let region = bench.engine.register_memory(&request).expect("it can be registered");
        let (subject, predicted) = (ChargeSubject::Region(region), CHUNK);
        let expected = [Charge { subject, predicted, charged: CHUNK }; 6];
        assert_eq!(bench.engine.charges()[charges..], expected);
        bench.assert_agreement();
        bench.close();
    }
}

#[test]
fn a_limit_that_does_not_hold_all_is_refused_before_the_first_call() {
    let tables = MemoryBench::named("powernv9").machine.locked();
    for (missing, is_admitted) in [(0, true), (4096, false)] {
        let limit = Bytes::new(tables.raw() + SIZE.raw() - missing);
        let mut bench = MemoryBench::new(Profile::powernv9().with_locked_limit(limit), K4);
        let memory = bench.memory(SIZE);
        let calls = bench.calls(Operation::Register);
        let started = bench.engine.register_in_chunks(memory, K4, CHUNK);
        if is_admitted {
            let mut registration = started.expect("it is just enough");
            for _ in 0..4 {
                bench.engine.advance(&mut registration).expect("the limit holds it");
            }
        } else {
            let refusal = RegionRefusal::LockedMemory { needed: SIZE, charged: tables, limit };
            assert_eq!(started.expect_err("too much"), Error::Region(refusal));
            assert_eq!(bench.calls(Operation::Register), calls);
            assert_eq!(bench.engine.regions().map(|it| it.iter().count()), Some(0));
        }
        bench.close();
    }
}

#[test]
fn chunks_of_huge_pages_take_huge_tces_wherever_they_lie() {
    let mut bench = MemoryBench::new(Profile::powernv9(), M2);
    let memory = bench.place(MEMORY, Bytes::mib(16), Backing::Hugetlb(M2));
    let request = RegionRequest::uniform(memory, M2).in_chunks(Bytes::mib(5));
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    assert_eq!(bench.machine.regions().len(), 4);
    let maps = bench.calls(Operation::Map);
    bench.map(0, region, Bytes::ZERO, Bytes::mib(16)).expect("no page lies in two pieces");
    assert_eq!(bench.calls(Operation::Map), maps + 1);
    bench.assert_agreement();
    bench.close();
}
