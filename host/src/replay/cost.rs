//! What decisions cost, as far as the questions tell.

use serde::Serialize;
use tce_engine::addr::{Bytes, PageShift};

use crate::policy::{
    Answer, Question,
    wit::{self, Candidate, WindowChoice, WindowQuestion},
};

use super::Said;

/// Sums over decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cost {
    /// Decisions that are a no.
    pub refused: u64,
    /// Decisions without an answer that could be carried out.
    pub failed: u64,
    /// Windows that are made, by `VFIO_IOMMU_SPAPR_TCE_CREATE`.
    pub creates: u64,
    /// Bytes of the tables of those windows, when they are full.
    pub table_bytes: u64,
    /// Bytes that they add to the locked memory.
    pub locked_bytes: u64,
    /// TCEs that it takes to map the memory of the demands in them.
    pub tces: u64,
    /// TCEs that leases may have set.
    pub leased_tces: u64,
    /// Leases that end for others.
    pub ended: u64,
    /// Fuel that was burned; nothing for native policies.
    pub fuel: u64,
}

impl Cost {
    /// Adds a decision.
    pub(super) fn add(&mut self, question: &Question, said: &Said, fuel: Option<u64>) {
        self.fuel = self.fuel.saturating_add(fuel.unwrap_or(0));
        match said {
            Said::Failure(_) => self.failed += 1,
            Said::Answer(answer) => self.add_answer(question, answer),
        }
    }

    fn add_answer(&mut self, question: &Question, answer: &Answer) {
        match (question, answer) {
            (_, Answer::Refused(_)) => self.refused += 1,
            (Question::SizeWindows(question), Answer::Windows(choices)) => {
                choices.iter().for_each(|choice| self.add_window(question, choice));
            }
            (_, Answer::Window(candidate)) => self.add_candidate(candidate),
            (_, Answer::Terms(terms)) => {
                self.leased_tces = self.leased_tces.saturating_add(terms.tces_max);
            }
            (_, Answer::Leases(ended)) => {
                let ended = u64::try_from(ended.len()).unwrap_or(u64::MAX);
                self.ended = self.ended.saturating_add(ended);
            }
            _ => {}
        }
    }

    fn add_window(&mut self, question: &WindowQuestion, choice: &WindowChoice) {
        let numbers = (choice.slot, choice.page, choice.size, choice.levels);
        let is_it = |it: &&Candidate| (it.slot, it.page, it.size, it.levels) == numbers;
        if let Some(candidate) = question.candidates.iter().find(is_it) {
            self.add_candidate(candidate);
        }
        let regions = question.demand.regions.iter().filter(|it| choice.regions.contains(&it.id));
        let page = PageShift::new(choice.page).unwrap_or(PageShift::K4);
        let tces = regions.map(|region| Bytes::new(region.size).pages_up(page).raw());
        self.tces = tces.fold(self.tces, u64::saturating_add);
    }

    fn add_candidate(&mut self, candidate: &Candidate) {
        self.creates += u64::from(candidate.origin == wit::Origin::Created);
        self.table_bytes = self.table_bytes.saturating_add(candidate.table);
        self.locked_bytes = self.locked_bytes.saturating_add(candidate.charge);
    }
}
