//! Regions with several users, and what keeps a region registered.

use tce_engine::{
    ChargeSubject, Engine, Error,
    addr::Bytes,
    errno::Errno,
    kernel::MemoryRange,
    machine::{Backing, Machine},
    region::{Progress, RegionRefusal, RegionRequest},
};
use tce_sim::{Fault, Operation};

use crate::bench::{K4, K64};

use super::bench::{M2, MEMORY, MemoryBench, PROFILES};

#[test]
fn the_same_memory_is_one_region_until_its_last_user_leaves() {
    for name in PROFILES {
        let mut bench = MemoryBench::named(name);
        let (memory, page) = (bench.memory(Bytes::mib(1)), bench.system_page());
        let first = bench.engine.register(memory, page).expect("it can be registered");
        let calls = bench.machine.all_calls();
        let second = bench.engine.register(memory, page).expect("it is there");
        let mut third = bench
            .engine
            .register_in_chunks(memory, page, Bytes::kib(64))
            .expect("it is there, whole");
        assert_eq!(bench.engine.advance(&mut third), Ok(Progress::Complete(first)));
        assert_eq!((second, bench.machine.all_calls()), (first, calls), "no call is made");
        bench.map(0, first, Bytes::ZERO, Bytes::kib(64)).expect("it is registered");
        let calls = bench.machine.all_calls();
        bench.engine.unregister(first).expect("there are other users");
        bench.engine.abandon(third).expect("there is another user");
        assert_eq!(bench.machine.all_calls(), calls, "no call is made");
        let mapped = RegionRefusal::Mapped { region: first, tces: (1 << 16) >> K4.raw() };
        assert_eq!(bench.engine.unregister(first), Err(Error::Region(mapped)));
        bench.assert_agreement();
        bench.unmap_all();
        bench.engine.unregister(first).expect("nothing points into it");
        let gone = RegionRefusal::Gone(first);
        assert_eq!(bench.engine.unregister(first), Err(Error::Region(gone)));
        bench.assert_agreement();
        bench.close();
    }
}

#[test]
fn only_the_same_range_with_the_same_backing_is_shared() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.place(MEMORY, Bytes::mib(4), Backing::Hugetlb(M2));
    let other = bench.engine.register(memory, M2).expect("it can be registered");
    let calls = bench.machine.all_calls();
    let refusal = RegionRefusal::BackedOtherwise { range: memory, other };
    assert_eq!(bench.engine.register(memory, K64), Err(Error::Region(refusal)));
    let range = MemoryRange { size: Bytes::mib(2), ..memory };
    let refusal = RegionRefusal::Overlaps { range, other };
    assert_eq!(bench.engine.register(range, M2), Err(Error::Region(refusal)));
    assert_eq!(bench.machine.all_calls(), calls);
    bench.close();
}

#[test]
fn a_region_with_several_users_is_taken_down_all_the_same() {
    let mut bench = MemoryBench::named("powernv9");
    let request = bench.mixed();
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    assert_eq!(bench.engine.register_memory(&request), Ok(region));
    assert_eq!(bench.machine.regions().len(), 3);
    let group = bench.machine.groups()[0];
    bench.engine.detach(group).expect("nothing fails");
    assert_eq!(bench.calls(Operation::Unregister), 3, "by the engine, before the kernel does");
    bench.engine.attach(group).expect("the group is free");
    let gone = Err(Error::Region(RegionRefusal::Gone(region)));
    assert_eq!(bench.engine.unregister(region), gone);
    bench.close();
}

/// Holders in different containers are the kernel's business: it has the memory once and charges it once.
#[test]
fn memory_of_another_container_is_charged_there() {
    let mut bench = MemoryBench::named("powernv9");
    let memory = bench.memory(Bytes::mib(4));
    let mut other = Engine::open(bench.machine.kernel()).expect("a fresh container");
    other.attach(bench.machine.groups()[1]).expect("the group is free");
    other.register(memory, K4).expect("it can be registered");
    let locked = bench.machine.locked();
    let request = RegionRequest::uniform(memory, K4);
    let region = bench.engine.register_memory(&request).expect("the kernel shares it");
    let charge = *bench.engine.charges().last().expect("it was noted");
    assert_eq!(charge.subject, ChargeSubject::Region(region));
    assert_eq!((charge.predicted, charge.charged), (memory.size, Bytes::ZERO));
    assert_eq!(bench.machine.locked(), locked);
    bench.engine.unregister(region).expect("nothing points into it");
    assert_eq!((bench.machine.regions().len(), bench.machine.locked()), (1, locked));
    // As other pieces it overlaps what the other container has, which only the kernel knows.
    let in_chunks = request.in_chunks(Bytes::mib(1));
    let error = bench.engine.register_memory(&in_chunks).expect_err("not exactly the same");
    assert!(matches!(error, Error::Fault(_)), "{error}");
    assert_eq!((bench.machine.regions().len(), bench.machine.locked()), (1, locked));
    other.close().expect("nothing fails");
    bench.close();
}

/// A batch that cannot be undone leaves TCEs that nobody knows.
#[test]
fn a_region_of_several_pieces_stays_while_a_quarantine_may_point_into_it() {
    let mut bench = MemoryBench::named("powernv9");
    let request = bench.mixed();
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    let other = bench.place(MEMORY - 0x10_0000, Bytes::mib(1), Backing::Anonymous);
    let other = bench.engine.register(other, K4).expect("it can be registered");
    bench.map(0, other, Bytes::ZERO, Bytes::kib(16)).expect("it is registered");
    bench.machine.fail_nth(Operation::Map, 1, Fault::AfterTces { count: 1, errno: Errno::EIO });
    bench.machine.fail_nth(Operation::Map, 2, Fault::Errno(Errno::EIO));
    bench.map(0, region, Bytes::mib(6), Bytes::kib(16)).expect_err("it cannot be undone");
    let calls = bench.calls(Operation::Unregister);
    // No table has a TCE of it.
    let mapped = RegionRefusal::Mapped { region, tces: 4 };
    assert_eq!(bench.engine.unregister(region), Err(Error::Region(mapped)));
    assert_eq!(bench.calls(Operation::Unregister), calls);
    bench.close();
}
