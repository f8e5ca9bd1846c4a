//! From what stands in a file to a whole question: what was left out gets its ordinary value.

use crate::{
    author::machine::{Machine, MachineError},
    policy::{
        BuiltIn, Question, ask,
        wit::{
            Access, AdmitQuestion, Candidate, ContainerFacts, Demand, GroupLossQuestion,
            GrowthQuestion, IovaChoice, Lease, LeaseRequest, PageChoice, PageQuestion,
            ReclaimQuestion, Region, RenewQuestion, Terms, Window, WindowQuestion,
        },
    },
};

use super::{
    Invalid, Scenario,
    file::{
        AdmitFile, DemandFile, FactsFile, GroupLeavesFile, GrowFile, LeaseFile, PageFile,
        ReclaimFile, RenewFile, RequestFile, ScenarioFile, WindowFile, WindowsFile,
    },
};

/// What time it is where a scenario does not say: any time will do, as long as it stays.
const NOW: u64 = 1_700_000_000_000;

pub(super) fn scenario(file: ScenarioFile, stem: &str) -> Result<Scenario, Invalid> {
    let ScenarioFile {
        name,
        fuel_max,
        expect,
        select_pages,
        size_windows,
        grow,
        admit,
        renew,
        reclaim,
        group_leaves,
    } = file;
    let questions = [
        select_pages.map(pages),
        size_windows.map(windows),
        grow.map(growth),
        admit.map(admission),
        renew.map(renewal),
        reclaim.map(reclamation),
        group_leaves.map(group_loss),
    ];
    let mut questions = questions.into_iter().flatten();
    let (Some(question), None) = (questions.next(), questions.next()) else {
        let problem = "a scenario has one of select-pages, size-windows, grow, admit, renew, reclaim and group-leaves";
        return Err(Invalid::new("question", problem));
    };
    let question = question?;
    let expect = expect.check(question.function())?;
    let name = name.unwrap_or_else(|| stem.to_owned());
    Ok(Scenario { name, question, expect, fuel_max })
}

fn pages(file: PageFile) -> Result<Question, Invalid> {
    let (PlacedFacts { facts, .. }, demand) = facts_and_demand(file.facts, file.demand)?;
    Ok(Question::SelectPages(PageQuestion { facts, demand, settings: file.settings }))
}

fn windows(file: WindowsFile) -> Result<Question, Invalid> {
    let (placed, demand) = facts_and_demand(file.facts, file.demand)?;
    let candidates = placed.candidates(file.candidates, |machine| machine.candidates(&demand))?;
    let PlacedFacts { facts, .. } = placed;
    let pages = match file.pages {
        Some(pages) => pages,
        None => built_in_pages(&facts, &demand)?,
    };
    let settings = file.settings;
    Ok(Question::SizeWindows(WindowQuestion { facts, demand, pages, candidates, settings }))
}

/// The pages that the built-in policy chooses.
fn built_in_pages(facts: &ContainerFacts, demand: &Demand) -> Result<Vec<PageChoice>, Invalid> {
    let question =
        PageQuestion { facts: facts.clone(), demand: demand.clone(), settings: Vec::new() };
    let why = match ask(&BuiltIn::default(), question).result {
        Ok(Ok(pages)) => return Ok(pages),
        Ok(Err(refusal)) => refusal.detail,
        Err(broken) => broken.to_string(),
    };
    let problem = format!("say the pages: the built-in policy, which else chooses them: {why}");
    Err(Invalid::new("size-windows.pages", problem))
}

fn growth(file: GrowFile) -> Result<Question, Invalid> {
    let placed = PlacedFacts::new(file.facts, slots_of(&file.windows), 0)?;
    let size = file.size.0;
    let candidates =
        placed.candidates(file.candidates, |machine| machine.candidates_to_grow(size))?;
    let facts = placed.facts;
    let now = file.now.unwrap_or(NOW);
    let windows = all_windows(&facts, file.windows);
    let lease = lease(&windows, file.lease, 1, now)?;
    let leases = with_lease(&windows, file.leases, &lease, now)?;
    let settings = file.settings;
    Ok(Question::Grow(GrowthQuestion {
        facts,
        windows,
        lease,
        size,
        candidates,
        leases,
        now,
        settings,
    }))
}

fn admission(file: AdmitFile) -> Result<Question, Invalid> {
    let facts = PlacedFacts::new(file.facts, slots_of([&file.window]), 0)?.facts;
    let now = file.now.unwrap_or(NOW);
    let window = window(&facts, file.window);
    let request = request(file.request, &window);
    let leases = leases(std::slice::from_ref(&window), file.leases.unwrap_or_default(), now)?;
    let settings = file.settings;
    Ok(Question::Admit(AdmitQuestion { facts, window, request, leases, now, settings }))
}

fn renewal(file: RenewFile) -> Result<Question, Invalid> {
    let facts = PlacedFacts::new(file.facts, slots_of([&file.window]), 0)?.facts;
    let now = file.now.unwrap_or(NOW);
    let window = window(&facts, file.window);
    let windows = std::slice::from_ref(&window);
    let lease = lease(windows, file.lease, 1, now)?;
    let leases = with_lease(windows, file.leases, &lease, now)?;
    let (duration, settings) = (file.duration, file.settings);
    Ok(Question::Renew(RenewQuestion { facts, window, lease, duration, leases, now, settings }))
}

fn reclamation(file: ReclaimFile) -> Result<Question, Invalid> {
    let facts = PlacedFacts::new(file.facts, slots_of(&file.windows), 0)?.facts;
    let now = file.now.unwrap_or(NOW);
    let windows = all_windows(&facts, file.windows);
    let waited_for = match file.window {
        Some(file) => window(&facts, file),
        None => windows.first().ok_or_else(|| no_window("reclaim.windows"))?.clone(),
    };
    Ok(Question::Reclaim(ReclaimQuestion {
        request: request(file.request, &waited_for),
        window: waited_for,
        leases: leases(&windows, file.leases, now)?,
        shortage: file.shortage,
        wanted: file.wanted.0,
        settings: file.settings,
        facts,
        windows,
        now,
    }))
}

fn group_loss(file: GroupLeavesFile) -> Result<Question, Invalid> {
    let facts = PlacedFacts::new(file.facts, slots_of(&file.windows), 0)?.facts;
    let now = file.now.unwrap_or(NOW);
    let windows = all_windows(&facts, file.windows);
    Ok(Question::GroupLeaves(GroupLossQuestion {
        leases: leases(&windows, file.leases, now)?,
        group: file.group,
        settings: file.settings,
        facts,
        windows,
        now,
    }))
}

/// Facts, and the machine that they are of, where there is one.
struct PlacedFacts {
    facts: ContainerFacts,
    machine: Option<Machine>,
}

impl PlacedFacts {
    fn new(file: FactsFile, taken: Vec<u8>, charged: u64) -> Result<Self, Invalid> {
        let machine = file.machine.as_deref().map(Machine::named).transpose();
        let machine =
            machine.map_err(|error: MachineError| Invalid::new("facts", error.to_string()))?;
        let machine = machine.map(|machine| machine.with_windows(taken));
        let of_machine = machine.as_ref().map(|machine| machine.facts(charged));
        Ok(Self { facts: facts(file, of_machine)?, machine })
    }

    /// The candidates of the file, else those of the machine.
    fn candidates(
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

fn facts_and_demand(
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

fn slots_of<'a>(windows: impl IntoIterator<Item = &'a WindowFile>) -> Vec<u8> {
    windows.into_iter().map(|window| window.slot.unwrap_or(0)).collect()
}

fn all_windows(facts: &ContainerFacts, files: Vec<WindowFile>) -> Vec<Window> {
    files.into_iter().map(|file| window(facts, file)).collect()
}

fn window(facts: &ContainerFacts, file: WindowFile) -> Window {
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

fn request(file: RequestFile, window: &Window) -> LeaseRequest {
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

fn no_window(place: &str) -> Invalid {
    Invalid::new(place, "there is none: say slot, page and size of one at least")
}

fn leases(windows: &[Window], files: Vec<LeaseFile>, now: u64) -> Result<Vec<Lease>, Invalid> {
    files.into_iter().zip(1u64..).map(|(file, place)| lease(windows, file, place, now)).collect()
}

/// The leases, or else the one that the question is about.
fn with_lease(
    windows: &[Window],
    files: Option<Vec<LeaseFile>>,
    lease: &Lease,
    now: u64,
) -> Result<Vec<Lease>, Invalid> {
    files.map_or_else(|| Ok(vec![lease.clone()]), |files| leases(windows, files, now))
}

fn lease(windows: &[Window], file: LeaseFile, place: u64, now: u64) -> Result<Lease, Invalid> {
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
