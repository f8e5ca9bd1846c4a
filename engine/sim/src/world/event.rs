//! Eventfds, and the kernel's request to give a device back.

use tce_engine::{
    errno::Errno,
    kernel::{Fd, GroupNumber},
};

use super::World;
use crate::{descriptor::File, event::EventId};

impl World {
    /// `eventfd2`.
    pub(crate) fn open_event(&mut self) -> Result<Fd, Errno> {
        let id = EventId(self.take_id());
        let fd = self.descriptors.open(File::Event(id))?;
        self.events.open(id);
        Ok(fd)
    }

    /// Reads a count. No other file here has anything of eight bytes to read.
    pub(crate) fn read_event(&mut self, fd: Fd) -> Result<u64, Errno> {
        match self.descriptors.file(fd)? {
            File::Event(id) => self.events.read(*id),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `VFIO_DEVICE_SET_IRQS` of the request (`vfio_pci_set_req_trigger`). A second event takes the place of the first.
    pub(crate) fn watch_requests(&mut self, device: Fd, event: Fd) -> Result<(), Errno> {
        let File::Device(file) = *self.descriptors.file(device)? else {
            return Err(Errno::ENOTTY);
        };
        let id = self.event_of(event)?;
        self.device_mut(file)?.request = Some(id);
        Ok(())
    }

    /// `vfio_pci_core_request` of each open device of a group.
    pub(super) fn request_devices(&mut self, number: GroupNumber) {
        let Some(endpoint) = self.endpoints.get(number) else { return };
        for event in endpoint.devices.iter().filter_map(|device| device.request) {
            self.events.signal(event);
        }
    }
}
