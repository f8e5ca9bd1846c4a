//! The boot window, and the one that the guest asks for.

use tce_policy_sdk::{
    Size,
    types::{Bytes, PageChoice, Refusal, RefusalReason, Region},
    window_sizing::{Candidate, Origin, WindowChoice, WindowQuestion},
};

use crate::{BOOT_END, rules::Rules};

/// Bits of a table that a level has beyond those of the host's page: QEMU's "safe guess".
const LEVEL_BITS_BEYOND_PAGE: u32 = 8;
/// A TCE has 8 bytes.
const TCE_BITS: u32 = 3;

pub(crate) fn size(question: &WindowQuestion, rules: &Rules) -> Result<Vec<WindowChoice>, Refusal> {
    let is_boot = |choice: &PageChoice| {
        question.regions_of(choice).into_iter().all(|region| rules.is_for_boot(region))
    };
    if question.pages.len() > 2 {
        let detail = "a guest has two windows at most, and each page size would need one";
        return Err(Refusal::new(RefusalReason::Window, detail));
    }
    // Growth is guest memory, which the guest puts into its last window.
    let last = question.pages.len().saturating_sub(1);
    let windows = question.pages.iter().enumerate().map(|(index, choice)| {
        let growth = if index == last { question.demand.growth } else { 0 };
        let regions = question.regions_of(choice);
        let wish = Wish { question, choice, regions, growth };
        if is_boot(choice) { wish.boot() } else { wish.dynamic() }
    });
    windows.collect()
}

/// What one window is for.
struct Wish<'a> {
    question: &'a WindowQuestion,
    choice: &'a PageChoice,
    regions: Vec<&'a Region>,
    growth: Bytes,
}

impl<'a> Wish<'a> {
    /// 1 GiB in slot 0.
    fn boot(&self) -> Result<WindowChoice, Refusal> {
        let here = |each: &&Candidate| each.slot == 0 && each.start == 0 && each.size == BOOT_END;
        let fitting = self.question.candidates.iter().filter(here).filter(|each| self.suits(each));
        self.choose(fitting.collect(), "the boot window of 1 GiB")
    }

    /// The smallest in slot 1.
    fn dynamic(&self) -> Result<WindowChoice, Refusal> {
        let mut smallest: Vec<&Candidate> = Vec::new();
        for each in self.question.candidates.iter().filter(|each| each.slot == 1) {
            let best = smallest.first().map_or(Bytes::MAX, |best| best.size);
            // To see that it is larger is far cheaper than to see whether it holds everything.
            if each.size > best || !self.suits(each) {
                continue;
            }
            if each.size < best {
                smallest.clear();
            }
            smallest.push(each);
        }
        match smallest.first().map(|each| Size(each.size)) {
            Some(size) => self.choose(smallest, &format!("a window of {size} in slot 1")),
            None if self.question.pages.len() == 1 => self.boot(),
            None => Err(Refusal::new(
                RefusalReason::Window,
                "no window in slot 1 holds the guest's memory",
            )),
        }
    }

    fn suits(&self, candidate: &Candidate) -> bool {
        candidate.page == self.choice.page
            && candidate.holds(&self.question.facts, &self.regions, self.growth)
    }

    /// Of candidates of one size, the one with the levels that QEMU would ask for, or the next more.
    fn choose(
        &self,
        candidates: Vec<&'a Candidate>,
        wanted: &str,
    ) -> Result<WindowChoice, Refusal> {
        // The default window is there, with what levels it has.
        let enough = |each: &&&Candidate| {
            each.origin != Origin::Created || u32::from(each.levels) >= self.levels(each)
        };
        if let Some(each) = candidates.first()
            && !candidates.iter().any(|each| enough(&each))
        {
            let levels = self.levels(each);
            let detail =
                format!("{wanted}: QEMU would ask for {levels} levels, and the host has fewer");
            return Err(Refusal::new(RefusalReason::Window, detail));
        }
        let rank = |each: &Candidate| (each.levels, each.charge);
        let candidates = candidates.iter().filter(enough).copied();
        let chosen = self.question.first_affordable(candidates, rank, wanted)?;
        Ok(chosen.choose(&self.choice.regions))
    }

    /// `vfio_spapr_create_window`: the bits of the table by the bits of a level.
    fn levels(&self, candidate: &Candidate) -> u32 {
        let entries = candidate.size.checked_ilog2().unwrap_or(0);
        let table = (entries + TCE_BITS).saturating_sub(candidate.page.into());
        let level = u32::from(self.question.facts.system_page) + LEVEL_BITS_BEYOND_PAGE;
        table.div_ceil(level)
    }
}
