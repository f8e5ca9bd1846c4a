//! Windows come as the layout says or not at all, and the default window is never lost sight of.

use tce_engine::{
    Error,
    addr::{Bytes, Iova, PageShift},
    errno::Errno,
    facts::Slot,
    layout::LayoutRefusal,
};
use tce_sim::{Fault, Operation, Profile};

use crate::{
    bench::{Bench, HIGH, K4, K64, NOW, choice},
    truth::assert_agreement,
};

fn starts(bench: &Bench) -> Vec<u64> {
    bench.machine.windows(bench.container()).iter().map(|it| it.start.raw()).collect()
}

#[test]
fn a_window_in_slot_0_takes_the_place_of_the_promise_of_a_default_one() {
    let mut bench = Bench::named("powernv9");
    bench.window(Slot::Zero, K64, Bytes::gib(4));
    assert_eq!(starts(&bench), [0]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_window_in_slot_0_takes_the_place_of_a_default_one_that_was_made() {
    let mut bench = Bench::named("powernv9");
    bench.window(Slot::One, K64, Bytes::gib(4));
    assert_eq!(starts(&bench), [0, HIGH]);
    bench.window(Slot::Zero, K64, Bytes::gib(4));
    assert_eq!(starts(&bench), [0, HIGH]);
    let pages: Vec<PageShift> =
        bench.machine.windows(bench.container()).iter().map(|it| it.page_shift).collect();
    assert_eq!(pages, [K64, K64]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn two_windows_are_made_without_the_default_one() {
    let mut bench = Bench::named("powernv9");
    let both = [choice(Slot::One, K64, Bytes::gib(4)), choice(Slot::Zero, K4, Bytes::gib(1))];
    let made = bench.try_windows(&both).expect("both can be made");
    assert_eq!(made.iter().map(|id| id.slot).collect::<Vec<_>>(), [Slot::Zero, Slot::One]);
    assert_eq!(bench.machine.calls(Operation::Remove), 1, "of the promise");
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_partitions_dynamic_window_is_high_and_the_only_one() {
    for name in ["pseries", "pseries-64k"] {
        let mut bench = Bench::named(name);
        let both = [choice(Slot::Zero, K64, Bytes::gib(4)), choice(Slot::One, K64, Bytes::gib(4))];
        let calls = bench.calls();
        let refused = Err(Error::Layout(LayoutRefusal::TwoDynamicWindows));
        assert_eq!(bench.try_windows(&both), refused);
        assert_eq!(bench.calls(), calls);
        let window = bench.window(Slot::Zero, K64, Bytes::gib(4));
        assert_eq!(starts(&bench), [HIGH]);
        let found = bench.engine.windows().find(|it| it.window().id == window);
        assert_eq!(found.expect("it is there").window().start, Iova::new(HIGH));
        let refused = bench.try_windows(&[choice(Slot::One, K64, Bytes::gib(4))]);
        assert_eq!(refused, Err(Error::Layout(LayoutRefusal::BesideDynamic)));
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

/// A fault at each call of a layout, and what is left: no window, or the ones before undone.
#[test]
fn a_layout_is_made_in_full_or_not_at_all() {
    let default = Profile::powernv9().default_window;
    let high = choice(Slot::One, K64, Bytes::gib(4));
    let layouts = [
        vec![choice(Slot::Zero, K64, Bytes::gib(4)), high.clone()],
        vec![choice(Slot::Zero, K4, default), high.clone()],
        vec![high],
    ];
    for (choices, operation, nth) in layouts.iter().flat_map(|it| {
        [(it, Operation::Create, 1), (it, Operation::Create, 2), (it, Operation::Remove, 1)]
    }) {
        let mut bench = Bench::named("powernv9");
        bench.machine.fail_nth(operation, nth, Fault::Errno(Errno::ENOMEM));
        let made = bench.try_windows(choices);
        let expected = if made.is_ok() { choices.len() } else { 0 };
        assert_eq!(bench.engine.windows().count(), expected, "{choices:?} {operation:?} {nth}");
        assert_agreement(&bench.machine, &bench.engine);
        if made.is_err() {
            bench.window(Slot::Zero, K64, Bytes::gib(4));
            assert_agreement(&bench.machine, &bench.engine);
        }
        // A fault that met no call yet is met by the take-down.
        drop(bench);
    }
}

#[test]
fn a_default_window_that_a_failed_layout_wanted_stays_what_it_was() {
    let mut bench = Bench::named("powernv9");
    let both = [choice(Slot::Zero, K4, Bytes::gib(2)), choice(Slot::One, K64, Bytes::gib(4))];
    bench.machine.fail_next(Operation::Create, Fault::Errno(Errno::ENOMEM));
    bench.try_windows(&both).expect_err("no second one");
    assert_eq!(bench.machine.calls(Operation::Remove), 0);
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(1));
    bench.apply(&tenant, &[tenant.map(0, 1, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_grant_that_was_kept_too_long_is_checked_again() {
    let mut bench = Bench::named("powernv9");
    let layout = [choice(Slot::One, K64, Bytes::gib(4))];
    let old = bench.engine.grant_layout(&layout).expect("it is free");
    bench.window(Slot::One, K64, Bytes::gib(4));
    let calls = bench.calls();
    let refused = Err(Error::Layout(LayoutRefusal::SlotTaken(1)));
    assert_eq!(bench.engine.create_windows(old), refused);
    assert_eq!(bench.calls(), calls);
    // Slot 0 was to be filled by the default window, which a failed creation has cost.
    let mut bench = Bench::named("powernv9");
    let old = bench.engine.grant_layout(&layout).expect("it is free");
    bench.machine.fail_next(Operation::Create, Fault::Errno(Errno::ENOMEM));
    bench.try_windows(&[choice(Slot::Zero, K64, Bytes::gib(4))]).expect_err("it fails");
    let calls = bench.calls();
    assert!(matches!(bench.engine.create_windows(old), Err(Error::Layout(_))));
    assert_eq!(bench.calls(), calls);
    bench.close();
}

#[test]
fn a_window_that_came_to_lie_elsewhere_is_given_back() {
    let mut profile = Profile::powernv9();
    profile.slot_starts[1] = Iova::new(1 << 40);
    let mut bench = Bench::new(profile);
    let made = bench.try_windows(&[choice(Slot::One, K64, Bytes::gib(4))]);
    assert!(matches!(made, Err(Error::Layout(LayoutRefusal::Unreachable { .. }))), "{made:?}");
    assert_eq!(starts(&bench), [0], "the default one came with it");
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_rounded_up_table_takes_nothing_behind_the_window_that_was_asked_for() {
    let mut bench = Bench::named("powernv9-64k");
    let window = bench.window(Slot::One, K64, Bytes::mib(1));
    assert_eq!(bench.machine.windows(bench.container())[1].size, Bytes::mib(512));
    let tenant = bench.tenant(window, Bytes::mib(1));
    bench.apply(&tenant, &[tenant.map(0, 16, 0)]);
    bench.engine.apply(tenant.lease, &[tenant.map(16, 1, 0)], NOW).expect_err("outside");
    bench.close();
}
