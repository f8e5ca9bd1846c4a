//! Layouts become windows.

use crate::{
    addr::Bytes,
    error::Error,
    facts::Slot,
    kernel::{CreateCall, Kernel},
    layout::{Candidate, LayoutRefusal, SlotUse, WindowChoice},
    window::{Generation, Origin, Window, WindowId},
};

use super::{
    Charge, ChargeSubject, Engine, State,
    backend::{Made, SlotState, WindowState},
};

/// A layout that was checked. Only [`Engine::grant_layout`] makes one.
#[derive(Debug)]
pub struct LayoutGrant {
    windows: Vec<Candidate>,
}

impl LayoutGrant {
    /// The windows it will make, by slot.
    #[must_use]
    pub fn windows(&self) -> &[Candidate] {
        &self.windows
    }
}

impl<K: Kernel> Engine<K> {
    /// Checks a layout against the kernel's rules, the slots and the locked-memory limit.
    ///
    /// # Errors
    /// [`LayoutRefusal`].
    pub fn grant_layout(&mut self, choices: &[WindowChoice]) -> Result<LayoutGrant, Error> {
        let layouts = self.backend()?.layouts();
        let mut windows = layouts.check(choices)?;
        windows.sort_unstable_by_key(|window| window.slot);
        let needed = self.tables_charge(&windows)?;
        if let Some(limit) = self.backend()?.facts.locked_limit {
            let charged = self.calls.locked()?.locked;
            if charged.saturating_add(needed) > limit {
                return Err(LayoutRefusal::LockedMemory { needed, charged, limit }.into());
            }
        }
        Ok(LayoutGrant { windows })
    }

    /// What a layout charges. A candidate for slot 1 counts the default window, which a window in slot 0 replaces.
    fn tables_charge(&self, windows: &[Candidate]) -> Result<Bytes, Error> {
        let backend = self.backend()?;
        let total = windows.iter().map(|window| window.table.charge);
        let total = total.fold(Bytes::ZERO, Bytes::saturating_add);
        let counted_twice =
            windows.len() == 2 && matches!(backend.slots[0], SlotState::Default(Made::AtFirstUse));
        let extra = if counted_twice { backend.default_charge() } else { Bytes::ZERO };
        Ok(total.checked_sub(extra).unwrap_or_default())
    }

    /// Makes the windows of a layout, all or none.
    ///
    /// # Errors
    /// [`LayoutRefusal::SlotTaken`] if the slots changed since it was granted, [`LayoutRefusal::Unreachable`] if the
    /// platform put a window elsewhere than expected, [`Error::Fault`].
    pub fn create_windows(&mut self, grant: LayoutGrant) -> Result<Vec<WindowId>, Error> {
        let slots = self.backend()?.layouts().slots;
        let taken = |window: &&Candidate| slots[window.slot.index()] == SlotUse::Taken;
        if let Some(window) = grant.windows.iter().find(taken) {
            return Err(LayoutRefusal::SlotTaken(window.slot.number()).into());
        }
        let mut made = Vec::new();
        for candidate in &grant.windows {
            match self.make_window(candidate) {
                Ok(id) => made.push(id),
                Err(error) => {
                    for id in made {
                        self.remove_window(id)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn make_window(&mut self, candidate: &Candidate) -> Result<WindowId, Error> {
        let id = WindowId { slot: candidate.slot, generation: self.next_generation() };
        let made = match candidate.origin {
            Origin::DefaultWindow => match self.backend()?.slots[0] {
                SlotState::Default(made) => made,
                _ => return Err(LayoutRefusal::SlotTaken(candidate.slot.number()).into()),
            },
            Origin::Created => {
                self.create(candidate, id)?;
                Made::Yes
            }
        };
        let window = Window {
            id,
            start: candidate.start,
            size: candidate.size,
            page: candidate.page,
            levels: candidate.table.levels,
            origin: candidate.origin,
        };
        let state = SlotState::Window(Box::new(WindowState::new(window, made)));
        self.backend_mut()?.slots[candidate.slot.index()] = state;
        Ok(id)
    }

    /// Creates a window, the default one out of its way, and checks that it is where it should be.
    fn create(&mut self, candidate: &Candidate, id: WindowId) -> Result<(), Error> {
        if candidate.slot == Slot::Zero {
            self.give_up_default()?;
        }
        let call = CreateCall {
            page_shift: u32::from(candidate.page.raw()),
            size: candidate.size,
            levels: u32::from(candidate.table.levels),
        };
        let container = self.container();
        let (result, charged) = self.calls.charged(|calls| calls.create(container, call))?;
        let charged = self.note_default_made(charged)?;
        let start = match result {
            Ok(start) => start,
            Err(fault) => {
                self.note_charge(ChargeSubject::Leaked, Bytes::ZERO, charged);
                return Err(fault.into());
            }
        };
        if start != candidate.start {
            self.calls.remove(container, start)?;
            let (at, size) = (candidate.start, candidate.size);
            return Err(LayoutRefusal::Unreachable { at, start, size }.into());
        }
        let geometry = self.backend()?.facts.geometry();
        let shape = geometry.shape(candidate.page, candidate.size, candidate.table.levels);
        let predicted = shape.map_or(Bytes::ZERO, |shape| shape.charge);
        self.note_charge(ChargeSubject::Window(id), predicted, charged);
        Ok(())
    }

    /// Before it creates a window, the kernel makes a default one that is still awaited. Takes its share off what the
    /// call charged.
    fn note_default_made(&mut self, charged: Bytes) -> Result<Bytes, Error> {
        let backend = self.backend_mut()?;
        let predicted = backend.default_charge();
        let (SlotState::Default(Made::AtFirstUse), Some(rest)) =
            (&backend.slots[0], charged.checked_sub(predicted))
        else {
            return Ok(charged);
        };
        backend.slots[0] = SlotState::Default(Made::Yes);
        self.note_charge(ChargeSubject::DefaultWindow, predicted, predicted);
        Ok(rest)
    }

    fn note_charge(&mut self, subject: ChargeSubject, predicted: Bytes, charged: Bytes) {
        if subject != ChargeSubject::Leaked || !charged.is_zero() {
            self.charges.push(Charge { subject, predicted, charged });
        }
    }

    /// Removes the default window, or the promise of one, so that slot 0 is free.
    fn give_up_default(&mut self) -> Result<(), Error> {
        if let SlotState::Default(_) = self.backend()?.slots[0] {
            let start = self.backend()?.facts.default_start;
            self.calls.remove(self.container(), start)?;
            self.backend_mut()?.slots[0] = SlotState::Free;
        }
        Ok(())
    }

    /// Removes a window whose leases have all ended, with every TCE in it.
    fn remove_window(&mut self, id: WindowId) -> Result<(), Error> {
        let container = self.container();
        let Some(state) = self.backend()?.window(id) else { return Ok(()) };
        assert_eq!(state.table.tces(), 0, "{id} is removed after its leases");
        let start = state.window.start;
        let made = state.made;
        if made == Made::Yes {
            self.calls.remove(container, start)?;
        }
        let left = match made {
            Made::Yes => SlotState::Free,
            Made::AtFirstUse => SlotState::Default(Made::AtFirstUse),
        };
        self.backend_mut()?.slots[id.slot.index()] = left;
        Ok(())
    }

    /// Removes every window, the default one too if the kernel made it.
    pub(super) fn remove_windows(&mut self) -> Result<(), Error> {
        let State::Attached(backend) = &self.state else { return Ok(()) };
        let ids: Vec<WindowId> = backend.windows().map(|state| state.window.id).collect();
        for id in ids.into_iter().rev() {
            self.remove_window(id)?;
        }
        if matches!(self.backend()?.slots[0], SlotState::Default(Made::Yes)) {
            self.give_up_default()?;
        }
        Ok(())
    }

    /// Notes that the default window came into being with a window's first use.
    pub(super) fn note_first_use(&mut self, id: WindowId, charged: Bytes) {
        let Ok(backend) = self.backend_mut() else { return };
        let predicted = backend.default_charge();
        if let Some(state) = backend.window_mut(id) {
            state.made = Made::Yes;
        }
        self.note_charge(ChargeSubject::Window(id), predicted, charged);
    }

    const fn next_generation(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }
}
