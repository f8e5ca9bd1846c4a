//! Layouts: which windows could be, and which shall be.

mod needs;
mod refusal;

pub use self::{needs::Need, refusal::LayoutRefusal};

use crate::{
    addr::{Bytes, Iova, PageShift},
    facts::{ContainerFacts, Creatable, Slot},
    geometry::TableShape,
    window::Origin,
};

/// The most sizes that are listed for one slot and page.
pub const CANDIDATE_SIZES_MAX: usize = 24;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotUse {
    /// Nothing.
    Free,
    /// The default window: promised by the kernel and made at its first use, or made already.
    DefaultWindow,
    /// A window in use.
    Taken,
}

/// Which candidates are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateQuery {
    /// No window smaller than this.
    pub size_min: Bytes,
    /// No window larger than the power of two that holds this.
    pub size_max: Bytes,
    /// The highest bus address the devices can put on the wire.
    pub device_mask: Iova,
}

/// A window that could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place.
    pub slot: Slot,
    /// Where it would start.
    pub start: Iova,
    /// Its page.
    pub page: PageShift,
    /// Its size.
    pub size: Bytes,
    /// Its table; `charge` includes the default window where that has to be made first.
    pub table: TableShape,
    /// How it would come about.
    pub origin: Origin,
}

/// A window that shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowChoice {
    /// Its place.
    pub slot: Slot,
    /// Its page.
    pub page: PageShift,
    /// Its size.
    pub size: Bytes,
    /// A smaller size to be content with if the firmware of a partition has less, which nobody can tell beforehand:
    /// the one that is tried after the first, once. Where the firmware has no say it plays no part.
    pub fallback: Option<Bytes>,
    /// Levels of its table.
    pub levels: u8,
    /// What it shall hold.
    pub needs: Vec<Need>,
}

impl WindowChoice {
    /// The choice with its fallback in place of its size.
    fn smaller(&self) -> Result<Option<Self>, LayoutRefusal> {
        let size = self.size;
        match self.fallback {
            Some(fallback) if fallback >= size => {
                Err(LayoutRefusal::FallbackTooLarge { size, fallback })
            }
            Some(size) => Ok(Some(Self { size, fallback: None, ..self.clone() })),
            None => Ok(None),
        }
    }
}

/// What becomes of a default window that a layout neither uses nor replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnusedDefault {
    /// It stays, charge and all, for a later layout. Where it is still a promise, it stays one.
    #[default]
    Keep,
    /// It goes once the layout's windows are made, and its charge with it: no device reaches anything from bus address
    /// 0 on.
    Remove,
}

/// What the arithmetic needs to know of a container.
#[derive(Clone, Copy, Debug)]
pub struct Layouts<'a> {
    /// The facts.
    pub facts: &'a ContainerFacts,
    /// What the slots hold.
    pub slots: [SlotUse; 2],
    /// Whether the default window is made and charged already.
    pub default_made: bool,
    /// Whether a dynamic window of pseries stands. The kernel makes none beside it, be it like the default window.
    pub dynamic_made: bool,
}

impl Layouts<'_> {
    /// Every candidate, ordered by slot, page, size and levels.
    #[must_use]
    pub fn candidates(&self, query: &CandidateQuery) -> Vec<Candidate> {
        let mut found = Vec::new();
        for slot in self.open_slots() {
            let default = self.default_in(slot);
            found.extend(default.filter(|it| reaches(it, query)));
            for page in &self.facts.page_shifts {
                let created = sizes(*page, query).flat_map(|size| self.created(slot, *page, size));
                // What is like the default window is that window: it is not made anew.
                let differs =
                    |it: &Candidate| !default.is_some_and(|default| is_like(it, &default));
                found.extend(created.filter(|it| reaches(it, query) && differs(it)));
            }
        }
        found
    }

    /// The slots that can get a window.
    fn open_slots(&self) -> impl Iterator<Item = Slot> {
        let windows_max = usize::from(self.facts.windows_max);
        Slot::ALL.into_iter().filter(move |slot| {
            slot.index() < windows_max && self.slots[slot.index()] != SlotUse::Taken
        })
    }

    /// The default window, if this slot holds it and it can be used: where the kernel makes no windows any more, it
    /// must be there already.
    fn default_in(&self, slot: Slot) -> Option<Candidate> {
        let is_there = self.slots[slot.index()] == SlotUse::DefaultWindow;
        let is_usable = self.default_made || self.facts.creatable != Creatable::Nothing;
        if is_there && is_usable { self.default_candidate() } else { None }
    }

    fn default_candidate(&self) -> Option<Candidate> {
        let (start, size) = (self.facts.default_start, self.facts.default_window);
        let mut table = self.facts.geometry().shape(PageShift::K4, size, 1)?;
        if self.default_made {
            table.charge = Bytes::ZERO;
        }
        let (slot, page, origin) = (Slot::Zero, PageShift::K4, Origin::DefaultWindow);
        Some(Candidate { slot, start, page, size, table, origin })
    }

    fn created(&self, slot: Slot, page: PageShift, size: Bytes) -> Vec<Candidate> {
        let start = self.facts.created_start(slot, page, size);
        let is_refused = self.refusal_to_create(slot, page, size).is_some();
        if is_refused || size > self.facts.size_max_at(start) {
            return Vec::new();
        }
        let extra = match (slot, self.slots[0]) {
            (Slot::One, SlotUse::DefaultWindow) => {
                self.default_candidate().map_or(Bytes::ZERO, |default| default.table.charge)
            }
            _ => Bytes::ZERO,
        };
        let shapes = self.facts.geometry().shapes(page, size).into_iter();
        shapes
            .map(|shape| TableShape { charge: shape.charge.saturating_add(extra), ..shape })
            .map(|table| Candidate { slot, start, page, size, table, origin: Origin::Created })
            .collect()
    }

    /// Why a partition makes no such window, although its table could be.
    fn refusal_to_create(&self, slot: Slot, page: PageShift, size: Bytes) -> Option<LayoutRefusal> {
        let is_dynamic = self.facts.is_dynamic(slot, page, size);
        let tces_max = self.facts.dynamic_tces_max.filter(|_| is_dynamic);
        match (self.facts.creatable, tces_max) {
            (Creatable::Nothing, _) => Some(LayoutRefusal::GivenUp),
            (Creatable::DefaultLike, _) if is_dynamic => Some(LayoutRefusal::NoDynamicWindows),
            _ if self.dynamic_made => Some(LayoutRefusal::BesideDynamic),
            (_, Some(tces_max)) if size.pages_up(page) > tces_max => {
                Some(LayoutRefusal::DynamicTooLarge { size, page, tces_max })
            }
            _ => None,
        }
    }

    /// Checks a layout, and finds the candidates it is made of. A window that is known to be too large for the firmware
    /// comes as its fallback; any fallback must do as well as the window itself.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, choices: &[WindowChoice]) -> Result<Vec<Candidate>, LayoutRefusal> {
        if choices.is_empty() || choices.len() > 2 {
            return Err(LayoutRefusal::WindowCount(choices.len()));
        }
        if choices.len() == 2 && choices[0].slot == choices[1].slot {
            return Err(LayoutRefusal::SlotTaken(choices[0].slot.number()));
        }
        let dynamic = |it: &&WindowChoice| self.facts.is_dynamic(it.slot, it.page, it.size);
        if choices.iter().filter(dynamic).count() > 1 {
            return Err(LayoutRefusal::TwoDynamicWindows);
        }
        let first_slot_filled = self.slots[0] != SlotUse::Free
            || choices.iter().any(|choice| choice.slot == Slot::Zero);
        choices
            .iter()
            .map(|choice| {
                if choice.slot == Slot::One && !first_slot_filled {
                    return Err(LayoutRefusal::FirstSlotEmpty);
                }
                self.check_window(choice)
            })
            .collect()
    }

    fn check_window(&self, choice: &WindowChoice) -> Result<Candidate, LayoutRefusal> {
        let (slot, windows_max) = (choice.slot.number(), self.facts.windows_max);
        if slot >= windows_max {
            return Err(LayoutRefusal::NoSuchSlot { slot, windows_max });
        }
        if self.slots[choice.slot.index()] == SlotUse::Taken {
            return Err(LayoutRefusal::SlotTaken(slot));
        }
        let fallback = choice.smaller()?.map(|smaller| self.check_size(&smaller)).transpose()?;
        match (self.check_size(choice), fallback) {
            (Err(LayoutRefusal::DynamicTooLarge { .. }), Some(smaller)) => Ok(smaller),
            (checked, _) => checked,
        }
    }

    fn check_size(&self, choice: &WindowChoice) -> Result<Candidate, LayoutRefusal> {
        let candidate = self.find(choice).ok_or_else(|| self.why_none(choice))?;
        needs::check(self.facts, &candidate, &choice.needs)?;
        Ok(candidate)
    }

    fn find(&self, choice: &WindowChoice) -> Option<Candidate> {
        let is_chosen = |it: &Candidate| {
            it.page == choice.page && it.size == choice.size && it.table.levels == choice.levels
        };
        let default = self.default_in(choice.slot).filter(is_chosen);
        if default.is_some() {
            return default;
        }
        if !self.facts.page_shifts.contains(&choice.page) {
            return None;
        }
        self.created(choice.slot, choice.page, choice.size).into_iter().find(is_chosen)
    }

    /// Why no candidate is like this choice. What no machine of this kind makes comes before what this one does not.
    fn why_none(&self, choice: &WindowChoice) -> LayoutRefusal {
        let WindowChoice { slot, page, size, levels, .. } = *choice;
        let could_be = self.facts.page_shifts.contains(&page)
            && size <= self.facts.size_max_at(self.facts.created_start(slot, page, size))
            && self.facts.geometry().shape(page, size, levels).is_some();
        let refusal = if could_be { self.refusal_to_create(slot, page, size) } else { None };
        refusal.unwrap_or_else(|| no_candidate(choice))
    }
}

fn is_like(one: &Candidate, other: &Candidate) -> bool {
    (one.page, one.size, one.table.levels) == (other.page, other.size, other.table.levels)
}

fn no_candidate(choice: &WindowChoice) -> LayoutRefusal {
    let WindowChoice { slot, page, size, levels, .. } = *choice;
    LayoutRefusal::NoCandidate { slot: slot.number(), page, size, levels }
}

/// The window sizes to list for a page: powers of two.
fn sizes(page: PageShift, query: &CandidateQuery) -> impl Iterator<Item = Bytes> {
    let smallest = query.size_min.raw().max(page.bytes().raw()).checked_next_power_of_two();
    let largest = query.size_max.raw().checked_next_power_of_two().unwrap_or(1 << 63);
    std::iter::successors(smallest, |size| size.checked_mul(2))
        .take_while(move |size| *size <= largest)
        .take(CANDIDATE_SIZES_MAX)
        .map(Bytes::new)
}

fn reaches(candidate: &Candidate, query: &CandidateQuery) -> bool {
    let last = candidate
        .size
        .checked_sub(Bytes::new(1))
        .and_then(|size| candidate.start.checked_add(size));
    last.is_some_and(|last| last <= query.device_mask)
}

#[cfg(test)]
mod tests;
