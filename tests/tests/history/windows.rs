//! Windows that go while somebody uses them, and what is in those that come.

use std::collections::BTreeSet;

use tce_engine::{
    Engine, Error,
    addr::{Bytes, Iova},
    errno::Errno,
    facts::Slot,
    kernel::{CreateCall, Kernel as _, MAP_READ, MAP_WRITE, MapCall, Raw},
    lease::LeaseRefusal,
    machine::Machine as _,
    window::WindowId,
};
use tce_sim::{Fault, Operation, SimKernel};
use tce_tests::peers::Bare;

use crate::bench::{K4, NOW, Ours, PAGE, bare, lease, machine, memory, reached, window};

const HIGH: Iova = Iova::new(1 << 59);

/// Still open: MAP takes no lock, so a REMOVE may come between a map's decision and its call. Here another window has
/// taken the place of the one that was meant, which is the harmless case: the kernel uses a freed table otherwise.
#[test]
fn no_window_goes_under_a_map() {
    let machine = machine("powernv9");
    {
        let memory = memory(&machine, Bytes::mib(1));
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        assert_eq!(bare.create(12, Bytes::mib(64), 1).out, HIGH);
        let container = bare.container();
        // One thread has looked the window up, and is about to map a page.
        let flags = MAP_READ | MAP_WRITE;
        let (iova, address) = (HIGH, memory.address);
        let decided = MapCall { flags, address, iova, size: Bytes::kib(64) };
        // Another one has a view on the kernel of its own.
        let mut other = machine.kernel();
        assert_eq!(other.remove(container, HIGH), Raw::OK);
        let call = CreateCall { page_shift: 16, size: Bytes::mib(64), levels: 1 };
        assert_eq!(other.create(container, call).out, HIGH);
        assert_eq!(machine.kernel().map(container, decided), Raw::Failed(Errno::EINVAL));
        let call = CreateCall { page_shift: 12, ..call };
        assert_eq!(other.remove(container, HIGH), Raw::OK);
        assert_eq!(other.create(container, call).out, HIGH);
        assert_eq!(machine.kernel().map(container, decided), Raw::OK, "as if nothing had been");
        let wrong = reached(&machine, container, HIGH);
        assert_eq!(wrong, Some(address), "the new window's device reaches the old one's memory");
    }

    // Nobody has a second view: each of these wants the engine for itself, which the compiler sees to.
    let _: fn(&mut Engine<SimKernel>, WindowId) -> Result<(), Error> = Engine::remove_window;
    let mut ours = Ours::new(&machine);
    let memory = memory(&machine, Bytes::mib(1));
    let region = ours.register(memory);
    let (old, decided) = (ours.lease, ours.map(0, region, 0, 16 * PAGE));
    let calls = machine.all_calls();
    let told = ours.engine.remove_window(ours.window).expect_err("it is leased");
    assert_eq!(machine.all_calls(), calls, "{told}");
    ours.engine.revoke(old).expect("nothing fails");
    ours.engine.remove_window(ours.window).expect("nobody has it any more");
    ours.window = window(&mut ours.engine, Slot::One, K4, Bytes::mib(64));
    (ours.lease, ours.claim) = lease(&mut ours.engine, ours.window, Bytes::mib(64));
    let calls = machine.all_calls();
    let told = ours.engine.apply(old, &[decided], NOW).expect_err("that window is gone");
    assert!(matches!(told, Error::Lease(LeaseRefusal::Ended { .. })), "{told}");
    assert_eq!((machine.all_calls(), ours.reaches(0)), (calls, None));
    ours.close();
}

/// 4ba2fdff2eb1: TCEs were not cleared before a window was taken out, and were there when it came back. A record of
/// them that outlives the window is the same mistake.
#[test]
fn a_window_that_was_made_anew_has_nothing_of_the_old_one() {
    let machine = machine("powernv9");
    {
        let memory = memory(&machine, Bytes::mib(1));
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        let mut recorded = BTreeSet::new();
        let mut ensure_mapped = |bare: &mut Bare<SimKernel>| {
            if recorded.insert(HIGH) {
                assert_eq!(bare.map(HIGH, memory.address, Bytes::new(PAGE)), Raw::OK);
            }
        };
        assert_eq!(bare.create(12, Bytes::mib(64), 1).out, HIGH);
        ensure_mapped(&mut bare);
        assert_eq!(reached(&machine, bare.container(), HIGH), Some(memory.address));
        assert_eq!(machine.kernel().remove(bare.container(), HIGH), Raw::OK);
        assert_eq!(bare.create(12, Bytes::mib(64), 1).out, HIGH);
        ensure_mapped(&mut bare);
        assert_eq!(reached(&machine, bare.container(), HIGH), None, "the device finds nothing");
    }

    let mut ours = Ours::new(&machine);
    let memory = memory(&machine, Bytes::mib(1));
    let region = ours.register(memory);
    for _ in 0..2 {
        ours.apply(&[ours.map(0, region, 0, PAGE)]);
        assert_eq!(ours.reaches(0), Some(memory.address), "each time");
        ours.engine.revoke(ours.lease).expect("nothing fails");
        assert_eq!(machine.live_tces(), 0, "before the window goes");
        ours.engine.remove_window(ours.window).expect("nothing is in it");
        ours.window = window(&mut ours.engine, Slot::One, K4, Bytes::mib(64));
        (ours.lease, ours.claim) = lease(&mut ours.engine, ours.window, Bytes::mib(64));
        assert_eq!(ours.reaches(0), None);
    }
    // Nor does it count on the kernel to clear them when the group goes.
    ours.apply(&[ours.map(0, region, 0, 4 * PAGE)]);
    machine.fail_next(Operation::Remove, Fault::Errno(Errno::EIO));
    machine.fail_next(Operation::UnsetContainer, Fault::Errno(Errno::EIO));
    ours.engine.detach(ours.group).expect_err("a call fails");
    assert_eq!(machine.live_tces(), 0, "they went first");
    ours.engine.detach(ours.group).or_else(|_| ours.engine.detach(ours.group)).expect("in the end");
    ours.close();
}
