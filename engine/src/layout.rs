//! Layouts: which windows could be, and which shall be.

use thiserror::Error;

use crate::{
    addr::{Bytes, Iova, PageShift},
    facts::{ContainerFacts, Slot},
    geometry::TableShape,
    room::Room,
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

/// Memory that a window shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its size.
    pub size: Bytes,
    /// The page that backs it.
    pub backing: PageShift,
    /// The bus address it must have, if any.
    pub at: Option<Iova>,
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
    /// Levels of its table.
    pub levels: u8,
    /// What it shall hold.
    pub needs: Vec<Need>,
}

/// Why a layout cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutRefusal {
    /// No window, or more than two.
    #[error("a layout of {0} windows: one or two there must be")]
    WindowCount(usize),
    /// Two windows in one slot, or a slot that is in use.
    #[error("slot {0} is not free")]
    SlotTaken(u8),
    /// No candidate is like that.
    #[error(
        "the kernel makes no window of {size} with {page} pages and {levels} level(s) in slot {slot}"
    )]
    NoCandidate {
        /// The slot.
        slot: u8,
        /// The page.
        page: PageShift,
        /// The size.
        size: Bytes,
        /// The levels.
        levels: u8,
    },
    /// Two windows of which the platform makes only one. The firmware would refuse the second, and the kernel would
    /// never ask it for another (`failed_ddw_pdn_list`).
    #[error(
        "this platform makes one dynamic window only: the other must be in slot 0 with 4K pages and no larger than the default window"
    )]
    TwoDynamicWindows,
    /// Memory whose backing is smaller than the window's page.
    #[error("memory in {backing} pages cannot be mapped in a window of {page} pages")]
    PageTooLarge {
        /// The memory's page.
        backing: PageShift,
        /// The window's page.
        page: PageShift,
    },
    /// The window cannot hold the memory.
    #[error(
        "{needed} of memory, each region in one piece, do not fit a window of {size} of which {usable} can be used"
    )]
    NoRoom {
        /// What it shall hold, in whole pages of the window.
        needed: Bytes,
        /// The window's size.
        size: Bytes,
        /// What of it is not reserved.
        usable: Bytes,
    },
    /// Memory that must be at an address where the window is not, or that is reserved.
    #[error("memory at {at} cannot be in the window of {size} at {start}")]
    Unreachable {
        /// Where it must be.
        at: Iova,
        /// Where the window starts.
        start: Iova,
        /// The window's size.
        size: Bytes,
    },
    /// The limit would not hold the tables.
    #[error(
        "the tables lock {needed} more and {charged} are locked already, but the limit is {limit}"
    )]
    LockedMemory {
        /// What the calls would charge.
        needed: Bytes,
        /// What is charged.
        charged: Bytes,
        /// The limit.
        limit: Bytes,
    },
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
            let is_default = self.slots[slot.index()] == SlotUse::DefaultWindow;
            let default = is_default.then(|| self.default_candidate()).flatten();
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
        if self.dynamic_made || size > self.facts.size_max_at(start) {
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

    /// Checks a layout, and finds the candidates it is made of.
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
                    // The kernel would put it into slot 0.
                    return Err(no_candidate(choice));
                }
                self.check_window(choice)
            })
            .collect()
    }

    fn check_window(&self, choice: &WindowChoice) -> Result<Candidate, LayoutRefusal> {
        if !self.open_slots().any(|slot| slot == choice.slot) {
            return Err(LayoutRefusal::SlotTaken(choice.slot.number()));
        }
        let candidate = self.find(choice).ok_or_else(|| no_candidate(choice))?;
        check_needs(self.facts, &candidate, &choice.needs)?;
        Ok(candidate)
    }

    fn find(&self, choice: &WindowChoice) -> Option<Candidate> {
        let is_chosen = |it: &Candidate| {
            it.page == choice.page && it.size == choice.size && it.table.levels == choice.levels
        };
        let default = (choice.slot == Slot::Zero && self.slots[0] == SlotUse::DefaultWindow)
            .then(|| self.default_candidate())
            .flatten();
        if default.as_ref().is_some_and(is_chosen) {
            return default;
        }
        if !self.facts.page_shifts.contains(&choice.page) {
            return None;
        }
        self.created(choice.slot, choice.page, choice.size).into_iter().find(is_chosen)
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

/// Finds a place in the window for each need, in one piece: those with an address of their own first, then the largest
/// first.
fn check_needs(
    facts: &ContainerFacts,
    window: &Candidate,
    needs: &[Need],
) -> Result<(), LayoutRefusal> {
    let (start, size, page) = (window.start, window.size, window.page);
    let mut room = Room::of(start, size, &facts.reserved);
    let mut anywhere = Vec::new();
    let mut needed = Bytes::ZERO;
    for need in needs {
        if need.backing < page {
            return Err(LayoutRefusal::PageTooLarge { backing: need.backing, page });
        }
        let whole = need.size.round_up(page).unwrap_or(Bytes::new(u64::MAX));
        needed = needed.saturating_add(whole);
        match need.at {
            Some(at) if !at.is_aligned(page) || !room.take_at(at, whole) => {
                return Err(LayoutRefusal::Unreachable { at, start, size });
            }
            Some(_) => {}
            None => anywhere.push(whole),
        }
    }
    anywhere.sort_unstable_by(|one, other| other.cmp(one));
    if anywhere.into_iter().all(|whole| room.take(whole)) {
        return Ok(());
    }
    let usable = size.checked_sub(facts.reserved_within(start, size)).unwrap_or_default();
    Err(LayoutRefusal::NoRoom { needed, size, usable })
}

#[cfg(test)]
mod tests;
