//! Memory that the kernel keeps although it says that it is unregistered: accounted as leaked, once, and only that.

use tce_engine::{
    ChargeSubject, Engine, Error,
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::{Kernel, MAP_READ, MapCall, MemoryRange, Raw, UnmapCall},
    machine::{Backing, Machine},
    region::RegionId,
};
use tce_sim::{Fault, Operation};

use crate::bench::HIGH;

use super::bench::{MEMORY, MemoryBench, PROFILES};

const PAGE: Bytes = Bytes::kib(64);

/// Makes the kernel count a TCE of a region that is not there: an exchange fails, and is counted wrongly.
fn miscount(bench: &mut MemoryBench, region: RegionId, offset: Bytes) {
    bench.map(0, region, offset, PAGE).expect("it is registered");
    let fails = Fault::ExchangeFails { count: 0, errno: Errno::EINTR };
    bench.machine.fail_next(Operation::Map, fails);
    let next = offset.saturating_add(PAGE);
    bench.map(0, region, next, PAGE).expect_err("the exchange fails");
    bench.unmap_all();
}

/// What was noted as leaked memory, charge by charge.
fn noted(bench: &MemoryBench) -> Vec<(RegionId, Bytes)> {
    let charges = bench.engine.charges().iter();
    let leaks = charges.filter_map(|charge| match charge.subject {
        ChargeSubject::LeakedMemory(region) => {
            assert_eq!(charge.predicted, Bytes::ZERO);
            Some((region, charge.charged))
        }
        _ => None,
    });
    leaks.collect()
}

/// A bench with a registered region of which the kernel counts one TCE too many, and its size.
fn miscounted(name: &str) -> (MemoryBench, RegionId, MemoryRange) {
    let mut bench = MemoryBench::named(name);
    let memory = bench.memory(Bytes::mib(1));
    let page = bench.system_page();
    let region = bench.engine.register(memory, page).expect("it can be registered");
    miscount(&mut bench, region, Bytes::ZERO);
    (bench, region, memory)
}

#[test]
fn memory_that_the_kernel_keeps_is_noted_as_leaked() {
    for name in PROFILES {
        let (mut bench, region, memory) = miscounted(name);
        let locked = bench.machine.locked();
        assert_eq!(bench.engine.leaked(), Bytes::ZERO);
        bench.engine.unregister(region).expect("the kernel says yes");
        assert_eq!(bench.machine.locked(), locked, "and keeps it");
        assert_eq!(noted(&bench), [(region, memory.size)]);
        assert_eq!(bench.engine.leaked(), memory.size);
    }
}

#[test]
fn of_a_region_of_many_pieces_only_what_the_kernel_keeps_is_noted() {
    let mut bench = MemoryBench::named("powernv9");
    let request = bench.mixed().in_chunks(Bytes::mib(2));
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    miscount(&mut bench, region, Bytes::mib(4));
    let locked = bench.machine.locked();
    bench.engine.unregister(region).expect("the kernel says yes");
    let back = locked.checked_sub(bench.machine.locked());
    assert_eq!((back, noted(&bench)), (Some(Bytes::mib(10)), vec![(region, Bytes::mib(2))]));
}

#[test]
fn what_taking_down_cannot_get_back_is_told_at_the_end() {
    let (bench, _, memory) = miscounted("powernv9");
    let closed = bench.engine.close().expect("nothing fails");
    assert_eq!((closed.leaked, closed.locked), (memory.size, memory.size));
    let (mut bench, region, memory) = miscounted("powernv9");
    bench.engine.detach(bench.machine.groups()[0]).expect("nothing fails");
    assert_eq!(noted(&bench), [(region, memory.size)]);
}

/// Somebody else maps the first piece, so that the kernel does not let go of it.
#[test]
fn what_undoing_a_registration_cannot_get_back_is_noted() {
    let mut bench = MemoryBench::named("powernv9");
    let request = bench.mixed().in_chunks(Bytes::mib(2));
    let mut registration = bench.engine.start_registration(&request).expect("it can be");
    bench.engine.advance(&mut registration).expect("nothing fails");
    let (address, iova) = (HostAddr::new(MEMORY), Iova::new(HIGH));
    let call = MapCall { flags: MAP_READ, address, iova, size: PAGE };
    let (mut kernel, container) = (bench.machine.kernel(), bench.container());
    assert_eq!(kernel.map(container, call), Raw::OK);
    bench.machine.fail_next(Operation::Register, Fault::Errno(Errno::ENOMEM));
    let error = bench.engine.advance(&mut registration).expect_err("a call fails");
    assert!(matches!(error, Error::Fault(_)), "{error}");
    assert_eq!(noted(&bench), [(registration.region(), Bytes::mib(2))]);
    assert_eq!(kernel.unmap(container, UnmapCall { iova, size: PAGE }), Raw::OK);
}

#[test]
fn memory_that_leaked_is_counted_once_however_often_it_is_registered_again() {
    let (mut bench, region, memory) = miscounted("powernv9");
    bench.engine.unregister(region).expect("the kernel says yes");
    for _ in 0..2 {
        let page = bench.system_page();
        let again = bench.engine.register(memory, page).expect("it is there, and charges nothing");
        bench.engine.unregister(again).expect("the kernel says yes");
    }
    assert_eq!((bench.engine.leaked(), noted(&bench).len()), (memory.size, 1));
}

#[test]
fn memory_that_another_container_was_charged_for_is_no_leak_of_ours() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.memory(Bytes::mib(4));
    let page = bench.system_page();
    let mut other = Engine::open(bench.machine.kernel()).expect("a fresh container");
    other.attach(bench.machine.groups()[1]).expect("the group is free");
    let theirs = other.register(memory, page).expect("it can be registered");
    let region = bench.engine.register(memory, page).expect("the kernel shares it");
    bench.engine.unregister(region).expect("nothing points into it");
    assert_eq!(bench.engine.leaked(), Bytes::ZERO);
    other.unregister(theirs).expect("nothing points into it");
    assert_eq!(other.leaked(), Bytes::ZERO);
    other.close().expect("nothing fails");
    bench.close();
}

#[test]
fn memory_goes_whether_or_not_what_it_gives_back_can_be_read() {
    for nth in [1, 2] {
        let mut bench = MemoryBench::named("powernv9");
        let request = bench.place(MEMORY, Bytes::mib(1), Backing::Anonymous);
        let page = bench.system_page();
        let region = bench.engine.register(request, page).expect("it can be registered");
        bench.machine.fail_nth(Operation::LockedMemory, nth, Fault::Errno(Errno::EMFILE));
        bench.engine.unregister(region).expect("nothing points into it");
        assert_eq!((bench.machine.faults_waiting(), bench.engine.leaked()), (0, Bytes::ZERO));
        bench.assert_agreement();
        bench.close();
    }
}

/// The kernel charges the first container and gives back with the last; no call tells who else has the memory.
#[test]
fn memory_that_another_container_goes_on_using_cannot_be_told_from_a_leak() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.memory(Bytes::mib(4));
    let page = bench.system_page();
    let region = bench.engine.register(memory, page).expect("it can be registered");
    let mut other = Engine::open(bench.machine.kernel()).expect("a fresh container");
    other.attach(bench.machine.groups()[1]).expect("the group is free");
    let theirs = other.register(memory, page).expect("the kernel shares it");
    bench.engine.unregister(region).expect("nothing points into it");
    assert_eq!(noted(&bench), [(region, memory.size)]);
    other.unregister(theirs).expect("nothing points into it");
    assert_eq!(other.leaked(), Bytes::ZERO);
    assert_eq!(bench.machine.regions(), Vec::new());
    other.close().expect("nothing fails");
    bench.close();
}
