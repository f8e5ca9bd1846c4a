//! Devices: opened, watched, made quiet, reset before their next holder.

mod device;
mod reset;

use crate::{
    error::Error,
    fault::Fault,
    kernel::{DeviceFd, EventFd, GroupNumber, Kernel},
};

use super::{Engine, State};
pub(super) use device::Device;

impl<K: Kernel> Engine<K> {
    /// Opens a device of an attached group, and lets it start transfers. While it is open, an unbinding of its driver
    /// waits for us. A device that is open already is not opened twice.
    ///
    /// The kernel resets what it can of a device when it is opened first and closed last (`vfio_pci_core_enable`,
    /// `vfio_pci_core_disable`), so one that was closed and is opened anew counts as clean.
    ///
    /// # Errors
    /// [`GroupRefusal::Attached`](crate::error::GroupRefusal::Attached) if the group is not,
    /// [`FreezeRefusal::Unfinished`](crate::freeze::FreezeRefusal::Unfinished), [`Error::Fault`].
    pub fn open_device(&mut self, group: GroupNumber, address: &str) -> Result<DeviceFd, Error> {
        let fd = self.attached(group)?.fd;
        self.check_no_recovery()?;
        let traces = self.traces_of_live_leases();
        if let Some(device) = self.state.backend_mut().and_then(|it| it.device(group, address)) {
            device.let_go(&mut self.calls, &traces)?;
            return Ok(device.fd);
        }
        let requests = self.requests_of(group)?;
        let opened = self.calls.open_device(fd, address)?;
        match Device::take_on(&mut self.calls, opened, address, requests, &traces) {
            Ok(device) => self.attached(group)?.devices.push(device),
            Err(fault) => {
                let _ = self.calls.close(opened.fd(), "device");
                return Err(fault.into());
            }
        }
        Ok(opened)
    }

    /// What counts when the kernel wants a device of the group back.
    fn requests_of(&mut self, group: GroupNumber) -> Result<EventFd, Error> {
        if let Some(event) = self.attached(group)?.requests {
            return Ok(event);
        }
        let event = self.calls.open_event()?;
        self.attached(group)?.requests = Some(event);
        Ok(event)
    }

    /// Makes every open device unable to start transfers and to interrupt: its interrupts are taken off in the kernel, bus
    /// mastering ends, which messages need too, and its line is off. Command registers are read back. A device that does
    /// not answer, because its PE is frozen or it is gone, can do nothing anyhow.
    ///
    /// # Errors
    /// The first device that did not obey.
    pub fn quiesce_devices(&mut self) -> Result<(), Error> {
        let State::Attached(backend) = &mut self.state else { return Ok(()) };
        let calls = &mut self.calls;
        Ok(backend.devices_mut().try_for_each(|device| device.quiet(calls))?)
    }

    /// Lets every open device start transfers again, with its interrupt line as it was. Interrupts that were on before
    /// are the driver's to set up again.
    ///
    /// # Errors
    /// The first device that did not obey; [`FreezeRefusal::Unfinished`](crate::freeze::FreezeRefusal::Unfinished).
    pub fn resume_devices(&mut self) -> Result<(), Error> {
        self.check_no_recovery()?;
        let traces = self.traces_of_live_leases();
        let State::Attached(backend) = &mut self.state else { return Ok(()) };
        let calls = &mut self.calls;
        Ok(backend.devices_mut().try_for_each(|device| device.let_go(calls, &traces))?)
    }
}

/// A device that was found running goes on after it was reset.
fn let_go_again<K: Kernel>(engine: &mut Engine<K>, running: &[DeviceFd]) -> Result<(), Fault> {
    let traces = engine.traces_of_live_leases();
    let State::Attached(backend) = &mut engine.state else { return Ok(()) };
    let mut meant = backend.devices_mut().filter(|device| running.contains(&device.fd));
    meant.try_for_each(|device| device.let_go(&mut engine.calls, &traces))
}
