//! Making one window: the call, what it charges, and what it teaches when it fails.

use std::slice;

use crate::{
    addr::{Bytes, Iova, Pages},
    calls::Charged,
    engine::{
        ChargeSubject, Engine, State,
        backend::{Made, SlotState, WindowState},
    },
    errno::Errno,
    error::Error,
    facts::{Creatable, Slot},
    fault::Fault,
    kernel::{CreateCall, Kernel, Platform},
    layout::{Candidate, LayoutRefusal, WindowChoice},
    window::{Generation, Origin, Window, WindowId},
};

impl<K: Kernel> Engine<K> {
    /// Makes the window of a choice. If the firmware turns out to have less, its fallback is made: checked anew, the
    /// leaked charge counted, and tried once.
    pub(super) fn make_window(
        &mut self,
        choice: &WindowChoice,
        candidate: &Candidate,
    ) -> Result<WindowId, Error> {
        let made = self.make_candidate(candidate);
        let is_first_try = candidate.size == choice.size && choice.fallback.is_some();
        match made {
            Err(Error::Layout(LayoutRefusal::FirmwareHasLess { .. })) if is_first_try => {
                // The facts know by now that the first size is too large, so this grants the fallback.
                let granted = self.grant_layout(slice::from_ref(choice))?;
                self.make_candidate(&granted.windows[0])
            }
            made => made,
        }
    }

    fn make_candidate(&mut self, candidate: &Candidate) -> Result<WindowId, Error> {
        let Candidate { slot, page, size, origin, .. } = *candidate;
        let id = WindowId { slot, generation: self.next_generation() };
        let (made, start) = match (origin, &self.backend()?.slots[0]) {
            (Origin::DefaultWindow, SlotState::Default(made)) => (*made, candidate.start),
            (Origin::DefaultWindow, _) => {
                return Err(LayoutRefusal::SlotTaken(slot.number()).into());
            }
            (Origin::Created, _) => (Made::Yes, self.create(candidate, id)?),
        };
        let levels = candidate.table.levels;
        let window = Window { id, start, size, page, levels, origin };
        let state = SlotState::Window(Box::new(WindowState::new(window, made)));
        self.backend_mut()?.slots[slot.index()] = state;
        if start != candidate.start {
            // If it will not go, it stays in its slot until the last group leaves.
            self.take_out(id)?;
            return Err(LayoutRefusal::Unreachable { at: candidate.start, start, size }.into());
        }
        Ok(id)
    }

    /// Creates a window, the default one out of its way, and tells where it is.
    fn create(&mut self, candidate: &Candidate, id: WindowId) -> Result<Iova, Error> {
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
        match result {
            Ok(start) => {
                self.note_charge(ChargeSubject::Window(id), predicted, charged);
                Ok(start)
            }
            Err(fault) => {
                self.note_charge(ChargeSubject::Leaked, Bytes::ZERO, charged);
                Err(self.learn_from(fault, candidate))
            }
        }
    }

    /// What a failed creation says of a partition. `spapr_tce_create_table` refuses with `EINVAL` what is larger than
    /// the firmware's largest block, before it asks for the window.
    fn learn_from(&mut self, fault: Fault, candidate: &Candidate) -> Error {
        let leaked = self.platform.leaked();
        let State::Attached(backend) = &mut self.state else { return fault.into() };
        let facts = &mut backend.facts;
        let Candidate { slot, page, size, .. } = *candidate;
        match fault.errno() {
            _ if facts.platform != Platform::Pseries => fault.into(),
            Some(Errno::EINVAL) if facts.is_dynamic(slot, page, size) => {
                // Windows are powers of two, so the next smaller one is half as large.
                facts.limit_dynamic(Pages::new(size.pages_up(page).raw() / 2));
                let fault = Box::new(fault);
                LayoutRefusal::FirmwareHasLess { size, page, leaked, fault }.into()
            }
            _ => fault.into(),
        }
    }

    /// Notes the default window if a call made it on its way, and takes its share off what the call charged. Of that,
    /// `own` is what the call was to charge for itself.
    ///
    /// A call that failed may have made the window all the same: its charge tells. If that cannot be read, the window
    /// stays awaited, until a call charges less than it would have with it. In a partition, `ENODEV` ends all windows
    /// to come, and may be what the default one itself met: its charge alone proves nothing then.
    pub(in crate::engine) fn note_default_made<T>(
        &mut self,
        call: Charged<T>,
        own: Bytes,
    ) -> Charged<T> {
        let has_given_up = self.note_given_up(&call);
        let backend = self.backend_mut().expect("a call was made on it");
        let default = backend.default_charge();
        let Some((made @ Made::AtFirstUse, subject)) = backend.default_window() else {
            return call;
        };
        let least = match call.result {
            Ok(_) => default.saturating_add(own),
            Err(_) if has_given_up => default.saturating_add(own.max(Bytes::new(1))),
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

    /// Whether a call failed because the PE is on `failed_ddw_pdn_list` (`spapr_tce_create_table`). No other is made
    /// for it then.
    fn note_given_up<T>(&mut self, call: &Charged<T>) -> bool {
        let errno = call.result.as_ref().err().and_then(Fault::errno);
        let State::Attached(backend) = &mut self.state else { return false };
        if backend.facts.platform != Platform::Pseries || errno != Some(Errno::ENODEV) {
            return false;
        }
        backend.facts.creatable = Creatable::Nothing;
        backend.groups.iter().for_each(|group| self.platform.give_up(group.number));
        true
    }

    const fn next_generation(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }
}
