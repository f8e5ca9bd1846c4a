//! Layouts become windows, and windows go.

mod create;

use crate::{
    addr::{Bytes, Iova},
    error::Error,
    facts::Slot,
    kernel::Kernel,
    layout::{Candidate, LayoutRefusal, UnusedDefault, WindowChoice},
    window::{Origin, WindowId},
};

use super::{
    Engine,
    backend::{Made, SlotState},
};

/// A layout that was checked. Only [`Engine::grant_layout`] makes one.
#[derive(Debug)]
pub struct LayoutGrant {
    /// By slot, as the windows are.
    choices: Vec<WindowChoice>,
    windows: Vec<Candidate>,
    unused_default: UnusedDefault,
}

impl LayoutGrant {
    /// The windows it will make, by slot. Where the firmware turns out to have less, a fallback takes a window's place;
    /// [`Engine::windows`] tells.
    #[must_use]
    pub fn windows(&self) -> &[Candidate] {
        &self.windows
    }

    /// The same with a choice of what becomes of the default window, if the layout neither uses nor replaces it.
    #[must_use]
    pub fn with_unused_default(self, unused_default: UnusedDefault) -> Self {
        Self { unused_default, ..self }
    }
}

impl<K: Kernel> Engine<K> {
    /// Checks a layout against the kernel's rules, the slots and the locked-memory limit. A default window that it
    /// neither uses nor replaces is kept, unless [`LayoutGrant::with_unused_default`] says otherwise.
    ///
    /// # Errors
    /// [`LayoutRefusal`].
    pub fn grant_layout(&mut self, choices: &[WindowChoice]) -> Result<LayoutGrant, Error> {
        let mut choices = choices.to_vec();
        choices.sort_by_key(|choice| choice.slot);
        let windows = self.backend()?.layouts().check(&choices)?;
        let needed = self.tables_charge(&windows)?;
        if let Some(limit) = self.backend()?.facts.locked_limit {
            let charged = self.calls.locked()?.locked;
            if charged.saturating_add(needed) > limit {
                return Err(LayoutRefusal::LockedMemory { needed, charged, limit }.into());
            }
        }
        Ok(LayoutGrant { choices, windows, unused_default: UnusedDefault::Keep })
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
    /// filled, and only a window like it brings it back.
    ///
    /// # Errors
    /// [`LayoutRefusal`] if things changed since it was granted, or as [`LayoutRefusal::Unreachable`] if the platform
    /// put a window elsewhere than expected, or as [`LayoutRefusal::FirmwareHasLess`]; [`Error::Fault`].
    pub fn create_windows(&mut self, grant: LayoutGrant) -> Result<Vec<WindowId>, Error> {
        let unused_default = grant.unused_default;
        // Granting again is cheap, and then a grant that was kept for too long does no harm.
        let LayoutGrant { choices, windows, .. } = self.grant_layout(&grant.choices)?;
        let mut made = Vec::new();
        let mut done = Ok(());
        for (choice, candidate) in choices.iter().zip(&windows) {
            done = self.make_window(choice, candidate).map(|id| made.push(id));
            if done.is_err() {
                break;
            }
        }
        if done.is_ok() && unused_default == UnusedDefault::Remove {
            done = self.give_up_default();
        }
        if let Err(error) = done {
            for id in made {
                // One that will not go stays in its slot until the last group leaves.
                let _ = self.take_out(id);
            }
            return Err(error);
        }
        Ok(made)
    }

    /// Removes the default window, or the promise of one, that no layout uses: its charge goes, and slot 0 is free.
    /// Where the platform makes one again, a layout may ask for a window like it.
    ///
    /// # Errors
    /// [`LayoutRefusal::DefaultInUse`], [`LayoutRefusal::NoDefaultWindow`]; [`Error::Fault`].
    pub fn remove_default_window(&mut self) -> Result<(), Error> {
        match &self.backend()?.slots[0] {
            SlotState::Default(_) => self.give_up_default(),
            SlotState::Window(state) if state.window.origin == Origin::DefaultWindow => {
                Err(LayoutRefusal::DefaultInUse(state.window.id).into())
            }
            SlotState::Window(_) | SlotState::Free => Err(LayoutRefusal::NoDefaultWindow.into()),
        }
    }

    /// Removes a window that no lease is on, so that its slot can be filled again. One that is the default window is
    /// unused afterwards, and goes by [`Engine::remove_default_window`].
    ///
    /// # Errors
    /// [`LayoutRefusal::NoWindow`] for one that is gone, [`LayoutRefusal::Leased`]; [`Error::Fault`], after which it
    /// is there still.
    pub fn remove_window(&mut self, window: WindowId) -> Result<(), Error> {
        if self.backend()?.window(window).is_none() {
            return Err(LayoutRefusal::NoWindow(window).into());
        }
        let leases = self.leased_of(window).count();
        if leases > 0 {
            return Err(LayoutRefusal::Leased { window, leases }.into());
        }
        self.take_out(window)
    }

    /// The charges of windows that the kernel did not make, and of memory that it kept when it was unregistered, as far
    /// as they could be read ([`ChargeSubject::Leaked`], [`ChargeSubject::LeakedMemory`]). They stay as long as the
    /// process lives, and count against its limit; what comes back of memory that is registered again is not taken off.
    /// Memory that another container of the process has registered as well counts when this one, if it was charged for
    /// it, lets go first: the kernel does not tell that from a leak.
    #[must_use]
    pub const fn leaked(&self) -> Bytes {
        self.platform.leaked()
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
    fn take_out(&mut self, id: WindowId) -> Result<(), Error> {
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
            self.take_out(id)?;
        }
        if matches!(self.backend()?.slots[0], SlotState::Default(Made::Yes)) {
            self.give_up_default()?;
        }
        Ok(())
    }
}
