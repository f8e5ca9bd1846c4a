//! What the engine believes, against what the simulated hardware has.

use std::collections::BTreeMap;

use tce_engine::{
    ChargeSubject, Engine, WindowState,
    access::Access,
    addr::{Bytes, Iova, PageShift, Pages},
    kernel::{ContainerFd, Platform},
    lease::LeaseState,
    lingering::Unmapping,
    window::Origin,
};
use tce_sim::{SimKernel, SimMachine, TceAccess, TceView};

/// So many TCEs at the start of each window are looked at whether the engine believes that they are set or not.
const COMPARED_TCES_MAX: u64 = 1 << 12;

/// Checks invariants 3, 5, 6 and 11 as they stand between two operations.
#[track_caller]
pub(crate) fn assert_agreement(machine: &SimMachine, engine: &Engine<SimKernel>) {
    assert_eq!(machine.host_corruption(), None);
    assert_tces(machine, engine);
    assert_counts(engine);
    assert_lingering(engine);
    assert_regions(machine, engine);
    assert_charges(machine, engine);
}

/// Each TCE of each window, those of a quarantine left out: what is set is as it should be, and no more is set.
#[track_caller]
fn assert_tces(machine: &SimMachine, engine: &Engine<SimKernel>) {
    let container = ContainerFd::new(engine.descriptor());
    let platform = engine.system().platform;
    for state in engine.windows() {
        let table = expected(state, platform);
        let window = state.window();
        let low = 0..window.tces().raw().min(COMPARED_TCES_MAX);
        for index in low.chain(table.range(COMPARED_TCES_MAX..).map(|(index, _)| *index)) {
            let iova = window.iova_of(index);
            if !is_quarantined(state, iova) {
                let there = machine.tce(container, iova);
                assert_eq!(there, table.get(&index).copied(), "{iova} of {}", window.id);
            }
        }
    }
    if engine.windows().all(|state| state.quarantined().next().is_none()) {
        let tces: u64 = engine.windows().map(|state| state.table().tces()).sum();
        assert_eq!(machine.live_tces(), tces);
    }
}

fn expected(state: &WindowState, platform: Platform) -> BTreeMap<u64, TceView> {
    let page = state.window().page;
    let views = state.table().within(0, u64::MAX).flat_map(move |run| {
        (0..run.pages).map(move |n| {
            let offset = Pages::new(n).bytes(page).expect("inside a region");
            let address = run.target.address.checked_add(offset).expect("inside a region");
            let access = match (run.target.access, platform) {
                (Access::Read, _) => TceAccess::Read,
                (Access::Write, Platform::Pseries) => TceAccess::Write,
                (Access::Write, Platform::Powernv) | (Access::ReadWrite, _) => TceAccess::ReadWrite,
            };
            (run.first + n, TceView { address, access })
        })
    });
    views.collect()
}

fn is_quarantined(state: &WindowState, iova: Iova) -> bool {
    state
        .quarantined()
        .any(|claim| iova.offset_from(claim.start).is_some_and(|offset| offset < claim.size))
}

/// Every TCE lies in the range of one lease that has not ended; the counts are what the tables say.
#[track_caller]
fn assert_counts(engine: &Engine<SimKernel>) {
    let mut by_window = BTreeMap::new();
    let mut by_region = BTreeMap::new();
    for state in engine.windows() {
        by_window.insert(state.window().id, state.table().tces());
        for run in state.table().within(0, u64::MAX) {
            *by_region.entry(run.target.region).or_insert(0) += run.pages;
        }
    }
    for (id, lease) in engine.leases().iter() {
        for part in &lease.parts {
            let state = engine.windows().find(|state| state.window().id == part.window);
            let table = state.filter(|_| !matches!(lease.state, LeaseState::Ended(_)));
            let runs = table.map(|state| state.table().within(part.run.first(), part.run.end()));
            let set: u64 = runs.into_iter().flatten().map(|run| run.pages).sum();
            let sublet = engine.leases().parts_of(id);
            let sublet = sublet.filter_map(|(_, lease)| Some(lease.part(part.window)?.tces));
            let tces = set - sublet.sum::<u64>();
            assert_eq!(part.tces, tces, "{id}");
            assert!(tces + lease.sublet.tces <= lease.quota.tces);
            by_window.entry(part.window).and_modify(|left| *left -= tces);
        }
    }
    assert!(by_window.values().all(|left| *left == 0), "TCEs have a lease: {by_window:?}");
    for (id, region) in engine.regions().into_iter().flat_map(|regions| regions.iter()) {
        assert_eq!(region.tces, by_region.remove(&id).unwrap_or(0), "{id}");
    }
    assert!(by_region.is_empty(), "of what is gone");
}

/// What lingers is set, and no more of it than the lease may have.
#[track_caller]
fn assert_lingering(engine: &Engine<SimKernel>) {
    for (id, lease) in engine.leases().live() {
        let lingering = lease.lingering.tces();
        assert!(lingering <= lease.tces(), "{id}: {lingering} of {} linger", lease.tces());
        match lease.unmapping {
            Unmapping::Strict => assert_eq!(lingering, 0, "{id} is strict"),
            Unmapping::Deferred(deferral) => {
                assert!(lingering <= deferral.tces_max(), "{id}: {lingering} linger");
                assert_eq!(lease.lingering.due(deferral).is_some(), lingering > 0, "{id}");
            }
        }
    }
}

/// The kernel has the pieces that the engine knows, and counts as many TCEs.
#[track_caller]
fn assert_regions(machine: &SimMachine, engine: &Engine<SimKernel>) {
    let ours = engine.regions().into_iter().flat_map(|regions| regions.iter());
    let ours: Vec<_> = ours.map(|(_, region)| region).collect();
    let tces: u64 = ours.iter().map(|region| region.tces).sum();
    let pieces = ours.iter().flat_map(|region| region.registered_pieces());
    let mut pieces: Vec<_> = pieces.map(|piece| piece.range).collect();
    pieces.sort_unstable();
    let there = machine.regions();
    assert!(there.iter().all(|region| !region.has_leaked()), "{there:?}");
    let is_sure = engine.windows().all(|state| state.quarantined().next().is_none());
    let mapped: u64 = there.iter().map(|region| region.mapped).sum();
    assert!(!is_sure || mapped == tces, "the kernel counts {mapped} TCEs, not {tces}");
    assert_eq!(there.iter().map(|region| region.range).collect::<Vec<_>>(), pieces);
}

/// What is locked is the sum of what the formulas say, and of what the kernel leaked and the engine noted.
#[track_caller]
fn assert_charges(machine: &SimMachine, engine: &Engine<SimKernel>) {
    for charge in engine.charges() {
        assert!(charge.subject.is_leak() || charge.predicted == charge.charged, "{charge:?}");
    }
    let leaked = engine.charges().iter().filter(|it| it.subject == ChargeSubject::Leaked);
    let leaked = leaked.map(|charge| charge.charged.raw()).sum::<u64>();
    let regions = engine.regions().into_iter().flat_map(|regions| regions.iter());
    let regions: u64 = regions.map(|(_, region)| region.registered().raw()).sum();
    let Some(facts) = engine.facts() else {
        assert_eq!(machine.locked(), Bytes::new(leaked));
        return;
    };
    let charge = |page, size, levels| {
        facts.geometry().shape(page, size, levels).expect("the kernel made it").charge.raw()
    };
    let created = engine.windows().map(tce_engine::WindowState::window);
    let created: Vec<_> = created.filter(|window| window.origin == Origin::Created).collect();
    let tables: u64 = created.iter().map(|it| charge(it.page, it.size, it.levels)).sum();
    let there = machine.windows(ContainerFd::new(engine.descriptor()));
    let default = if there.len() > created.len() {
        charge(PageShift::K4, facts.default_window, 1)
    } else {
        0
    };
    assert_eq!(machine.locked(), Bytes::new(regions + tables + default + leaked));
}
