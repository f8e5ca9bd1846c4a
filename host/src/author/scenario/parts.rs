//! Parts of questions, from what stands in a file: facts, demands, windows, requests, leases.

use crate::{
    author::machine::{Machine, MachineError},
    policy::wit::{
        Access, Candidate, ContainerFacts, Demand, IovaChoice, Lease, LeaseRequest, Region, Terms,
        Window,
    },
};

use super::{
    Invalid,
    file::{DemandFile, FactsFile, LeaseFile, RequestFile, WindowFile},
};

/// Facts, and the machine that they are of, where there is one.
pub(super) struct PlacedFacts {
    pub(super) facts: ContainerFacts,
    machine: Option<Machine>,
}

impl PlacedFacts {
    pub(super) fn new(file: FactsFile, taken: Vec<u8>, charged: u64) -> Result<Self, Invalid> {
        let machine = file.machine.as_deref().map(Machine::named).transpose();
        let machine =
            machine.map_err(|error: MachineError| Invalid::new("facts", error.to_string()))?;
        let machine = machine.map(|machine| machine.with_windows(taken));
        let of_machine = machine.as_ref().map(|machine| machine.facts(charged));
        Ok(Self { facts: facts(file, of_machine)?, machine })
    }

    /// The candidates of the file, else those of the machine.
    pub(super) fn candidates(
        &self,
        given: Option<Vec<Candidate>>,
        listed: impl FnOnce(&Machine) -> Vec<Candidate>,
    ) -> Result<Vec<Candidate>, Invalid> {
        let candidates = given.or_else(|| self.machine.as_ref().map(listed));
        let problem = "list them, or name a simulated machine as the facts, which knows them";
        candidates.ok_or_else(|| Invalid::new("candidates", problem))
    }
}

/// Each fact that the file has, else the machine's.
fn facts(file: FactsFile, machine: Option<ContainerFacts>) -> Result<ContainerFacts, Invalid> {
    let missing = |key: &str| {
        let problem = "say it, or name a simulated machine: facts = \"powernv9\"";
        Invalid::new(&format!("facts.{key}"), problem)
    };
    let m = machine.as_ref();
    Ok(ContainerFacts {
        platform: file.platform.or(m.map(|m| m.platform)).ok_or_else(|| missing("platform"))?,
        system_page: file
            .system_page
            .or(m.map(|m| m.system_page))
            .ok_or_else(|| missing("system-page"))?,
        page_shifts: file
            .page_shifts
            .map(|pages| pages.0)
            .or(m.map(|m| m.page_shifts.clone()))
            .ok_or_else(|| missing("page-shifts"))?,
        slots: file.slots.or(m.map(|m| m.slots.clone())).ok_or_else(|| missing("slots"))?,
        levels_max: file
            .levels_max
            .or(m.map(|m| m.levels_max))
            .ok_or_else(|| missing("levels-max"))?,
        reserved_ranges: file
            .reserved_ranges
            .or(m.map(|m| m.reserved_ranges.clone()))
            .unwrap_or_default(),
        locked_memory: file
            .locked_memory
            .or(m.map(|m| m.locked_memory))
            .ok_or_else(|| missing("locked-memory"))?,
        groups: file.groups.or(m.map(|m| m.groups.clone())).unwrap_or_else(|| vec![1]),
        hints: file.hints,
    })
}

pub(super) fn facts_and_demand(
    facts: FactsFile,
    demand: DemandFile,
) -> Result<(PlacedFacts, Demand), Invalid> {
    let sizes = demand.regions.iter().map(|region| region.size);
    let placed = PlacedFacts::new(facts, Vec::new(), sizes.fold(0, u64::saturating_add))?;
    let system_page = placed.facts.system_page;
    let regions = demand.regions.into_iter().zip(0u32..).map(|(file, place)| {
        let id = file.id.unwrap_or(place);
        let backing = file.backing.unwrap_or(system_page);
        Region {
            id,
            name: file.name.unwrap_or_else(|| format!("region-{id}")),
            size: file.size,
            backing,
            granule: file.granule.unwrap_or(backing),
            access: file.access.unwrap_or(Access::ReadWrite),
            at: file.at,
            hints: file.hints,
        }
    });
    let demand = Demand {
        regions: regions.collect(),
        growth: demand.growth.unwrap_or(0),
        device_mask: demand.device_mask.unwrap_or(u64::MAX),
        iova_choice: demand.iova_choice.unwrap_or(IovaChoice::Engine),
        hints: demand.hints,
    };
    Ok((placed, demand))
}

pub(super) fn slots_of<'a>(windows: impl IntoIterator<Item = &'a WindowFile>) -> Vec<u8> {
    windows.into_iter().map(|window| window.slot.unwrap_or(0)).collect()
}

pub(super) fn all_windows(facts: &ContainerFacts, files: Vec<WindowFile>) -> Vec<Window> {
    files.into_iter().map(|file| window(facts, file)).collect()
}

pub(super) fn window(facts: &ContainerFacts, file: WindowFile) -> Window {
    let slot = file.slot.unwrap_or(0);
    let start = facts.slots.iter().find(|each| each.slot == slot).map(|each| each.start);
    Window {
        slot,
        start: file.start.or(start).unwrap_or(0),
        size: file.size,
        page: file.page,
        levels: file.levels.unwrap_or(1),
        unleased: file.unleased.unwrap_or(file.size),
        hints: file.hints,
    }
}

pub(super) fn request(file: RequestFile, window: &Window) -> LeaseRequest {
    LeaseRequest {
        holder: file.holder.unwrap_or_else(|| "somebody".to_owned()),
        size: file.size,
        access: file.access.unwrap_or(Access::ReadWrite),
        tces: file.tces.unwrap_or_else(|| pages_of(file.size, window)),
        memory: file.memory.unwrap_or(file.size),
        duration: file.duration,
        hints: file.hints,
    }
}

fn pages_of(size: u64, window: &Window) -> u64 {
    size.checked_shr(window.page.into()).unwrap_or(0)
}

pub(super) fn no_window(place: &str) -> Invalid {
    Invalid::new(place, "there is none: say slot, page and size of one at least")
}

pub(super) fn leases(
    windows: &[Window],
    files: Vec<LeaseFile>,
    now: u64,
) -> Result<Vec<Lease>, Invalid> {
    files.into_iter().zip(1u64..).map(|(file, place)| lease(windows, file, place, now)).collect()
}

/// The leases, or else the one that the question is about.
pub(super) fn with_lease(
    windows: &[Window],
    files: Option<Vec<LeaseFile>>,
    lease: &Lease,
    now: u64,
) -> Result<Vec<Lease>, Invalid> {
    files.map_or_else(|| Ok(vec![lease.clone()]), |files| leases(windows, files, now))
}

pub(super) fn lease(
    windows: &[Window],
    file: LeaseFile,
    place: u64,
    now: u64,
) -> Result<Lease, Invalid> {
    let first = windows.first().ok_or_else(|| no_window("windows"))?;
    let slot = file.slot.unwrap_or(first.slot);
    let window = windows.iter().find(|window| window.slot == slot).unwrap_or(first);
    let all = Terms {
        access: Access::ReadWrite,
        tces_max: pages_of(file.size, window),
        pinned_max: None,
        edits_per_second: None,
        expires: None,
    };
    Ok(Lease {
        id: file.id.unwrap_or(place),
        holder: file.holder.unwrap_or_else(|| "somebody".to_owned()),
        slot,
        start: file.start.unwrap_or(window.start),
        size: file.size,
        terms: file.terms.unwrap_or(all),
        since: file.since.unwrap_or(now),
        tces: file.tces.unwrap_or(0),
        pinned: file.pinned.unwrap_or(0),
        hints: file.hints,
    })
}
