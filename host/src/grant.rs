//! From what a policy answers to what the engine may do. An answer is advice; what passes here and the engine's own
//! check is a grant.

use tce_engine::{
    Error,
    addr::{Bytes, Iova, PageShift},
    facts::Slot,
    layout::{Need, WindowChoice},
    lease::Timestamp,
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

/// Checks an answer to `page-selection`.
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
    for region in choice.regions.iter().filter_map(|id| find(&question.demand, *id)) {
        if region.backing < choice.page {
            return nonsense(format!(
                "region {} is backed by pages of shift {}, too small for {page} TCEs",
                region.id, region.backing
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

/// Reads an answer to `window-sizing`.
///
/// # Errors
/// What is wrong with it, as far as it can be seen without the engine.
pub fn layout(
    demand: &wit::Demand,
    answer: &[wit::WindowChoice],
) -> Result<WantedLayout, Rejection> {
    let listed: Vec<&[u32]> = answer.iter().map(|choice| choice.regions.as_slice()).collect();
    check_complete(demand, &listed)?;
    Ok(WantedLayout {
        choices: answer.iter().map(|choice| window(demand, choice)).collect::<Result<_, _>>()?,
        regions: answer.iter().map(|choice| indices(demand, &choice.regions)).collect(),
    })
}

fn window(demand: &wit::Demand, choice: &wit::WindowChoice) -> Result<WindowChoice, Rejection> {
    let Some(slot) = Slot::numbered(choice.slot) else {
        return nonsense(format!("there is no slot {}", choice.slot));
    };
    let Some(page) = PageShift::new(choice.page) else {
        return nonsense(format!("no window has pages of shift {}", choice.page));
    };
    if choice.regions.is_empty() {
        return nonsense(format!("the window in slot {} is for no region", choice.slot));
    }
    let regions = choice.regions.iter().filter_map(|id| find(demand, *id));
    let needs = regions.map(need).collect::<Result<_, _>>()?;
    Ok(WindowChoice { slot, page, size: Bytes::new(choice.size), levels: choice.levels, needs })
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
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
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
    let pages = question.request.size.checked_shr(question.window.page.into()).unwrap_or(0);
    if answer.tces_max == 0 || answer.tces_max > pages {
        return nonsense(format!("{} TCEs for a lease that has {pages}", answer.tces_max));
    }
    if let Some(at) = answer.expires.filter(|at| *at <= question.now) {
        return nonsense(format!("an end at {at}, when it is {} already", question.now));
    }
    Ok(Terms { access, tces_max: answer.tces_max, expires: answer.expires.map(Timestamp) })
}
