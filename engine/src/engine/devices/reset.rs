//! Invariant 8: a device is reset before its next holder.
//!
//! It is reset when the last lease ends, if its function can be; if not, when a lease begins that somebody else is to
//! have, with its PE. A function's reset that fails does not keep leases from ending, since the device is quiet: it is
//! tried again before the next lease.

use crate::{
    error::{DeviceRefusal, Error},
    kernel::{DeviceFd, Kernel},
    lease::{Holder, Lease, LeaseState},
};

use super::{
    super::{Engine, State},
    device::{Answer, Device, Traces},
    let_go_again,
};

/// How devices are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ResetWay {
    /// There is none to reset.
    Nothing,
    /// Function by function.
    Functions,
    /// With their PEs, all of the container.
    Pes,
}

impl<K: Kernel> Engine<K> {
    /// Resets every open device: function by function if all can be, with their PEs if one cannot and the platform has
    /// EEH. They are quiet then, and have forgotten what drivers told them; what is mapped stays so.
    ///
    /// # Errors
    /// [`DeviceRefusal`], [`FreezeRefusal`](crate::freeze::FreezeRefusal); [`Error::NoBackend`]; [`Error::Fault`]. This
    /// can be called again.
    pub fn reset_devices(&mut self) -> Result<(), Error> {
        self.backend()?;
        let way = self.way_to_reset(|_| true)?;
        self.reset(way, |_| true)
    }

    /// How devices are made ready for a new lease.
    pub(in super::super) fn way_to_next(&self, next: &Holder) -> Result<ResetWay, Error> {
        if self.leases.live().next().is_some() {
            return Ok(ResetWay::Nothing);
        }
        self.way_to_reset(|device| device.traces.concern(next))
    }

    /// A device that another holder has used is reset before the next one's lease begins. It may run then if it might
    /// before.
    pub(in super::super) fn ready_devices(&mut self, next: &Holder) -> Result<(), Error> {
        let way = self.way_to_next(next)?;
        if way == ResetWay::Nothing {
            return Ok(());
        }
        let running = self.backend()?.devices().filter(|device| device.may_run());
        let running: Vec<DeviceFd> = running.map(|device| device.fd).collect();
        self.reset(way, |device| device.traces.concern(next))?;
        Ok(let_go_again(self, &running)?)
    }

    /// Resets what the last leases have used, now that they end and devices are quiet: that waits for transfers under
    /// way, too.
    pub(in super::super) fn reset_after_last_lease(&mut self) -> Result<(), Error> {
        if self.leases.live().any(|(_, lease)| !is_ending(lease)) {
            return Ok(());
        }
        let State::Attached(backend) = &mut self.state else { return Ok(()) };
        let used = backend.devices_mut().filter(|device| device.traces != Traces::None);
        for device in used.filter(|device| device.has_reset() && device.answer() == Answer::Given) {
            let reset = device.reset(&mut self.calls)?;
            if reset.is_ok() && device.answer() == Answer::Given {
                device.traces = Traces::None;
            }
        }
        Ok(())
    }

    fn way_to_reset(&self, is_meant: impl Fn(&Device) -> bool) -> Result<ResetWay, Error> {
        let backend = self.backend()?;
        if !backend.devices().any(&is_meant) {
            return Ok(ResetWay::Nothing);
        }
        let mut without =
            backend.devices().filter(|device| is_meant(device) && !device.has_reset());
        match without.next() {
            None if self.recovery_step().is_none() => Ok(ResetWay::Functions),
            Some(device) if !backend.facts.eeh || !backend.devices().all(is_meant) => {
                Err(DeviceRefusal::NoReset { address: device.address.clone() }.into())
            }
            _ => self.can_reset_pes().map(|()| ResetWay::Pes),
        }
    }

    fn reset(&mut self, way: ResetWay, is_meant: impl Fn(&Device) -> bool) -> Result<(), Error> {
        match way {
            ResetWay::Nothing => Ok(()),
            ResetWay::Pes => self.reset_pes_anew(),
            ResetWay::Functions => {
                self.quiesce_devices()?;
                self.reset_functions(is_meant)
            }
        }
    }

    fn reset_functions(&mut self, is_meant: impl Fn(&Device) -> bool) -> Result<(), Error> {
        let left = self.traces_of_running_leases();
        let State::Attached(backend) = &mut self.state else { return Ok(()) };
        for device in backend.devices_mut().filter(|device| is_meant(device)) {
            device.check_answer()?;
            device.reset(&mut self.calls)??;
            device.check_answer()?;
            device.traces = left.clone();
        }
        Ok(())
    }

    /// Notes with every device that it may run for a holder from now on.
    pub(in super::super) fn note_holder(&mut self, holder: Holder) {
        let traces = Traces::Of(holder);
        if let State::Attached(backend) = &mut self.state {
            backend.devices_mut().for_each(|device| device.traces.add(&traces));
        }
    }

    /// Whose leases devices can reach when they run.
    pub(super) fn traces_of_live_leases(&self) -> Traces {
        self.traces_of(|_| true)
    }

    /// The same without leases that are ending. A driver may let its device run for such a lease without a word to us.
    pub(in super::super) fn traces_of_running_leases(&self) -> Traces {
        self.traces_of(|lease| !is_ending(lease))
    }

    fn traces_of(&self, is_meant: impl Fn(&Lease) -> bool) -> Traces {
        let mut traces = Traces::None;
        for (_, lease) in self.leases.live().filter(|(_, lease)| is_meant(lease)) {
            traces.add(&Traces::Of(lease.holder.clone()));
        }
        traces
    }
}

const fn is_ending(lease: &Lease) -> bool {
    matches!(lease.state, LeaseState::Ending(_) | LeaseState::Ended(_))
}
