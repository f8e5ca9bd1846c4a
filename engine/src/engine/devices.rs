//! Devices: opened, watched, made quiet.

use crate::{
    calls::BusMaster,
    error::Error,
    fault::Fault,
    kernel::{DeviceFd, EventFd, GroupNumber, Kernel},
};

use super::{
    Engine, State,
    backend::{Device, Group},
};

impl<K: Kernel> Engine<K> {
    /// Opens a device of an attached group, and lets it start transfers. While it is open, an unbinding of its driver
    /// waits for us. A device that is open already is not opened twice.
    ///
    /// # Errors
    /// [`GroupRefusal::Attached`] if the group is not, [`Error::Fault`].
    pub fn open_device(&mut self, group: GroupNumber, address: &str) -> Result<DeviceFd, Error> {
        let Group { fd, devices, .. } = self.attached(group)?;
        let fd = *fd;
        if let Some(device) = devices.iter().find(|device| device.address == address) {
            let device = device.fd;
            self.calls.set_bus_master(device, address, BusMaster::On)?;
            return Ok(device);
        }
        let requests = self.requests_of(group)?;
        let device = self.calls.open_device(fd, address)?;
        if let Err(fault) = self.take_on(device, address, requests) {
            let _ = self.calls.close(device.fd(), "device");
            return Err(fault.into());
        }
        let opened = Device { address: address.to_owned(), fd: device };
        self.attached(group)?.devices.push(opened);
        Ok(device)
    }

    fn take_on(&mut self, fd: DeviceFd, address: &str, requests: EventFd) -> Result<(), Fault> {
        self.calls.watch_requests(fd, address, requests)?;
        self.calls.set_bus_master(fd, address, BusMaster::On)
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

    /// Makes every open device unable to start transfers.
    ///
    /// # Errors
    /// The first device that did not obey.
    pub fn quiesce_devices(&mut self) -> Result<(), Error> {
        Ok(self.set_bus_masters(BusMaster::Off)?)
    }

    /// Lets every open device start transfers again.
    ///
    /// # Errors
    /// The first device that did not obey.
    pub fn resume_devices(&mut self) -> Result<(), Error> {
        Ok(self.set_bus_masters(BusMaster::On)?)
    }

    fn set_bus_masters(&mut self, wanted: BusMaster) -> Result<(), Fault> {
        let State::Attached(backend) = &self.state else { return Ok(()) };
        for device in backend.devices() {
            self.calls.set_bus_master(device.fd, &device.address, wanted)?;
        }
        Ok(())
    }
}
