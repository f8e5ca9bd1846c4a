//! The engine's benchmark measures what it says: its loads are as their formulas say, and whoever does one leaves the
//! window as everybody else does.

use std::collections::BTreeMap;

use tce_engine::addr::{Bytes, Pages};
use tce_sim::{Profile, SimMachine};
use tce_tests::bench::{
    Scale, Seen,
    contender::PAGE,
    load::{LOADS, Load, Phase, Request},
    measure, minimal,
};

const TCES: u64 = 1 << 12;
const SCALE: Scale = Scale { tces: TCES, rounds: 1 };

/// What a load leaves in the window after a phase: pages of memory by TCE.
fn tces_after(load: &Load, last: Phase) -> BTreeMap<u64, u64> {
    let mut tces = BTreeMap::new();
    for phase in Phase::ALL.into_iter().filter(|phase| *phase <= last) {
        for request in load.requests(phase, TCES) {
            match request {
                Request::Map { first, tces: count, page } => {
                    tces.extend((first..first + count).zip(page..));
                }
                Request::Unmap { first, tces: count } => {
                    for tce in first..first + count {
                        tces.remove(&tce);
                    }
                }
            }
        }
    }
    tces
}

#[test]
fn the_fewest_calls_are_as_many_as_the_formula_says() {
    for load in &LOADS {
        for shift in [12, 13, 16, 21] {
            for phase in Phase::ALL {
                let tces = 1 << shift;
                let calls = minimal(load, &load.requests(phase, tces)).len();
                let formula = load.minimal(tces).of(phase);
                assert_eq!(u64::try_from(calls), Ok(formula), "{}, {phase:?}, {tces}", load.name);
            }
        }
    }
}

#[test]
fn a_load_maps_each_tce_once_replaces_a_quarter_and_unmaps_all() {
    for load in &LOADS {
        let name = load.name;
        let (mapped, replaced) = (tces_after(load, Phase::Map), tces_after(load, Phase::Replace));
        assert_eq!(u64::try_from(mapped.len()), Ok(TCES), "{name}");
        assert!(mapped.keys().all(|tce| *tce < 2 * TCES), "{name}");
        assert!(mapped.values().chain(replaced.values()).all(|page| *page < TCES), "{name}");
        assert!(replaced.keys().eq(mapped.keys()), "{name}");
        let changed = mapped.iter().filter(|(tce, page)| replaced.get(tce) != Some(page));
        assert_eq!(u64::try_from(changed.count()), Ok(TCES / 4), "{name}");
        assert!(tces_after(load, Phase::Unmap).is_empty(), "{name}");
    }
}

#[test]
fn everybody_leaves_the_window_as_the_load_says() {
    for load in &LOADS {
        let mut looks = 0;
        let mut look = |machine: &SimMachine, seen: Seen| {
            looks += 1;
            let expected = tces_after(load, seen.phase);
            assert!(in_window(machine, seen) == expected, "{}, {seen:?}", load.name);
        };
        let mut machine = SimMachine::new(Profile::powernv9());
        let figures = measure(&mut machine, load, SCALE, &mut look).expect("every count is right");
        assert!(looks >= 2 * 3 * Phase::ALL.len(), "two rounds of three contenders, and {looks}");
        assert!(figures.iter().all(|it| it.rounds.len() == SCALE.rounds));
        assert_eq!((machine.live_tces(), machine.host_corruption()), (0, None));
    }
}

/// Pages of memory by TCE, counted from the lowest page that is mapped in any phase: the loads use all of them.
fn in_window(machine: &SimMachine, seen: Seen) -> BTreeMap<u64, u64> {
    let size = Pages::new(2 * TCES).bytes(PAGE).expect("it fits");
    let runs = machine.mapped_runs(seen.container, seen.start, size, usize::MAX);
    let memory = machine.regions().iter().map(|region| region.range.address.raw()).min();
    let mut tces = BTreeMap::new();
    for run in runs {
        let number = |bytes: Bytes| bytes.raw() >> PAGE.raw();
        let first = number(run.iova.offset_from(seen.start).expect("in the window"));
        let start = memory.expect("what is mapped is registered");
        let page = (run.memory.address.raw() - start) >> PAGE.raw();
        tces.extend((first..first + number(run.memory.size)).zip(page..));
    }
    tces
}
