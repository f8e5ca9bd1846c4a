//! Windows come and go.

use tce_engine::{
    Error,
    addr::{Bytes, PageShift},
    facts::Slot,
    layout::{UnusedDefault, WindowChoice},
    lease::LeaseId,
    window::WindowId,
};

use crate::{
    bench::{K4, choice},
    simulation::{run::Run, sights::Sight},
};

/// The largest pages of a window: memory here has no larger ones.
const PAGE_MAX: PageShift = PageShift::M2;

impl Run {
    pub(super) fn create_windows(&mut self) -> Result<(), Error> {
        let slots: &[Slot] = match self.dice.roll(4) {
            0 => &[Slot::Zero],
            1 => &[Slot::One, Slot::Zero],
            _ => &[Slot::One],
        };
        let choices: Vec<WindowChoice> =
            slots.iter().map(|slot| self.window_choice(*slot)).collect();
        let is_kept = !self.dice.one_in(4);
        let unused = if is_kept { UnusedDefault::Keep } else { UnusedDefault::Remove };
        let grant = self.engine.grant_layout(&choices)?.with_unused_default(unused);
        let there = |run: &Self| -> Vec<WindowId> {
            run.engine.windows().map(|state| state.window().id).collect()
        };
        let (before, failed) = (there(self), self.watch.borrow().failed_removals);
        let made = self.engine.create_windows(grant);
        if made.is_err() && self.watch.borrow().failed_removals == failed {
            assert_eq!(there(self), before, "all or none");
        }
        match made {
            Ok(made) => {
                let sizes = made.iter().filter_map(|id| self.window(*id)).map(|it| it.size);
                let is_smaller = choices.iter().all(|it| sizes.clone().all(|size| size != it.size));
                self.saw_if(is_smaller, Sight::Fallback);
                self.windows.extend(made);
                Ok(())
            }
            // A fallback is refused after the first size was tried.
            Err(Error::Layout(_)) => {
                self.saw(Sight::FirmwareHasLess);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn window_choice(&mut self, slot: Slot) -> WindowChoice {
        let facts = self.engine.facts();
        let default = facts.map_or(Bytes::gib(2), |facts| facts.default_window);
        if slot == Slot::Zero && !self.dice.one_in(3) {
            return choice(slot, K4, default);
        }
        let pages = facts.map_or_else(Vec::new, |facts| facts.page_shifts.clone());
        let pages: Vec<PageShift> = pages.into_iter().filter(|page| *page <= PAGE_MAX).collect();
        let page = self.dice.pick(&pages).unwrap_or(K4);
        let shift = match self.dice.roll(16) {
            0 => 13 + self.dice.roll(12),
            1..4 => self.dice.roll(6),
            _ => 6 + self.dice.roll(6),
        };
        let size = match self.dice.roll(24) {
            0 => Bytes::new(self.dice.roll(u64::MAX)),
            _ => Bytes::new(page.bytes().raw() << shift),
        };
        let smaller = Bytes::new(page.bytes().raw() << self.dice.roll(shift.max(1)));
        let fallback = self.dice.one_in(3).then_some(smaller);
        let levels = if self.dice.one_in(3) { 2 } else { 1 };
        WindowChoice { fallback, levels, ..choice(slot, page, size) }
    }

    pub(super) fn remove_window(&mut self) -> Result<(), Error> {
        let Some(window) = self.any_window() else { return Ok(()) };
        // One that leases are on is refused, so it is mostly one without.
        let is_leased = self.model.parts.keys().any(|(_, leased)| *leased == window);
        if is_leased && !self.dice.one_in(4) {
            return Ok(());
        }
        self.engine.remove_window(window)?;
        self.saw(Sight::WindowRemoved);
        Ok(())
    }

    pub(super) fn remove_default_window(&mut self) -> Result<(), Error> {
        self.engine.remove_default_window()
    }

    /// One that a lease is not in yet.
    pub(super) fn other_window(&mut self, lease: LeaseId) -> Option<WindowId> {
        let live = self.engine.windows().map(|it| it.window().id);
        let live: Vec<WindowId> =
            live.filter(|id| !self.model.parts.contains_key(&(lease, *id))).collect();
        self.dice.pick(&live).filter(|_| !self.dice.one_in(12)).or_else(|| self.any_window())
    }

    /// One that is there, or now and then one that was.
    pub(super) fn any_window(&mut self) -> Option<WindowId> {
        let old = self.dice.pick(&self.windows);
        let live: Vec<WindowId> = self.engine.windows().map(|it| it.window().id).collect();
        self.dice.pick(&live).filter(|_| !self.dice.one_in(12)).or(old)
    }
}
