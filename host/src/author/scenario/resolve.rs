//! From what stands in a file to a whole question: what was left out gets its ordinary value.

use crate::policy::{
    BuiltIn, Question, ask,
    wit::{
        AdmitQuestion, ContainerFacts, Demand, GroupLossQuestion, GrowthQuestion, PageChoice,
        PageQuestion, ReclaimQuestion, RenewQuestion, WindowQuestion,
    },
};

use super::{
    Invalid, Scenario,
    file::{
        AdmitFile, GroupLeavesFile, GrowFile, PageFile, ReclaimFile, RenewFile, ScenarioFile,
        WindowsFile,
    },
    parts::{
        PlacedFacts, all_windows, facts_and_demand, lease, leases, no_window, request, slots_of,
        window, with_lease,
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
