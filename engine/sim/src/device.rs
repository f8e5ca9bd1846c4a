//! Devices on the bus: configuration space, registers, and what they want from memory.

use tce_engine::{errno::Errno, kernel::InterruptKind};

use crate::{
    event::EventId,
    profile::{DeviceModel, DeviceProfile},
};

mod config;
mod edu;
mod interrupts;

use config::Config;
use edu::Edu;
pub(crate) use edu::{Direction, Effect, Transfer};
use interrupts::Interrupts;

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) profile: DeviceProfile,
    /// Descriptors open on it (`vfio_device::open_count`).
    pub(crate) opens: u32,
    /// What counts when the host wants the device back (`vfio_pci_core_device::req_trigger`).
    pub(crate) request: Option<EventId>,
    config: Config,
    interrupts: Interrupts,
    model: Model,
}

#[derive(Debug)]
enum Model {
    Edu(Box<Edu>),
    Inert,
}

impl Device {
    pub(crate) fn new(profile: &DeviceProfile) -> Self {
        Self {
            profile: profile.clone(),
            opens: 0,
            request: None,
            config: Config::new(profile),
            interrupts: Interrupts::default(),
            model: match profile.model {
                DeviceModel::Edu => Model::Edu(Box::default()),
                DeviceModel::Inert => Model::Inert,
            },
        }
    }

    /// One more descriptor; the first resets the function (`vfio_pci_core_enable`).
    pub(crate) fn open(&mut self) {
        if self.opens == 0 {
            self.reset();
        }
        self.opens += 1;
    }

    /// One descriptor less; the last takes interrupts off, resets the function, ends bus mastering
    /// (`vfio_pci_core_disable`) and forgets whom to ask for the device (`vfio_pci_core_close_device`).
    pub(crate) fn close(&mut self) {
        self.opens = self.opens.saturating_sub(1);
        if self.opens == 0 {
            self.interrupts = Interrupts::default();
            self.reset();
            self.request = None;
        }
    }

    /// A reset that loses configuration space.
    pub(crate) fn reset(&mut self) {
        self.config = Config::new(&self.profile);
        self.reset_function();
    }

    /// A reset around which configuration space is saved and restored (`pci_try_reset_function`). QEMU's `edu` does not
    /// notice one; this one does what a device does.
    pub(crate) fn reset_function(&mut self) {
        if let Model::Edu(edu) = &mut self.model {
            **edu = Edu::default();
        }
    }

    /// `vfio_pci_config_rw`: a range beyond configuration space is `EFAULT`.
    pub(crate) fn read_config(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.config.read(offset, bytes)
    }

    /// The same for writing.
    pub(crate) fn write_config(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.config.write(offset, bytes)
    }

    /// `vfio_pci_bar_rw`.
    pub(crate) fn read_bar(&self, bar: u8, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let edu = self.bar(bar, offset, bytes.len())?;
        let mut left = bytes;
        let mut at = offset;
        while !left.is_empty() {
            let (access, rest) = left.split_at_mut(access_len(at, left.len()));
            edu.read(at, access);
            at += as_offset(access.len());
            left = rest;
        }
        Ok(())
    }

    /// The same for writing. Returns what the writes started.
    pub(crate) fn write_bar(
        &mut self,
        bar: u8,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Vec<Effect>, Errno> {
        self.bar(bar, offset, bytes.len())?;
        let Model::Edu(edu) = &mut self.model else { return Err(Errno::EINVAL) };
        let mut started = Vec::new();
        let mut left = bytes;
        let mut at = offset;
        while !left.is_empty() {
            let (access, rest) = left.split_at(access_len(at, left.len()));
            started.extend(edu.write(at, access));
            at += as_offset(access.len());
            left = rest;
        }
        Ok(started)
    }

    /// Whether the device may start DMA.
    pub(crate) fn is_bus_master(&self) -> bool {
        self.config.is_bus_master()
    }

    /// How many interrupts of a kind it has (`vfio_pci_get_irq_count`).
    pub(crate) const fn interrupt_count(&self, kind: InterruptKind) -> u32 {
        match (&self.model, kind) {
            (Model::Edu(_), InterruptKind::Intx | InterruptKind::Msi) => 1,
            (Model::Edu(_), InterruptKind::Msix) | (Model::Inert, _) => 0,
        }
    }

    /// `vfio_pci_set_intx_trigger`, `vfio_pci_set_msi_trigger` with an event.
    pub(crate) fn enable_interrupts(
        &mut self,
        kind: InterruptKind,
        event: EventId,
    ) -> Result<(), Errno> {
        if self.interrupt_count(kind) == 0 {
            return Err(Errno::EINVAL);
        }
        self.interrupts.enable(kind, event)
    }

    /// The same without data.
    pub(crate) fn disable_interrupts(&mut self, kind: InterruptKind) -> Result<(), Errno> {
        self.interrupts.disable(kind)
    }

    /// The device raises its interrupt. Returns the event that counts it. A message is a write to memory, so it takes
    /// bus mastering.
    pub(crate) fn interrupt(&mut self) -> Option<EventId> {
        let line = if self.config.lets_line_through() { self.interrupts.line() } else { None };
        line.or_else(|| self.interrupts.message().filter(|_| self.is_bus_master()))
    }

    /// The device's own memory that a transfer reads or fills.
    pub(crate) fn buffer(&mut self, transfer: &Transfer) -> Option<&mut [u8]> {
        match &mut self.model {
            Model::Edu(edu) => edu.buffer(transfer),
            Model::Inert => None,
        }
    }

    /// Checks an access to a BAR; only the `edu` has one. With memory space off, every access fails.
    fn bar(&self, bar: u8, offset: u64, len: usize) -> Result<&Edu, Errno> {
        let Model::Edu(edu) = &self.model else { return Err(Errno::EINVAL) };
        if bar != 0 || offset >= edu::BAR_BYTES {
            return Err(Errno::EINVAL);
        }
        // The kernel would transfer the part that fits; the seam has no short counts.
        if as_offset(len) > edu::BAR_BYTES - offset || !self.config.has_memory_space() {
            return Err(Errno::EIO);
        }
        Ok(edu)
    }
}

/// The largest access that alignment and length allow, up to 8 bytes (`vfio_pci_core_do_io_rw`, since 6.11).
fn access_len(at: u64, len: usize) -> usize {
    let fits = |size: &usize| *size <= len && at.is_multiple_of(as_offset(*size));
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

fn as_offset(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}
