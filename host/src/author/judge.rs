//! Whether an answer would be accepted: the checks of [`grant`], and of the engine's those that need no engine.

use serde::{Serialize, de::DeserializeOwned};
use tce_engine::{
    Error,
    addr::{Bytes, Iova},
    layout::LayoutRefusal,
};
use tce_policy_sdk::{types as sdk, window_sizing as sdk_windows};

use crate::{
    grant::{self, Rejection},
    policy::{
        Answer, Question,
        wit::{Candidate, Platform, SlotUse, WindowChoice, WindowQuestion},
    },
};

/// Checks any answer to any question. A refusal is always acceptable, except where there is none in the WIT.
///
/// # Errors
/// Why the answer would not be carried out.
pub fn judge(question: &Question, answer: &Answer) -> Result<(), Rejection> {
    match (question, answer) {
        (Question::SelectPages(question), Answer::Pages(answer)) => {
            grant::pages(question, answer).map(drop)
        }
        (Question::SizeWindows(question), Answer::Windows(answer)) => {
            grant::layout(question, answer)?;
            layout(question, answer)
        }
        (Question::Grow(question), Answer::Window(answer)) => {
            grant::growth(question, answer).map(drop)
        }
        (Question::Admit(question), Answer::Terms(answer)) => {
            grant::terms(question, answer).map(drop)
        }
        (Question::Renew(question), Answer::Terms(answer)) => {
            grant::renewal(question, answer).map(drop)
        }
        (Question::Reclaim(question), Answer::Leases(answer)) => {
            grant::leases(&question.leases, answer).map(drop)
        }
        (Question::GroupLeaves(question), Answer::Leases(answer)) => {
            grant::leases(&question.leases, answer).map(drop)
        }
        (Question::Reclaim(_) | Question::GroupLeaves(_), _) | (_, Answer::Leases(_)) => {
            other(question)
        }
        (_, Answer::Refused(_)) => Ok(()),
        _ => other(question),
    }
}

fn other(question: &Question) -> Result<(), Rejection> {
    Err(Rejection::Nonsense(format!("it is no answer to {}", question.function())))
}

/// What the engine checks of a layout of candidates, as far as the question tells: how many windows, where, and
/// whether what shall be in them has room.
fn layout(question: &WindowQuestion, answer: &[WindowChoice]) -> Result<(), Rejection> {
    if answer.is_empty() || answer.len() > 2 {
        return refused(LayoutRefusal::WindowCount(answer.len()));
    }
    if answer.len() == 2 && answer[0].slot == answer[1].slot {
        return refused(LayoutRefusal::SlotTaken(answer[0].slot));
    }
    let dynamic = answer
        .iter()
        .filter_map(|it| named(question, it))
        .filter(|it| question.facts.platform == Platform::Pseries && it.start != 0);
    if dynamic.count() > 1 {
        return refused(LayoutRefusal::TwoDynamicWindows);
    }
    let first_slot_free =
        question.facts.slots.iter().any(|slot| slot.slot == 0 && slot.holds == SlotUse::Free);
    if first_slot_free && answer.iter().all(|choice| choice.slot != 0) {
        return refused(LayoutRefusal::FirstSlotEmpty);
    }
    answer.iter().try_for_each(|choice| room(question, choice))
}

fn refused(refusal: LayoutRefusal) -> Result<(), Rejection> {
    Err(Error::from(refusal).into())
}

fn named<'a>(question: &'a WindowQuestion, choice: &WindowChoice) -> Option<&'a Candidate> {
    let numbers = |it: &Candidate| (it.slot, it.page, it.size, it.levels, it.origin);
    let wanted = (choice.slot, choice.page, choice.size, choice.levels, choice.origin);
    question.candidates.iter().find(|it| numbers(it) == wanted)
}

/// Whether a window holds its regions.
fn room(question: &WindowQuestion, choice: &WindowChoice) -> Result<(), Rejection> {
    let Some(candidate) = named(question, choice) else { return Ok(()) };
    let page = tce_policy_sdk::page_bytes(candidate.page);
    let facts: sdk::ContainerFacts = convert(&question.facts)?;
    let window: sdk_windows::Candidate = convert(candidate)?;
    let mut regions: Vec<sdk::Region> = Vec::new();
    for region in question.demand.regions.iter().filter(|it| choice.regions.contains(&it.id)) {
        let mut region: sdk::Region = convert(region)?;
        region.size = region.size.checked_next_multiple_of(page).unwrap_or(u64::MAX);
        let (start, size) = (Iova::new(window.start), Bytes::new(window.size));
        if let Some(at) = region.at.filter(|at| !at.is_multiple_of(page)) {
            return refused(LayoutRefusal::Unreachable { at: Iova::new(at), start, size });
        }
        regions.push(region);
    }
    let all: Vec<&sdk::Region> = regions.iter().collect();
    if window.holds(&facts, &all, 0) {
        return Ok(());
    }
    let needed = regions.iter().map(|it| it.size).fold(0, u64::saturating_add);
    let (needed, size, usable) = (needed, window.size, window.room(&facts));
    let [needed, size, usable] = [needed, size, usable].map(Bytes::new);
    refused(LayoutRefusal::NoRoom { needed, size, usable })
}

/// The same value in the other crate's type. Both come from one WIT file.
fn convert<From: Serialize, To: DeserializeOwned>(from: &From) -> Result<To, Rejection> {
    let converted = serde_json::to_value(from).and_then(serde_json::from_value);
    converted.map_err(|error| Rejection::Nonsense(error.to_string()))
}
