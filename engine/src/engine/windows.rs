//! Layouts become windows.

use crate::{
    addr::{Bytes, Iova},
    calls::Charged,
    error::Error,
    facts::Slot,
    kernel::{CreateCall, Kernel},
    layout::{Candidate, LayoutRefusal, WindowChoice},
    window::{Generation, Origin, Window, WindowId},
};

use super::{
    ChargeSubject, Engine,
    backend::{Made, SlotState, WindowState},
};

/// A layout that was checked. Only [`Engine::grant_layout`] makes one.
#[derive(Debug)]
pub struct LayoutGrant {
    choices: Vec<WindowChoice>,
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
        Ok(LayoutGrant { choices: choices.to_vec(), windows })
    }

    /// What a layout adds to the locked memory. A candidate for slot 1 counts the default window that the kernel still
    /// has to make, which another candidate counts as well or replaces; one that is made goes if it is replaced.
    fn tables_charge(&self, windows: &[Candidate]) -> Result<Bytes, Error> {
        let backend = self.backend()?;
        let total = windows.iter().map(|window| window.table.charge);
        let total = total.fold(Bytes::ZERO, Bytes::saturating_add);
        let replaces_default =
            windows.iter().any(|it| it.slot == Slot::Zero && it.origin == Origin::Created);
        let too_much = match backend.slots[0] {
            SlotState::Default(Made::AtFirstUse) if windows.len() == 2 => backend.default_charge(),
            SlotState::Default(Made::Yes) if replaces_default => backend.default_charge(),
            _ => Bytes::ZERO,
        };
        Ok(total.checked_sub(too_much).unwrap_or_default())
    }

    /// Makes the windows of a layout, all or none. If none, the default window may be gone: it goes before slot 0 is
    /// filled, and nothing brings it back.
    ///
    /// # Errors
    /// [`LayoutRefusal`] if things changed since it was granted, or as [`LayoutRefusal::Unreachable`] if the platform
    /// put a window elsewhere than expected; [`Error::Fault`].
    pub fn create_windows(&mut self, grant: LayoutGrant) -> Result<Vec<WindowId>, Error> {
        // Granting again is cheap, and then a grant that was kept for too long does no harm.
        let LayoutGrant { windows, .. } = self.grant_layout(&grant.choices)?;
        let mut made = Vec::new();
        for candidate in &windows {
            match self.make_window(candidate) {
                Ok(id) => made.push(id),
                Err(error) => {
                    for id in made {
                        // One that will not go stays in its slot until the last group leaves.
                        let _ = self.remove_window(id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn make_window(&mut self, candidate: &Candidate) -> Result<WindowId, Error> {
        let id = WindowId { slot: candidate.slot, generation: self.next_generation() };
        let made = match (candidate.origin, &self.backend()?.slots[0]) {
            (Origin::DefaultWindow, SlotState::Default(made)) => *made,
            (Origin::DefaultWindow, _) => {
                return Err(LayoutRefusal::SlotTaken(candidate.slot.number()).into());
            }
            (Origin::Created, _) => {
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
        let Candidate { page, size, .. } = *candidate;
        let levels = candidate.table.levels;
        let call =
            CreateCall { page_shift: u32::from(page.raw()), size, levels: u32::from(levels) };
        let container = self.container();
        let shape = self.backend()?.facts.geometry().shape(page, size, levels);
        let predicted = shape.map_or(Bytes::ZERO, |shape| shape.charge);
        let call = self.calls.charged(|calls| calls.create(container, call))?;
        let Charged { result, charged } = self.note_default_made(call, predicted);
        let start = match result {
            Ok(start) => start,
            Err(fault) => {
                self.note_charge(ChargeSubject::Leaked, Bytes::ZERO, charged);
                return Err(fault.into());
            }
        };
        if start != candidate.start {
            self.calls.remove(container, start)?;
            return Err(LayoutRefusal::Unreachable { at: candidate.start, start, size }.into());
        }
        self.note_charge(ChargeSubject::Window(id), predicted, charged);
        Ok(())
    }

    /// Notes the default window if a call made it on its way, and takes its share off what the call charged. Of that,
    /// `own` is what the call was to charge for itself.
    ///
    /// A call that failed may have made the window all the same: its charge tells. If that cannot be read, the window
    /// stays awaited, until a call charges less than it would have with it.
    pub(super) fn note_default_made<T>(&mut self, call: Charged<T>, own: Bytes) -> Charged<T> {
        let backend = self.backend_mut().expect("a call was made on it");
        let default = backend.default_charge();
        let Some((made @ Made::AtFirstUse, subject)) = backend.default_window() else {
            return call;
        };
        let least = match call.result {
            Ok(_) => default.saturating_add(own),
            Err(_) => default,
        };
        let rest = call.charged.filter(|charged| !charged.is_zero() && *charged >= least);
        let rest = rest.and_then(|charged| charged.checked_sub(default));
        if rest.is_some() || call.result.is_ok() {
            *made = Made::Yes;
        }
        if rest.is_none() {
            return call;
        }
        self.note_charge(subject, default, Some(default));
        Charged { charged: rest, ..call }
    }

    /// Removes the default window, or the promise of one, so that slot 0 is free.
    fn give_up_default(&mut self) -> Result<(), Error> {
        let backend = self.backend()?;
        let start = match backend.slots[0] {
            SlotState::Default(Made::Yes) => backend.facts.default_start,
            // The promise goes by this address only, wherever the window would be.
            SlotState::Default(Made::AtFirstUse) => Iova::new(0),
            SlotState::Free | SlotState::Window(_) => return Ok(()),
        };
        self.calls.remove(self.container(), start)?;
        self.backend_mut()?.slots[0] = SlotState::Free;
        Ok(())
    }

    /// Removes a window whose leases have all ended. The default one is only unused again then.
    fn remove_window(&mut self, id: WindowId) -> Result<(), Error> {
        let Some(state) = self.backend()?.window(id) else { return Ok(()) };
        assert_eq!(state.table.tces(), 0, "{id} is removed after its leases");
        let left = match state.window.origin {
            Origin::DefaultWindow => SlotState::Default(state.made),
            Origin::Created => {
                let start = state.window.start;
                self.calls.remove(self.container(), start)?;
                SlotState::Free
            }
        };
        self.backend_mut()?.slots[id.slot.index()] = left;
        Ok(())
    }

    /// Removes every window, the default one too if the kernel made it.
    pub(super) fn remove_windows(&mut self) -> Result<(), Error> {
        let ids: Vec<WindowId> = self.windows().map(|state| state.window.id).collect();
        for id in ids.into_iter().rev() {
            self.remove_window(id)?;
        }
        if matches!(self.backend()?.slots[0], SlotState::Default(Made::Yes)) {
            self.give_up_default()?;
        }
        Ok(())
    }

    const fn next_generation(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }
}
