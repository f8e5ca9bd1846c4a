//! The default window: used, replaced, kept or removed, by choice.

use tce_engine::{
    Error,
    addr::{Bytes, Iova},
    errno::Errno,
    facts::Slot,
    kernel::Platform,
    layout::{CandidateQuery, LayoutRefusal, SlotUse, UnusedDefault, WindowChoice},
    window::{Origin, WindowId},
};
use tce_sim::{Fault, Operation, Profile};

use crate::{
    bench::{Bench, HIGH, K4, K64, PROFILES, choice},
    truth::assert_agreement,
};

const HIGH_WINDOW: WindowChoice = choice(Slot::One, K4, Bytes::gib(4));

fn starts(bench: &Bench) -> Vec<u64> {
    bench.machine.windows(bench.container()).iter().map(|it| it.start.raw()).collect()
}

fn high_window(bench: &mut Bench, unused: UnusedDefault) -> Result<WindowId, Error> {
    let grant = bench.engine.grant_layout(&[HIGH_WINDOW])?.with_unused_default(unused);
    bench.engine.create_windows(grant).map(|made| made[0])
}

fn default_choice(bench: &Bench) -> WindowChoice {
    choice(Slot::Zero, K4, bench.engine.facts().expect("a group").default_window)
}

fn table_charge(bench: &Bench, window: &WindowChoice) -> Bytes {
    let geometry = bench.engine.facts().expect("a group").geometry();
    geometry.shape(window.page, window.size, 1).expect("it can be made").charge
}

#[test]
fn a_default_window_that_is_removed_by_choice_frees_its_charge_and_its_addresses() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        let (high, default) =
            (table_charge(&bench, &HIGH_WINDOW), table_charge(&bench, &default_choice(&bench)));
        let window = high_window(&mut bench, UnusedDefault::Keep).expect("it can be made");
        assert_eq!(starts(&bench), [0, HIGH]);
        assert_eq!(bench.machine.locked(), high.saturating_add(default), "{name}");
        bench.engine.remove_default_window().expect("nobody uses it");
        assert_eq!(starts(&bench), [HIGH], "{name}");
        assert_eq!(bench.machine.locked(), high, "{name}");
        assert_eq!(bench.engine.layouts().expect("a group").slots[0], SlotUse::Free);
        assert_agreement(&bench.machine, &bench.engine);
        let tenant = bench.tenant(window, Bytes::mib(64));
        bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_layout_can_remove_the_default_window_that_it_does_not_use() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        high_window(&mut bench, UnusedDefault::Remove).expect("it can be made");
        assert_eq!(starts(&bench), [HIGH], "{name}");
        assert_eq!(bench.machine.locked(), table_charge(&bench, &HIGH_WINDOW), "{name}");
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_default_window_that_is_kept_by_choice_stays_and_is_used_later() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        let charge = table_charge(&bench, &default_choice(&bench));
        high_window(&mut bench, UnusedDefault::Keep).expect("it can be made");
        assert_eq!(starts(&bench), [0, HIGH], "{name}");
        let creations = bench.machine.calls(Operation::Create);
        let locked = bench.machine.locked();
        let window = bench.default_window();
        let tenant = bench.tenant(window, Bytes::mib(1));
        bench.apply(&tenant, &[tenant.map(0, 1, 0)]);
        assert_eq!(bench.machine.calls(Operation::Create), creations, "{name}: it was there");
        assert_eq!(bench.machine.locked(), locked.saturating_add(tenant.memory.size));
        assert!(charge <= locked);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_layout_that_uses_or_replaces_the_default_window_has_none_left_to_remove() {
    let default = Profile::powernv9().default_window;
    for window in [choice(Slot::Zero, K4, default), choice(Slot::Zero, K64, Bytes::gib(1))] {
        let mut bench = Bench::named("powernv9");
        let grant = bench.engine.grant_layout(&[window, HIGH_WINDOW]).expect("both can be made");
        let grant = grant.with_unused_default(UnusedDefault::Remove);
        assert_eq!(bench.engine.create_windows(grant).expect("both").len(), 2);
        assert_eq!(starts(&bench), [0, HIGH]);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_layout_whose_default_window_will_not_go_is_not_made_at_all() {
    let mut bench = Bench::named("powernv9");
    bench.machine.fail_next(Operation::Remove, Fault::Errno(Errno::EIO));
    high_window(&mut bench, UnusedDefault::Remove).expect_err("the removal fails");
    assert_eq!(bench.engine.windows().count(), 0);
    assert_eq!(starts(&bench), [0], "the one that would not go");
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.remove_default_window().expect("it goes now");
    bench.close();
}

#[test]
fn the_promise_of_a_default_window_is_removed_without_its_being_made() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        bench.engine.remove_default_window().expect("nobody uses it");
        assert_eq!((starts(&bench), bench.machine.locked()), (vec![], Bytes::ZERO), "{name}");
        // The kernel would put the first window into slot 0.
        let calls = bench.calls();
        let refused = bench.try_windows(&[HIGH_WINDOW]);
        assert_eq!(refused, Err(Error::Layout(LayoutRefusal::FirstSlotEmpty)), "{name}");
        assert_eq!(bench.calls(), calls);
        bench.close();
    }
}

#[test]
fn a_default_window_that_is_in_use_or_not_there_is_not_removed() {
    let mut bench = Bench::named("powernv9");
    let window = bench.default_window();
    let calls = bench.calls();
    let refused = |bench: &mut Bench| match bench.engine.remove_default_window() {
        Err(Error::Layout(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut bench), LayoutRefusal::DefaultInUse(window));
    assert_eq!(bench.calls(), calls);
    bench.engine.remove_window(window).expect("it has no lease");
    assert_eq!(bench.calls(), calls, "it is unused again");
    bench.engine.remove_default_window().expect("nobody uses it");
    assert_eq!(refused(&mut bench), LayoutRefusal::NoDefaultWindow);
    let created = bench.default_window();
    assert_eq!(refused(&mut bench), LayoutRefusal::NoDefaultWindow, "{created} is created");
    bench.close();
}

#[test]
fn a_removed_default_window_comes_back_as_a_created_one() {
    let all = CandidateQuery {
        size_min: Bytes::ZERO,
        size_max: Bytes::gib(4),
        device_mask: Iova::new(u64::MAX),
    };
    for name in PROFILES {
        let mut bench = Bench::named(name);
        bench.engine.remove_default_window().expect("nobody uses it");
        let wanted = default_choice(&bench);
        let found = bench.engine.layouts().expect("a group").candidates(&all);
        let mut alike = found.iter().filter(|it| {
            (it.slot, it.page, it.size, it.table.levels) == (Slot::Zero, K4, wanted.size, 1)
        });
        let candidate = alike.next().expect("there is one");
        assert_eq!((candidate.origin, alike.next()), (Origin::Created, None), "{name}");
        let window = bench.window(Slot::Zero, K4, wanted.size);
        assert_eq!(starts(&bench), [0], "{name}");
        assert_eq!(bench.machine.locked(), table_charge(&bench, &wanted), "{name}");
        let tenant = bench.tenant(window, Bytes::mib(1));
        bench.apply(&tenant, &[tenant.map(0, 1, 0)]);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn beside_a_high_window_it_comes_back_where_the_platform_makes_it() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        high_window(&mut bench, UnusedDefault::Remove).expect("it can be made");
        let (wanted, locked, calls) =
            (default_choice(&bench), bench.machine.locked(), bench.calls());
        let made = bench.try_windows(&[wanted]);
        if bench.engine.system().platform == Platform::Powernv {
            assert_eq!(made.map(|made| made.len()), Ok(1), "{name}");
            assert_eq!(starts(&bench), [0, HIGH]);
        } else {
            // EPERM, and the charge would be gone.
            assert_eq!(made, Err(Error::Layout(LayoutRefusal::BesideDynamic)), "{name}");
            assert_eq!((bench.calls(), bench.machine.locked()), (calls, locked));
        }
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}
