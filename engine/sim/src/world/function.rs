//! A device as a PCI function: what it can do, its reset and its interrupts.

use tce_engine::{
    errno::Errno,
    kernel::{DeviceInfo, Fd, InterruptKind, Platform},
};

use super::World;
use crate::{
    descriptor::{DeviceFile, File},
    event::EventId,
};

/// `VFIO_DEVICE_FLAGS_RESET`.
const FLAG_RESET: u32 = 1;
/// `VFIO_DEVICE_FLAGS_PCI`.
const FLAG_PCI: u32 = 2;
/// `VFIO_PCI_NUM_IRQS`: the three kinds, errors, and the request to give the device back.
const INTERRUPT_KINDS: u32 = 5;

impl World {
    /// `vfio_pci_ioctl_get_info`.
    pub(crate) fn device_info(&mut self, fd: Fd) -> Result<DeviceInfo, Errno> {
        let file = self.open_function(fd)?;
        self.device_mut(file)?;
        let reset = if self.functions_reset() { FLAG_RESET } else { 0 };
        Ok(DeviceInfo { flags: FLAG_PCI | reset, interrupt_kinds: INTERRUPT_KINDS })
    }

    /// `vfio_pci_ioctl_reset`.
    pub(crate) fn reset_device(&mut self, fd: Fd) -> Result<(), Errno> {
        let file = self.open_function(fd)?;
        if !self.functions_reset() {
            return Err(Errno::EINVAL);
        }
        self.device_mut(file)?.reset_function();
        Ok(())
    }

    /// `vfio_pci_ioctl_get_irq_info`.
    pub(crate) fn interrupt_count(&mut self, fd: Fd, kind: InterruptKind) -> Result<u32, Errno> {
        let file = self.open_function(fd)?;
        Ok(self.device_mut(file)?.interrupt_count(kind))
    }

    /// `vfio_pci_ioctl_set_irqs` with one event. A second event takes the place of the first.
    pub(crate) fn enable_interrupts(
        &mut self,
        fd: Fd,
        kind: InterruptKind,
        event: Fd,
    ) -> Result<(), Errno> {
        let file = self.open_function(fd)?;
        let event = self.event_of(event)?;
        self.device_mut(file)?.enable_interrupts(kind, event)
    }

    /// The same without data.
    pub(crate) fn disable_interrupts(&mut self, fd: Fd, kind: InterruptKind) -> Result<(), Errno> {
        let file = self.open_function(fd)?;
        self.device_mut(file)?.disable_interrupts(kind)
    }

    /// A device raises its interrupt. A frozen PE lets none through.
    pub(super) fn interrupt(&mut self, file: DeviceFile) {
        let number = self.groups.get(&file.group).map(|group| group.number);
        let endpoint = number.and_then(|number| self.endpoints.get(number));
        if endpoint.is_some_and(|endpoint| endpoint.state.dma_passes()) {
            let counting = self.device_mut(file).ok().and_then(|device| device.interrupt());
            if let Some(event) = counting {
                self.events.signal(event);
            }
        }
    }

    /// Whether functions can be reset. Those here have no reset of their own, only that of the bus behind a bridge
    /// (`pci_parent_bus_reset`). A partition's devices are behind none.
    fn functions_reset(&self) -> bool {
        self.profile.platform == Platform::Powernv
    }

    /// The device of a descriptor; other files do not know its calls.
    fn open_function(&self, fd: Fd) -> Result<DeviceFile, Errno> {
        match self.descriptors.file(fd)? {
            File::Device(file) => Ok(*file),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// The eventfd of a descriptor (`eventfd_ctx_fdget`).
    pub(super) fn event_of(&self, fd: Fd) -> Result<EventId, Errno> {
        match self.descriptors.file(fd)? {
            File::Event(id) => Ok(*id),
            _ => Err(Errno::EINVAL),
        }
    }
}
