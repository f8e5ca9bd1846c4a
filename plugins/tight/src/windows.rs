//! The smallest window that covers the demand and its growth.
//!
//! Of the candidates that hold the regions, the smallest is taken; among equals the one with the fewest levels, then
//! the least charge, then the lower slot. A candidate whose charge goes beyond the locked-memory limit is not taken.
//!
//! This policy's own page selection makes one choice. Where another policy's made two, each gets a window of its own,
//! the growth belongs to the one with the larger page, and the pair with the least size together wins.

use tce_policy_sdk::{
    Size,
    types::{Bytes, PageChoice, Refusal, RefusalReason, Region},
    window_sizing::{Candidate, WindowChoice, WindowQuestion},
};

/// Answers `size-windows`.
///
/// # Errors
///
/// Refuses if no candidate holds the regions, or none that the locked-memory limit allows.
pub fn size(question: &WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
    match question.pages.as_slice() {
        [all] => one(question, &Need::new(question, all, question.demand.growth)),
        [a, b] => {
            let (of_a, of_b) = if a.page >= b.page {
                (question.demand.growth, 0)
            } else {
                (0, question.demand.growth)
            };
            two(question, &Need::new(question, a, of_a), &Need::new(question, b, of_b))
        }
        choices => Err(Refusal::new(
            RefusalReason::Window,
            format!(
                "{} page sizes would need as many windows, and a container has one or two",
                choices.len()
            ),
        )),
    }
}

/// What one window has to hold.
struct Need<'a> {
    choice: &'a PageChoice,
    regions: Vec<&'a Region>,
    growth: Bytes,
}

impl<'a> Need<'a> {
    fn new(question: &'a WindowQuestion, choice: &'a PageChoice, growth: Bytes) -> Self {
        Self { choice, regions: question.regions_of(choice), growth }
    }

    /// The candidates that hold it.
    fn candidates(&self, question: &'a WindowQuestion) -> impl Iterator<Item = &'a Candidate> {
        let page = self.choice.page;
        question
            .candidates
            .iter()
            .filter(move |each| each.page == page && self.fits(question, each))
    }

    /// The best candidate that holds it and takes no more than this.
    fn best(&self, question: &'a WindowQuestion, charge_max: Bytes) -> Option<&'a Candidate> {
        let rank = |each: &Candidate| (each.size, each.levels, each.charge, each.slot);
        let affordable = question
            .candidates
            .iter()
            .filter(|each| each.page == self.choice.page && each.charge <= charge_max);
        // To see that a candidate is no better is far cheaper than to see whether it holds everything.
        affordable.fold(None, |best, each| match best {
            Some(best) if rank(best) <= rank(each) => Some(best),
            _ if self.fits(question, each) => Some(each),
            _ => best,
        })
    }

    fn fits(&self, question: &WindowQuestion, candidate: &Candidate) -> bool {
        candidate.holds(&question.facts, &self.regions, self.growth)
    }

    fn choose(&self, candidate: &Candidate) -> WindowChoice {
        candidate.choose(&self.choice.regions)
    }

    fn refusal(&self) -> Refusal {
        let bytes = self.regions.iter().map(|region| region.size).fold(0, Bytes::saturating_add);
        Refusal::new(
            RefusalReason::Window,
            format!(
                "no window that is possible here holds regions of {} together and growth of {} \
                 with pages of {}",
                Size(bytes),
                Size(self.growth),
                Size::of_page(self.choice.page)
            ),
        )
    }
}

/// One window for everything.
fn one(question: &WindowQuestion, need: &Need<'_>) -> Result<Vec<WindowChoice>, Refusal> {
    match need.best(question, question.facts.locked_memory.left()) {
        Some(candidate) => Ok(vec![need.choose(candidate)]),
        None => match need.candidates(question).map(|each| each.charge).min() {
            Some(charge) => Err(too_expensive(question, charge)),
            None => Err(need.refusal()),
        },
    }
}

/// A window for each.
fn two(
    question: &WindowQuestion,
    a: &Need<'_>,
    b: &Need<'_>,
) -> Result<Vec<WindowChoice>, Refusal> {
    let left = question.facts.locked_memory.left();
    let for_a: Vec<&Candidate> = a.candidates(question).collect();
    let for_b: Vec<&Candidate> = b.candidates(question).collect();
    if for_a.is_empty() {
        return Err(a.refusal());
    }
    if for_b.is_empty() {
        return Err(b.refusal());
    }
    let pairs = || {
        for_a
            .iter()
            .flat_map(|x| for_b.iter().map(move |y| (*x, *y)))
            .filter(|(x, y)| x.slot != y.slot && x.start != y.start)
            .map(|(x, y)| (x, y, x.charge.saturating_add(y.charge)))
    };
    let best = pairs().filter(|(.., charge)| *charge <= left).min_by_key(|(x, y, charge)| {
        (x.size.saturating_add(y.size), x.levels.saturating_add(y.levels), *charge, x.slot)
    });
    match (best, pairs().map(|(.., charge)| charge).min()) {
        (Some((x, y, _)), _) => Ok(vec![a.choose(x), b.choose(y)]),
        (None, Some(charge)) => Err(too_expensive(question, charge)),
        (None, None) => Err(Refusal::new(
            RefusalReason::Window,
            "two page sizes need two windows at different starts, and no two that hold them are possible here",
        )),
    }
}

fn too_expensive(question: &WindowQuestion, charge: Bytes) -> Refusal {
    let memory = &question.facts.locked_memory;
    let needed = memory.charged.saturating_add(charge);
    let limit = memory.limit.unwrap_or(Bytes::MAX);
    Refusal::new(
        RefusalReason::Memory,
        format!(
            "the cheapest table takes {} of locked memory, and {} of {} are taken, the demand's \
             memory included: the limit would have to be {}",
            Size(charge),
            Size(memory.charged),
            Size(limit),
            Size(needed)
        ),
    )
}
