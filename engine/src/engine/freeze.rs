//! PEs that EEH froze: noticed, told, recovered.

use crate::{
    error::Error,
    freeze::{FreezeRefusal, PeState, RecoveryStep},
    kernel::{EehOperation, Kernel},
    lease::{LeaseId, News},
};

use super::{Engine, devices::Device};

/// What is known of the container's PEs.
#[derive(Debug, Default)]
pub(super) struct Freeze {
    notice: Notice,
    /// The next step of a recovery that is under way.
    next: Option<RecoveryStep>,
}

/// Whether the leases were told of a freeze that no recovery has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Notice {
    #[default]
    None,
    Told,
}

impl<K: Kernel> Engine<K> {
    /// Asks for the state of the container's PEs. The first time that it is not [`PeState::Normal`] every lease is told
    /// [`News::Frozen`]; then no more until [`Engine::recover`] has ended the freeze, even if the PE should work again
    /// by itself: nobody knows what became of its devices.
    ///
    /// Whoever reads ones from a device's registers asks here, and whoever serves leases does now and then.
    ///
    /// # Errors
    /// [`FreezeRefusal::NoEeh`], [`FreezeRefusal::UnknownState`]; [`Error::NoBackend`]; [`Error::Fault`].
    pub fn check_frozen(&mut self) -> Result<PeState, Error> {
        self.has_eeh()?;
        let state = self.pe_state()?;
        if !state.works() && self.backend()?.freeze.notice == Notice::None {
            self.backend_mut()?.freeze.notice = Notice::Told;
            self.tell_all(&News::Frozen);
        }
        Ok(state)
    }

    /// Brings frozen PEs back: all devices of the container are reset with their PEs, and stay quiet
    /// ([`Engine::resume_devices`]). What is mapped stays so. Every lease is told [`News::Recovered`]; it is for drivers
    /// to set their devices up again.
    ///
    /// After an error it goes on where it stopped when it is called again ([`Engine::recovery_step`]); if the PEs are
    /// still frozen after all, or a device does not answer, it begins anew. How often that is worth a try is the
    /// caller's to say: the kernel gives up on devices of its own after 5 freezes within an hour (`eeh_max_freezes`).
    ///
    /// # Errors
    /// [`FreezeRefusal`]; [`DeviceRefusal::Silent`](crate::error::DeviceRefusal::Silent); [`Error::NoBackend`]; [`Error::Fault`].
    pub fn recover(&mut self) -> Result<(), Error> {
        self.can_reset_pes()?;
        if self.backend()?.freeze.next.is_none() {
            let state = self.check_frozen()?;
            if state.works() && self.backend()?.freeze.notice == Notice::None {
                return Err(FreezeRefusal::NotFrozen.into());
            }
        }
        self.reset_pes()?;
        let freeze = &mut self.backend_mut()?.freeze;
        if std::mem::take(&mut freeze.notice) == Notice::Told {
            self.tell_all(&News::Recovered);
        }
        Ok(())
    }

    /// The next step of a recovery that a failure has stopped.
    #[must_use]
    pub fn recovery_step(&self) -> Option<RecoveryStep> {
        self.backend().ok()?.freeze.next
    }

    /// Nothing is let go while PEs are being reset.
    pub(super) fn check_no_recovery(&self) -> Result<(), FreezeRefusal> {
        self.recovery_step().map_or(Ok(()), |step| Err(FreezeRefusal::Unfinished(step)))
    }

    /// Whether a reset of PEs can be: their platform has it, and a device of each is open.
    pub(super) fn can_reset_pes(&self) -> Result<(), Error> {
        self.has_eeh()?;
        let mut groups = self.backend()?.groups.iter();
        match groups.find(|group| group.devices.is_empty()) {
            Some(group) => Err(FreezeRefusal::Unwatched(group.number).into()),
            None => Ok(()),
        }
    }

    /// The same from the beginning: what drivers have left since a recovery stopped is no longer there.
    pub(super) fn reset_pes_anew(&mut self) -> Result<(), Error> {
        self.backend_mut()?.freeze.next = Some(RecoveryStep::Quiesce);
        self.reset_pes()
    }

    /// Resets the PEs with all devices of the container, from where it last stopped. Devices are quiet then, and clean if the
    /// reset was not behind them when this began.
    pub(super) fn reset_pes(&mut self) -> Result<(), Error> {
        let begins = *self.backend_mut()?.freeze.next.get_or_insert(RecoveryStep::Quiesce);
        while let Some(step) = self.recovery_step() {
            let taken = self.take_recovery_step(step);
            self.backend_mut()?.freeze.next = match &taken {
                Ok(()) => step.next(),
                Err(Error::Freeze(_) | Error::Device(_)) => Some(RecoveryStep::Quiesce),
                Err(_) => Some(step),
            };
            taken?;
        }
        if matches!(begins, RecoveryStep::Quiesce | RecoveryStep::ResetHot) {
            let left = self.traces_of_running_leases();
            self.backend_mut()?.devices_mut().for_each(|device| device.traces = left.clone());
        }
        Ok(())
    }

    fn take_recovery_step(&mut self, step: RecoveryStep) -> Result<(), Error> {
        let operation = match step {
            RecoveryStep::Quiesce => return self.quiesce_devices(),
            RecoveryStep::ResetHot => EehOperation::ResetHot,
            RecoveryStep::ResetDeactivate => EehOperation::ResetDeactivate,
            RecoveryStep::Configure => EehOperation::Configure,
            RecoveryStep::CheckState => return self.check_recovered(),
            RecoveryStep::QuietAgain => return self.quiet_again(),
        };
        let container = self.container();
        Ok(self.calls.eeh(container, operation)?)
    }

    fn check_recovered(&mut self) -> Result<(), Error> {
        let state = self.pe_state()?;
        if state.works() { Ok(()) } else { Err(FreezeRefusal::StillFrozen(state).into()) }
    }

    fn quiet_again(&mut self) -> Result<(), Error> {
        self.quiesce_devices()?;
        Ok(self.backend()?.devices().try_for_each(Device::check_answer)?)
    }

    fn has_eeh(&self) -> Result<(), Error> {
        if self.backend()?.facts.eeh { Ok(()) } else { Err(FreezeRefusal::NoEeh.into()) }
    }

    fn pe_state(&mut self) -> Result<PeState, Error> {
        let container = self.container();
        let value = self.calls.pe_state(container)?;
        Ok(PeState::from_value(value).ok_or(FreezeRefusal::UnknownState(value))?)
    }

    fn tell_all(&mut self, news: &News) {
        let live: Vec<LeaseId> = self.leases.live().map(|(id, _)| id).collect();
        for lease in live {
            self.tell(lease, news.clone());
        }
    }
}
