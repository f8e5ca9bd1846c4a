//! From what a policy answers to what the engine may do. An answer is advice; what passes here and the engine's own
//! check is a grant.

use std::{collections::BTreeSet, num::NonZeroU32};

use tce_engine::{
    Error,
    addr::{Bytes, Iova, PageShift},
    facts::Slot,
    layout::{LayoutRefusal, Need, WindowChoice},
    lease::{Quota, Timestamp},
};
use thiserror::Error as ThisError;

use crate::{policy::wit, question::engine_access};

/// Why an answer is not carried out.
#[derive(Debug, ThisError)]
pub enum Rejection {
    /// It is no answer to the question.
    #[error("{0}")]
    Nonsense(String),
    /// The engine refuses it.
    #[error("{0}")]
    Refused(#[from] Error),
}

fn nonsense<T>(what: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::Nonsense(what.into()))
}

/// A page size for some regions, which are given by their place in the demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageGroup {
    /// The page.
    pub page: PageShift,
    /// The regions.
    pub regions: Vec<usize>,
}

/// Checks an answer to `select-pages`.
///
/// # Errors
/// What is wrong with it.
pub fn pages(
    question: &wit::PageQuestion,
    answer: &[wit::PageChoice],
) -> Result<Vec<PageGroup>, Rejection> {
    let windows_max = question.facts.slots.len();
    if answer.is_empty() || answer.len() > windows_max {
        return nonsense(format!("{} page sizes, where 1 to {windows_max} can be", answer.len()));
    }
    let listed: Vec<&[u32]> = answer.iter().map(|choice| choice.regions.as_slice()).collect();
    check_complete(&question.demand, &listed)?;
    answer.iter().map(|choice| page_group(question, choice)).collect()
}

fn page_group(
    question: &wit::PageQuestion,
    choice: &wit::PageChoice,
) -> Result<PageGroup, Rejection> {
    let offered = question.facts.page_shifts.contains(&choice.page);
    let Some(page) = PageShift::new(choice.page).filter(|_| offered) else {
        return nonsense(format!("no window has pages of shift {}", choice.page));
    };
    if choice.regions.is_empty() {
        return nonsense(format!("the choice of {page} pages is for no region"));
    }
    for region in choice.regions.iter().filter_map(|id| find(&question.demand, *id)) {
        if region.backing < choice.page {
            return nonsense(format!(
                "region {} is backed by pages of shift {}, too small for {page} TCEs",
                region.id, region.backing
            ));
        }
        if region.granule < choice.page {
            return nonsense(format!(
                "pieces of region {} are mapped by themselves that {page} TCEs cannot map",
                region.id
            ));
        }
    }
    Ok(PageGroup { page, regions: indices(&question.demand, &choice.regions) })
}

fn find(demand: &wit::Demand, id: u32) -> Option<&wit::Region> {
    demand.regions.iter().find(|region| region.id == id)
}

fn indices(demand: &wit::Demand, ids: &[u32]) -> Vec<usize> {
    ids.iter().filter_map(|id| demand.regions.iter().position(|it| it.id == *id)).collect()
}

/// Each region of the demand must stand exactly once.
fn check_complete(demand: &wit::Demand, listed: &[&[u32]]) -> Result<(), Rejection> {
    let mut ids: Vec<u32> = listed.iter().flat_map(|ids| ids.iter().copied()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return nonsense(format!("region {} stands twice", twice[0]));
    }
    if let Some(unknown) = ids.iter().find(|id| find(demand, **id).is_none()) {
        return nonsense(format!("there is no region {unknown}"));
    }
    match demand.regions.iter().find(|region| ids.binary_search(&region.id).is_err()) {
        Some(missing) => nonsense(format!("region {} is left out", missing.id)),
        None => Ok(()),
    }
}

/// A layout as a policy wants it; the engine has yet to grant it.
#[derive(Clone, Debug)]
pub struct WantedLayout {
    /// The windows, for the engine.
    pub choices: Vec<WindowChoice>,
    /// Each window's regions, by their place in the demand.
    pub regions: Vec<Vec<usize>>,
}

/// Checks an answer to `size-windows`, as far as that needs no engine: slots, room and reserved ranges are the
/// engine's.
///
/// # Errors
/// What is wrong with it.
pub fn layout(
    question: &wit::WindowQuestion,
    answer: &[wit::WindowChoice],
) -> Result<WantedLayout, Rejection> {
    let demand = &question.demand;
    let listed: Vec<&[u32]> = answer.iter().map(|choice| choice.regions.as_slice()).collect();
    check_complete(demand, &listed)?;
    let chosen = answer.iter().map(|choice| candidate(question, choice));
    let chosen: Vec<&wit::Candidate> = chosen.collect::<Result<_, _>>()?;
    check_charge(&question.facts, charge_of(question, &chosen))?;
    Ok(WantedLayout {
        choices: answer.iter().map(|choice| window(question, choice)).collect::<Result<_, _>>()?,
        regions: answer.iter().map(|choice| indices(demand, &choice.regions)).collect(),
    })
}

/// The candidate that a choice names.
fn candidate<'a>(
    question: &'a wit::WindowQuestion,
    choice: &wit::WindowChoice,
) -> Result<&'a wit::Candidate, Rejection> {
    let numbers = (choice.slot, choice.page, choice.size, choice.levels);
    let alike = |it: &&wit::Candidate| (it.slot, it.page, it.size, it.levels) == numbers;
    let mut alike = question.candidates.iter().filter(alike);
    let named = alike.clone().find(|it| it.origin == choice.origin);
    match named.ok_or_else(|| alike.next().map(|it| it.origin)) {
        Ok(candidate) => Ok(candidate),
        Err(Some(wit::Origin::DefaultWindow)) => nonsense(format!(
            "the window of {} in slot {} is the default one, and not to be created",
            Bytes::new(choice.size),
            choice.slot
        )),
        Err(Some(wit::Origin::Created)) => nonsense(format!(
            "the window of {} in slot {} is to be created, and not the default one",
            Bytes::new(choice.size),
            choice.slot
        )),
        Err(None) => nonsense(format!(
            "no candidate is of {} in pages of shift {} with {} level(s) in slot {}",
            Bytes::new(choice.size),
            choice.page,
            choice.levels,
            choice.slot
        )),
    }
}

/// What the windows of a layout add to the locked memory.
fn charge_of(question: &wit::WindowQuestion, chosen: &[&wit::Candidate]) -> wit::Bytes {
    let total = chosen.iter().map(|it| it.charge).fold(0, u64::saturating_add);
    // A candidate for slot 1 counts the default window, which a window in slot 0 replaces.
    let default = question.candidates.iter().find(|it| it.origin == wit::Origin::DefaultWindow);
    let twice = default.filter(|_| chosen.len() > 1).map_or(0, |default| default.charge);
    total.saturating_sub(twice)
}

/// The tables must fit what the memory of the demand leaves. That memory is registered after them, so the engine does
/// not see it yet.
fn check_charge(facts: &wit::ContainerFacts, needed: wit::Bytes) -> Result<(), Rejection> {
    let wit::LockedMemory { limit: Some(limit), charged } = facts.locked_memory else {
        return Ok(());
    };
    if charged.saturating_add(needed) <= limit {
        return Ok(());
    }
    let [needed, charged, limit] = [needed, charged, limit].map(Bytes::new);
    Err(Error::from(LayoutRefusal::LockedMemory { needed, charged, limit }).into())
}

fn window(
    question: &wit::WindowQuestion,
    choice: &wit::WindowChoice,
) -> Result<WindowChoice, Rejection> {
    let Some(slot) = Slot::numbered(choice.slot) else {
        return nonsense(format!("there is no slot {}", choice.slot));
    };
    let Some(page) = PageShift::new(choice.page) else {
        return nonsense(format!("no window has pages of shift {}", choice.page));
    };
    if choice.regions.is_empty() {
        return nonsense(format!("the window in slot {} is for no region", choice.slot));
    }
    check_page(question, choice)?;
    let regions = choice.regions.iter().filter_map(|id| find(&question.demand, *id));
    let needs = regions.map(need).collect::<Result<_, _>>()?;
    let (size, levels) = (Bytes::new(choice.size), choice.levels);
    Ok(WindowChoice { slot, page, size, fallback: None, levels, needs })
}

/// A window's page must be the one that was chosen for each of its regions.
fn check_page(question: &wit::WindowQuestion, choice: &wit::WindowChoice) -> Result<(), Rejection> {
    for pages in question.pages.iter().filter(|pages| pages.page != choice.page) {
        if let Some(id) = choice.regions.iter().find(|id| pages.regions.contains(id)) {
            return nonsense(format!(
                "region {id} is in a window with pages of shift {}, and {} was chosen for it",
                choice.page, pages.page
            ));
        }
    }
    Ok(())
}

/// What a region needs of a window.
///
/// # Errors
/// If its backing is no page size.
pub fn need(region: &wit::Region) -> Result<Need, Rejection> {
    let Some(backing) = PageShift::new(region.backing) else {
        return nonsense(format!("pages of shift {} do not exist", region.backing));
    };
    Ok(Need { size: Bytes::new(region.size), backing, at: region.at.map(Iova::new) })
}

/// What a lease may do, checked against what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What its mappings may allow.
    pub access: tce_engine::access::Access,
    /// The most TCEs that may be set at once.
    pub tces_max: u64,
    /// The most memory that may be registered for it.
    pub pinned_max: Option<Bytes>,
    /// The most edits in a second.
    pub edits_per_second: Option<NonZeroU32>,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

impl Terms {
    /// What the lease may use.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        Quota {
            tces: self.tces_max,
            pinned: self.pinned_max,
            edits_per_second: self.edits_per_second,
        }
    }
}

/// Checks an answer to `lease-policy`'s `admit`.
///
/// # Errors
/// What is wrong with it.
pub fn terms(question: &wit::AdmitQuestion, answer: &wit::Terms) -> Result<Terms, Rejection> {
    let asked = engine_access(question.request.access);
    let access = engine_access(answer.access);
    if !asked.includes(access) {
        return nonsense(format!("{access} access, where {asked} was asked for"));
    }
    check_terms(answer, question.request.size, question.window.page, question.now)
}

/// What holds for the terms of every lease of this size, in a window with this page.
fn check_terms(
    answer: &wit::Terms,
    size: wit::Bytes,
    page: wit::PageShift,
    now: wit::Instant,
) -> Result<Terms, Rejection> {
    let access = engine_access(answer.access);
    let pages = size.checked_shr(page.into()).unwrap_or(0);
    if answer.tces_max == 0 || answer.tces_max > pages {
        return nonsense(format!("{} TCEs for a lease that has {pages}", answer.tces_max));
    }
    let edits_per_second = answer.edits_per_second.map(NonZeroU32::new);
    if edits_per_second == Some(None) {
        return nonsense("0 edits in a second, which allows nothing");
    }
    if let Some(at) = answer.expires.filter(|at| *at <= now) {
        return nonsense(format!("an end at {at}, when it is {now} already"));
    }
    Ok(Terms {
        access,
        tces_max: answer.tces_max,
        pinned_max: answer.pinned_max.map(Bytes::new),
        edits_per_second: edits_per_second.flatten(),
        expires: answer.expires.map(Timestamp),
    })
}

/// Checks an answer to `lease-policy`'s `renew`.
///
/// # Errors
/// What is wrong with it.
pub fn renewal(question: &wit::RenewQuestion, answer: &wit::Terms) -> Result<Terms, Rejection> {
    let lease = &question.lease;
    if answer.access != lease.terms.access {
        let [has, wants] = [lease.terms.access, answer.access].map(engine_access);
        return nonsense(format!("{wants} access, and a renewal leaves it at {has}"));
    }
    if answer.tces_max < lease.tces {
        return nonsense(format!("{} TCEs, where {} are set", answer.tces_max, lease.tces));
    }
    if let Some(max) = answer.pinned_max.filter(|max| *max < lease.pinned) {
        let [max, pinned] = [max, lease.pinned].map(Bytes::new);
        return nonsense(format!("{max} of memory, where {pinned} are registered"));
    }
    check_terms(answer, lease.size, question.window.page, question.now)
}

/// Checks an answer to `window-sizing`'s `grow`: one of the candidates, unchanged, whose charge fits.
///
/// # Errors
/// What is wrong with it.
pub fn growth(
    question: &wit::GrowthQuestion,
    answer: &wit::Candidate,
) -> Result<WindowChoice, Rejection> {
    if !question.candidates.contains(answer) {
        return nonsense(format!(
            "a window of {} in pages of shift {} with {} level(s) in slot {}, which is none of the \
             candidates as they are",
            Bytes::new(answer.size),
            answer.page,
            answer.levels,
            answer.slot
        ));
    }
    check_charge(&question.facts, answer.charge)?;
    let place = Slot::numbered(answer.slot).zip(PageShift::new(answer.page));
    let Some((slot, page)) = place else { return nonsense("a candidate that cannot be") };
    let (size, levels) = (Bytes::new(answer.size), answer.levels);
    let needs = vec![Need { size: Bytes::new(question.size), backing: PageShift::K4, at: None }];
    Ok(WindowChoice { slot, page, size, fallback: None, levels, needs })
}

/// Checks an answer to `lease-policy`'s `reclaim` or `group-leaves`: each of the leases at most once.
///
/// # Errors
/// What is wrong with it.
pub fn leases(
    there: &[wit::Lease],
    answer: &[wit::LeaseId],
) -> Result<Vec<wit::LeaseId>, Rejection> {
    let mut seen = BTreeSet::new();
    for id in answer {
        if !there.iter().any(|lease| lease.id == *id) {
            return nonsense(format!("there is no lease {id}"));
        }
        if !seen.insert(*id) {
            return nonsense(format!("lease {id} stands twice"));
        }
    }
    Ok(answer.to_vec())
}

#[cfg(test)]
mod tests;
