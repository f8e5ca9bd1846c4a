//! Invariants 8 and 12: whatever fails on the way down, it can go on, and nothing is left in the end.

use tce_engine::{addr::Bytes, errno::Errno, facts::Slot};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{Bench, K4, K64, NOW, PROFILES, assert_nothing_left, choice},
    truth::assert_agreement,
};

/// Calls of a take-down. A failed `close` is not among them: Linux lets go of the descriptor all the same.
const STEPS: [Operation; 7] = [
    Operation::ReadDevice,
    Operation::WriteDevice,
    Operation::Unmap,
    Operation::Unregister,
    Operation::Remove,
    Operation::UnsetContainer,
    Operation::LockedMemory,
];

/// Two windows, leases with mappings in both, one of them quarantined, memory beside them.
fn busy(name: &str) -> Bench {
    let mut bench = Bench::named(name);
    let default = bench.engine.facts().expect("a group").default_window;
    let both = [choice(Slot::Zero, K4, default), choice(Slot::One, K4, Bytes::gib(2))];
    for window in bench.try_windows(&both).expect("both can be made") {
        let tenants = [bench.tenant(window, Bytes::mib(1)), bench.tenant(window, Bytes::mib(1))];
        for tenant in &tenants {
            bench.apply(tenant, &[tenant.map(0, 8, 0), tenant.map(20, 30, 10)]);
        }
        let errno = Errno::EIO;
        bench.machine.fail_nth(Operation::Map, 1, Fault::AfterTces { count: 3, errno });
        bench.machine.fail_nth(Operation::Map, 2, Fault::Errno(errno));
        let edits = [tenants[0].map(4, 8, 20)];
        bench.engine.apply(tenants[0].lease, &edits, NOW).expect_err("it cannot be undone");
    }
    bench.region(Bytes::mib(1));
    bench
}

/// How often a take-down makes a call.
fn calls_of_a_close(name: &str, step: Operation) -> u64 {
    let bench = busy(name);
    let machine = bench.machine.clone();
    let before = machine.calls(step);
    bench.close();
    machine.calls(step) - before
}

#[test]
fn a_closed_engine_leaves_nothing() {
    for name in PROFILES {
        busy(name).close();
        Bench::named(name).close();
    }
}

#[test]
fn a_dropped_engine_leaves_nothing() {
    for name in PROFILES {
        let Bench { machine, engine, .. } = busy(name);
        drop(engine);
        assert_nothing_left(&machine);
    }
    let mut joined = Bench::named("powernv9");
    joined.window(Slot::One, K64, Bytes::gib(4));
    joined.join();
    drop(joined.engine);
    assert_nothing_left(&joined.machine);
}

#[test]
fn a_panic_ends_its_container_and_leaves_nothing() {
    let bench = busy("powernv9");
    let machine = bench.machine.clone();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _engine = bench.engine;
        std::panic::resume_unwind(Box::new("an assertion"));
    }));
    assert!(ended.is_err());
    assert_nothing_left(&machine);
}

#[test]
fn a_close_that_fails_at_any_call_leaves_nothing_all_the_same() {
    for name in ["powernv9", "pseries-64k"] {
        for step in STEPS {
            let calls = calls_of_a_close(name, step);
            for nth in 1..=calls {
                let bench = busy(name);
                bench.machine.fail_nth(step, nth, Fault::Errno(Errno::EIO));
                let errno = bench.engine.close().map_err(|error| error.fault()?.errno());
                // Regions go whether or not what they give back can be read; the last reading is the result's.
                let goes_on = step == Operation::LockedMemory && nth < calls;
                let expected = if goes_on { None } else { Some(Some(Errno::EIO)) };
                assert_eq!(errno.err(), expected, "{step:?} {nth}");
                assert_nothing_left(&bench.machine);
            }
        }
    }
}

#[test]
fn a_detach_that_fails_at_any_call_goes_on_where_it_stopped() {
    for name in ["powernv9", "pseries-64k"] {
        for step in STEPS {
            for nth in 1..=calls_of_a_close(name, step) {
                let mut bench = busy(name);
                let leases = bench.engine.leases().live().count();
                bench.machine.fail_nth(step, nth, Fault::Errno(Errno::EIO));
                let first = bench.engine.detach(bench.group);
                // No take-down depends on a reading of the locked memory.
                assert_eq!(first.is_err(), step != Operation::LockedMemory, "{step:?} {nth}");
                if first.is_err() {
                    assert_agreement(&bench.machine, &bench.engine);
                    bench.engine.detach(bench.group).expect("this time");
                }
                assert_eq!(bench.engine.take_events().len(), leases, "each lease is told once");
                assert_agreement(&bench.machine, &bench.engine);
                drop(bench.engine);
                assert_nothing_left(&bench.machine);
            }
        }
    }
}

#[test]
fn what_a_close_ended_is_told_with_its_result() {
    let bench = busy("powernv9");
    let closed = bench.engine.close().expect("nothing fails");
    assert_eq!(closed.events.len(), 4);
}
