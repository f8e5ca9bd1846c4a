//! Which window the guest gets is a policy's decision: a component's, or the built-in one's.

use anyhow::{Context, Result, bail};
use tce_engine::{
    Engine, LayoutGrant,
    addr::{Bytes, Iova, PageShift},
    kernel::{GroupNumber, Kernel},
    layout::CandidateQuery,
    lease::Timestamp,
};
use tce_host::{
    decide::{Decided, Policies, Verdict},
    grant,
    policy::wit,
    question,
};

/// What the guest needs: all of its memory, at bus addresses that it chooses itself.
fn demand(memory: Bytes, backing: PageShift) -> wit::Demand {
    wit::Demand {
        regions: vec![wit::Region {
            id: 0,
            name: "guest-ram".to_owned(),
            size: memory.raw(),
            backing: backing.raw(),
            granule: backing.raw(),
            access: wit::Access::ReadWrite,
            at: None,
            hints: Vec::new(),
        }],
        growth: 0,
        device_mask: u64::MAX,
        iova_choice: wit::IovaChoice::Holder,
        hints: Vec::new(),
    }
}

/// Asks for the page and for the window, and has the engine check what is answered. Says who decided.
pub(crate) fn window<K: Kernel>(
    engine: &mut Engine<K>,
    policies: &Policies,
    groups: &[GroupNumber],
    memory: Bytes,
    backing: PageShift,
    now: Timestamp,
) -> Result<(LayoutGrant, String)> {
    let locked = engine.locked()?.locked;
    let layouts = engine.layouts().context("a group is attached")?;
    let facts = question::container_facts(&layouts, groups, locked.saturating_add(memory));
    let device_mask = Iova::new(u64::MAX);
    let query =
        CandidateQuery { size_min: memory, size_max: memory.saturating_add(memory), device_mask };
    let candidates = question::candidates(&layouts.candidates(&query));
    let demand = demand(memory, backing);
    let pages = wit::PageQuestion { facts, demand, settings: Vec::new() };
    let (facts, demand) = (pages.facts.clone(), pages.demand.clone());
    let check = |question: &wit::PageQuestion, answer: &Vec<wit::PageChoice>| {
        grant::pages(question, answer).map(|_| answer.clone())
    };
    let (pages, _) =
        granted(policies.decide("pages", now, pages, check, |answer| format!("{answer:?}")))?;
    let sizing = wit::WindowQuestion { facts, demand, pages, candidates, settings: Vec::new() };
    let check = |question: &wit::WindowQuestion, answer: &Vec<wit::WindowChoice>| {
        Ok(engine.grant_layout(&grant::layout(question, answer)?.choices)?)
    };
    granted(policies.decide("windows", now, sizing, check, |answer| format!("{answer:?}")))
}

/// A no is a decision. An answer that cannot be carried out is not: then the built-in policy was asked, too.
fn granted<G>(decided: Decided<G>) -> Result<(G, String)> {
    match decided.verdict {
        Ok(Verdict::Granted(grant)) => Ok((grant, decided.entry.decided_by)),
        Ok(Verdict::Denied(refusal)) => bail!("the policy refuses: {}", refusal.detail),
        Err(rejection) => Err(rejection.into()),
    }
}
