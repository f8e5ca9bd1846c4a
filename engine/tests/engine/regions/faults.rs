//! Calls that fail in the middle: the engine knows all that is registered, and can get rid of it.

use tce_engine::{
    Engine, Error,
    addr::{Bytes, HostAddr},
    errno::Errno,
    fault::Call,
    kernel::{MemoryRange, Raw},
    machine::{Backing, Machine},
    region::{RegionId, RegionRefusal, RegionRequest, RegionState},
};
use tce_sim::{Fault, Operation};

use crate::bench::K4;

use super::bench::{MEMORY, MemoryBench, PROFILES};

const EIO: Fault = Fault::Errno(Errno::EIO);

/// Six pieces: anonymous memory, 2M pages, anonymous memory, two chunks of each.
fn six_pieces(bench: &mut MemoryBench) -> RegionRequest {
    bench.mixed().in_chunks(Bytes::mib(2))
}

fn assert_nothing_registered(bench: &MemoryBench, locked: Bytes) {
    assert_eq!((bench.machine.regions(), bench.machine.locked()), (Vec::new(), locked));
    assert_eq!(bench.engine.regions().map(|it| it.iter().count()), Some(0));
}

#[test]
fn a_registration_that_fails_at_any_piece_is_taken_back() {
    for name in PROFILES {
        for fault in [EIO, Fault::Errno(Errno::ENOMEM), Fault::Value(1)] {
            for nth in 1..=6 {
                let mut bench = MemoryBench::named(name);
                let (request, locked) = (six_pieces(&mut bench), bench.machine.locked());
                bench.machine.fail_nth(Operation::Register, nth, fault);
                let error = bench.engine.register_memory(&request).expect_err("a call fails");
                let Error::Fault(fault) = error else { panic!("{error}") };
                assert!(matches!(fault.call, Call::Register(_)), "{fault}");
                assert_eq!(bench.calls(Operation::Register), nth, "and no more");
                assert_eq!(bench.calls(Operation::Unregister), nth - 1);
                assert_nothing_registered(&bench, locked);
                bench.engine.register_memory(&request).expect("this time");
                bench.assert_agreement();
                bench.close();
            }
        }
    }
}

#[test]
fn a_registration_ends_as_well_where_the_charge_cannot_be_read_before_a_call() {
    for nth in 1..=6 {
        let mut bench = MemoryBench::named("powernv9");
        let (request, locked) = (six_pieces(&mut bench), bench.machine.locked());
        bench.machine.fail_nth(Operation::LockedMemory, 2 * nth - 1, EIO);
        let error = bench.engine.register_memory(&request).expect_err("it cannot be read");
        let Error::Fault(fault) = error else { panic!("{error}") };
        assert_eq!(fault.call, Call::LockedMemory);
        assert_eq!(bench.calls(Operation::Register), nth - 1);
        assert_nothing_registered(&bench, locked);
        bench.close();
    }
}

#[test]
fn what_cannot_be_taken_back_is_told_and_can_be_unregistered_later() {
    for name in ["powernv9", "pseries-64k"] {
        for nth in 2..=6 {
            for nth_back in 1..nth {
                let mut bench = MemoryBench::named(name);
                let (request, locked) = (six_pieces(&mut bench), bench.machine.locked());
                bench.machine.fail_nth(Operation::Register, nth, Fault::Errno(Errno::ENOMEM));
                bench.machine.fail_nth(Operation::Unregister, nth_back, EIO);
                let mut registration =
                    bench.engine.start_registration(&request).expect("it can be registered");
                let region = registration.region();
                for _ in 1..nth {
                    bench.engine.advance(&mut registration).expect("not yet");
                }
                let error = bench.engine.advance(&mut registration).expect_err("a call fails");
                let Error::Registration(failure) = error else { panic!("{error}") };
                let left = Bytes::new((nth - nth_back) << 21);
                assert_eq!((failure.region, failure.left), (region, left));
                assert!(matches!(failure.fault.call, Call::Register(_)), "{failure}");
                let second = failure.second.fault().map(|fault| &fault.call);
                assert!(matches!(second, Some(Call::Unregister(_))), "{failure}");
                bench.assert_agreement();
                assert_stuck(&mut bench, &request, region, left);
                let leaving =
                    RegionRefusal::Leaving { region, registered: left, size: Bytes::mib(12) };
                let again = bench.engine.advance(&mut registration);
                assert_eq!(again, Err(Error::Region(leaving)));
                bench.engine.unregister(region).expect("this time");
                assert_nothing_registered(&bench, locked);
                bench.close();
            }
        }
    }
}

/// A region of which only a part is registered takes neither maps nor users.
fn assert_stuck(
    bench: &mut MemoryBench,
    request: &RegionRequest,
    region: RegionId,
    registered: Bytes,
) {
    let calls = bench.machine.all_calls();
    let leaving = RegionRefusal::Leaving { region, registered, size: Bytes::mib(12) };
    let error = bench.map(0, region, Bytes::ZERO, Bytes::kib(4)).expect_err("it is leaving");
    assert!(error.to_string().ends_with(&leaving.to_string()), "{error}");
    assert_eq!(bench.engine.register_memory(request), Err(Error::Region(leaving)));
    assert_eq!(bench.machine.all_calls(), calls);
}

#[test]
fn an_unregistration_that_fails_at_any_piece_goes_on_where_it_stopped() {
    for name in ["powernv9", "pseries-64k"] {
        for nth in 1..=6 {
            let mut bench = MemoryBench::named(name);
            let (request, locked) = (six_pieces(&mut bench), bench.machine.locked());
            let region = bench.engine.register_memory(&request).expect("it can be registered");
            bench.machine.fail_nth(Operation::Unregister, nth, EIO);
            let error = bench.engine.unregister(region).expect_err("a call fails");
            assert!(matches!(error, Error::Fault(_)), "{error}");
            bench.assert_agreement();
            if nth == 1 {
                bench.map(0, region, Bytes::ZERO, Bytes::mib(1)).expect("nothing has changed");
                bench.unmap_all();
            } else {
                assert_stuck(&mut bench, &request, region, Bytes::new((7 - nth) << 21));
            }
            bench.engine.unregister(region).expect("this time");
            assert_eq!(bench.calls(Operation::Unregister), 7, "each piece once, and the failure");
            assert_nothing_registered(&bench, locked);
            bench.close();
        }
    }
}

#[test]
fn a_take_down_with_a_region_that_is_stuck_leaves_nothing() {
    let mut bench = MemoryBench::named("powernv9");
    let request = six_pieces(&mut bench);
    let region = bench.engine.register_memory(&request).expect("it can be registered");
    bench.machine.fail_nth(Operation::Unregister, 3, EIO);
    bench.engine.unregister(region).expect_err("a call fails");
    let state = |bench: &MemoryBench| {
        bench.engine.regions().and_then(|it| it.get(region).ok()).map(|it| it.state())
    };
    assert_eq!(state(&bench), Some(RegionState::Leaving));
    bench.close();
}

/// `mm_iommu_do_alloc` sets `EFAULT` only where nothing at all could be pinned.
#[test]
fn memory_that_ends_inside_the_range_is_a_failure_that_registers_nothing() {
    for name in PROFILES {
        let mut bench = MemoryBench::named(name);
        let (page, locked) = (bench.system_page(), bench.machine.locked());
        bench.place(MEMORY, Bytes::mib(4), Backing::Anonymous);
        let range = MemoryRange { address: HostAddr::new(MEMORY), size: Bytes::mib(8) };
        let error = bench.engine.register(range, page).expect_err("half of it is no memory");
        let Error::Fault(fault) = error else { panic!("{error}") };
        let pages = i32::try_from(Bytes::mib(4).pages_up(page).raw()).expect("few");
        assert_eq!(fault.result, Raw::Returned(pages));
        assert_nothing_registered(&bench, locked);
        // In chunks some are whole, and are taken back.
        let request = RegionRequest::uniform(range, page).in_chunks(Bytes::mib(3));
        let error = bench.engine.register_memory(&request).expect_err("half of it is no memory");
        assert!(matches!(error, Error::Fault(_)), "{error}");
        assert_nothing_registered(&bench, locked);
        bench.close();
    }
}

#[test]
fn memory_that_is_another_containers_in_part_is_taken_back_as_the_kernel_refuses() {
    let mut bench = MemoryBench::named("powernv9");
    let locked = bench.machine.locked();
    let range = bench.memory(Bytes::mib(8));
    let mut other = Engine::open(bench.machine.kernel()).expect("a fresh container");
    other.attach(bench.machine.groups()[1]).expect("the group is free");
    let address = range.address.checked_add(Bytes::mib(5)).expect("it fits");
    let theirs = MemoryRange { address, size: Bytes::mib(1) };
    other.register(theirs, K4).expect("it can be registered");
    let request = RegionRequest::uniform(range, K4).in_chunks(Bytes::mib(2));
    let error = bench.engine.register_memory(&request).expect_err("the third chunk overlaps");
    assert_eq!(error.fault().and_then(|fault| fault.errno()), Some(Errno::EINVAL));
    other.close().expect("nothing fails");
    assert_nothing_registered(&bench, locked);
    bench.close();
}
