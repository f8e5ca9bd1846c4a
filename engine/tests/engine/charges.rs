//! Invariant 6: what a call charges is known before it is made.

use tce_engine::{
    Charge, ChargeSubject, Error,
    addr::{Bytes, Iova, PageShift},
    errno::Errno,
    facts::Slot,
    layout::{CandidateQuery, LayoutRefusal, WindowChoice},
    region::RegionRefusal,
    window::Origin,
};
use tce_sim::{Fault, Operation, Profile};

use crate::{
    bench::{Bench, K4, K64, NOW, PROFILES, choice},
    truth::assert_agreement,
};

const ALL: CandidateQuery = CandidateQuery {
    size_min: Bytes::ZERO,
    size_max: Bytes::new(1 << 50),
    device_mask: Iova::new(u64::MAX),
};

/// The formulas of the engine and those of the simulation were written apart.
#[test]
fn every_candidate_of_every_machine_charges_what_was_predicted() {
    for name in PROFILES {
        let candidates = Bench::named(name).engine.layouts().expect("a group").candidates(&ALL);
        // A partition's firmware has a largest window, which `GET_INFO` does not tell.
        let largest = Profile::named(name).expect("it is a known name").largest_window_tces;
        let firmware_has =
            |it: &&tce_engine::layout::Candidate| it.size.raw() >> it.page.raw() <= largest;
        assert!(candidates.len() > 60, "{name}: {}", candidates.len());
        for candidate in candidates.iter().filter(firmware_has) {
            let mut bench = Bench::named(name);
            let locked = bench.machine.locked();
            let levels = candidate.table.levels;
            let wanted = choice(candidate.slot, candidate.page, candidate.size);
            let made = bench.try_windows(&[WindowChoice { levels, ..wanted }]);
            let id = made.unwrap_or_else(|error| panic!("{name} {candidate:?}: {error}"))[0];
            let charged = bench.machine.locked().checked_sub(locked).expect("it grows");
            let is_default = candidate.origin == Origin::DefaultWindow;
            let predicted = if is_default { Bytes::ZERO } else { candidate.table.charge };
            assert_eq!(charged, predicted, "{name} {candidate:?}");
            let start = bench.machine.windows(bench.container()).last().map(|it| it.start);
            assert!(is_default || start == Some(candidate.start), "{name} {candidate:?}");
            let noted =
                bench.engine.charges().iter().any(|it| it.subject == ChargeSubject::Window(id));
            assert!(is_default || noted, "{name} {candidate:?}");
            assert_agreement(&bench.machine, &bench.engine);
            bench.close();
        }
    }
}

#[test]
fn the_default_window_is_charged_when_it_is_first_used() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        let window = bench.default_window();
        let tenant = bench.tenant(window, Bytes::mib(64));
        let charges = bench.engine.charges().len();
        let locked = bench.machine.locked();
        bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
        let [charge] = bench.engine.charges()[charges..] else { panic!("one charge") };
        assert_eq!(charge.subject, ChargeSubject::Window(window));
        assert_eq!(charge.charged, charge.predicted);
        assert_eq!(bench.machine.locked(), locked.saturating_add(charge.charged));
        bench.apply(&tenant, &[tenant.map(9, 4, 0)]);
        assert_eq!(bench.engine.charges().len(), charges + 1, "once");
        bench.close();
    }
}

#[test]
fn the_default_window_is_charged_apart_when_a_second_window_brings_it_about() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        let high = bench.window(Slot::One, K64, Bytes::gib(4));
        let subjects: Vec<ChargeSubject> =
            bench.engine.charges().iter().map(|charge| charge.subject).collect();
        assert_eq!(subjects, [ChargeSubject::DefaultWindow, ChargeSubject::Window(high)]);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_default_window_in_use_that_a_second_window_brings_about_is_known_to_be_made() {
    for name in PROFILES {
        let mut bench = Bench::named(name);
        let default = bench.engine.facts().expect("a group").default_window;
        let both = [choice(Slot::Zero, K4, default), choice(Slot::One, K64, Bytes::gib(4))];
        let made = bench.try_windows(&both).expect("both can be made");
        let subjects: Vec<ChargeSubject> =
            bench.engine.charges().iter().map(|charge| charge.subject).collect();
        assert_eq!(subjects, made.iter().copied().map(ChargeSubject::Window).collect::<Vec<_>>());
        assert_agreement(&bench.machine, &bench.engine);
        let tenant = bench.tenant(made[0], Bytes::mib(64));
        bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn a_failed_creation_leaves_the_default_window_noted() {
    let profile = Profile { largest_window_tces: 1 << 20, ..Profile::pseries() };
    let (mut bench, big) = (Bench::new(profile), Bytes::new(1 << 44));
    // The firmware's largest block is smaller; the kernel keeps the charge of the attempt.
    let error = bench.try_windows(&[choice(Slot::One, K4, big)]).expect_err("too large");
    assert_eq!(error.fault().and_then(tce_engine::fault::Fault::errno), Some(Errno::EINVAL));
    let subjects: Vec<ChargeSubject> = bench.engine.charges().iter().map(|it| it.subject).collect();
    assert_eq!(subjects, [ChargeSubject::DefaultWindow, ChargeSubject::Leaked]);
    let Charge { predicted, charged, .. } = bench.engine.charges()[1];
    assert_eq!((predicted, charged), (Bytes::ZERO, Bytes::new(1 << 35)));
    assert_agreement(&bench.machine, &bench.engine);
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(64));
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    let closed = bench.engine.close().expect("nothing fails");
    assert_eq!(closed.locked, Bytes::new(1 << 35), "the leak is all that is left");
}

#[test]
fn a_map_that_fails_after_it_made_the_default_window_notes_the_window() {
    let mut bench = Bench::named("powernv9");
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(64));
    bench.machine.fail_next(Operation::Map, Fault::AfterTces { count: 2, errno: Errno::ENOMEM });
    bench.engine.apply(tenant.lease, &[tenant.map(0, 4, 0)], NOW).expect_err("the map fails");
    assert_agreement(&bench.machine, &bench.engine);
    bench.machine.fail_next(Operation::Map, Fault::Errno(Errno::EIO));
    bench.engine.apply(tenant.lease, &[tenant.map(0, 4, 0)], NOW).expect_err("again");
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_call_counts_as_made_even_if_its_charge_cannot_be_read() {
    let mut bench = Bench::named("powernv9");
    let unreadable = |bench: &Bench| {
        bench.machine.fail_nth(Operation::LockedMemory, 2, Fault::Errno(Errno::EMFILE));
    };
    unreadable(&bench);
    let (region, _) = bench.region(Bytes::mib(1));
    unreadable(&bench);
    bench.window(Slot::One, K64, Bytes::gib(4));
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(64));
    bench.engine.unregister(region).expect("nothing is mapped");
    unreadable(&bench);
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_limit_that_would_not_hold_is_refused_before_the_call() {
    let limit = Bytes::mib(9);
    let mut bench = Bench::new(Profile::powernv9().with_locked_limit(limit));
    let calls = bench.calls();
    let charge = |page, size| {
        let geometry = bench.engine.facts().expect("a group").geometry();
        geometry.shape(page, size, 1).expect("it can be made").charge
    };
    let default = charge(K4, Bytes::gib(2));
    let needed = default.saturating_add(charge(K4, Bytes::gib(1)));
    let refused = LayoutRefusal::LockedMemory { needed, charged: Bytes::ZERO, limit };
    let wanted = choice(Slot::One, K4, Bytes::gib(1));
    assert_eq!(bench.try_windows(std::slice::from_ref(&wanted)), Err(Error::Layout(refused)));
    let memory = bench.memory(Bytes::mib(10), tce_engine::machine::Backing::Anonymous);
    let needed = memory.size;
    let refused = RegionRefusal::LockedMemory { needed, charged: Bytes::ZERO, limit };
    assert_eq!(bench.engine.register(memory, K4), Err(Error::Region(refused)));
    assert_eq!(bench.calls(), calls + 1, "the allocation is the test's own");
    // In place of the default window there is room for it, even once that is made.
    bench.window(Slot::One, PageShift::M2, Bytes::gib(2));
    bench.window(Slot::Zero, K4, Bytes::gib(2));
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_default_window_in_use_has_its_charge_kept_for_it() {
    let limit = Bytes::mib(9);
    let mut bench = Bench::new(Profile::powernv9().with_locked_limit(limit));
    let window = bench.default_window();
    let memory = bench.memory(Bytes::mib(2), tce_engine::machine::Backing::Anonymous);
    let (needed, charged) = (memory.size, Bytes::mib(8));
    let refused = RegionRefusal::LockedMemory { needed, charged, limit };
    assert_eq!(bench.engine.register(memory, K4), Err(Error::Region(refused)));
    let tenant = bench.tenant(window, Bytes::kib(64));
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}
