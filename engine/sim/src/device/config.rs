//! PCI configuration space, as `vfio-pci` shows it: little-endian bytes.

use tce_engine::errno::Errno;

use crate::profile::{DeviceModel, DeviceProfile};

/// A conventional device has no more.
const CONFIG_BYTES: usize = 256;
const COMMAND: usize = 0x04;
/// Bits of the command register that stay as written: I/O, memory, bus master, SERR, INTx off.
const COMMAND_WRITABLE: u16 = 0x0507;
/// As `vfio_pci_core_enable` leaves it: memory space and SERR on, bus mastering off.
const COMMAND_ENABLED: u16 = 0x0102;
const COMMAND_MEMORY: u16 = 0x0002;
const STATUS_AND_REVISION: [u8; 6] = [0x10, 0x00, 0x10, 0x00, 0xff, 0x00];
/// What an `edu` has besides: QEMU's subsystem; the list of capabilities, which begins with the only one; the legacy
/// interrupt's pin A; MSI with 64-bit addresses and one message. Whether MSI is on does not show: `vfio-pci` keeps that
/// bit for its user to write (`init_pci_cap_msi_perm`), and `VFIO_DEVICE_SET_IRQS` changes the device's own.
const EDU: [(usize, &[u8]); 4] = [
    (0x2c, &[0xf4, 0x1a, 0x00, 0x11]),
    (0x34, &[0x40]),
    (0x3d, &[1]),
    (0x40, &[0x05, 0x00, 0x80, 0x00]),
];
const COMMAND_MASTER: u16 = 0x0004;
const COMMAND_INTX_OFF: u16 = 0x0400;

/// The space.
#[derive(Debug)]
pub(super) struct Config {
    bytes: [u8; CONFIG_BYTES],
}

impl Config {
    /// As it is when the device is opened, and after a reset.
    pub(super) fn new(profile: &DeviceProfile) -> Self {
        let mut bytes = [0; CONFIG_BYTES];
        let (vendor, device) = profile.id;
        bytes[0..2].copy_from_slice(&vendor.to_le_bytes());
        bytes[2..4].copy_from_slice(&device.to_le_bytes());
        bytes[COMMAND..COMMAND + 2].copy_from_slice(&COMMAND_ENABLED.to_le_bytes());
        bytes[0x06..0x0c].copy_from_slice(&STATUS_AND_REVISION);
        if profile.model == DeviceModel::Edu {
            for (at, part) in EDU {
                bytes[at..at + part.len()].copy_from_slice(part);
            }
        }
        Self { bytes }
    }

    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let start = start_of(offset, bytes.len())?;
        bytes.copy_from_slice(&self.bytes[start..start + bytes.len()]);
        Ok(())
    }

    /// Only the command register takes anything.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let start = start_of(offset, bytes.len())?;
        let writable = COMMAND_WRITABLE.to_le_bytes();
        for (at, byte) in (start..).zip(bytes) {
            if (COMMAND..COMMAND + 2).contains(&at) {
                self.bytes[at] = *byte & writable[at - COMMAND];
            }
        }
        Ok(())
    }

    pub(super) fn has_memory_space(&self) -> bool {
        self.command() & COMMAND_MEMORY != 0
    }

    pub(super) fn is_bus_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// Whether the legacy interrupt is not switched off.
    pub(super) fn lets_line_through(&self) -> bool {
        self.command() & COMMAND_INTX_OFF == 0
    }

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }
}

fn start_of(offset: u64, len: usize) -> Result<usize, Errno> {
    let start = usize::try_from(offset).map_err(|_| Errno::EFAULT)?;
    let fits = start.checked_add(len).is_some_and(|end| end <= CONFIG_BYTES);
    if fits { Ok(start) } else { Err(Errno::EFAULT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edu() -> Config {
        Config::new(&DeviceProfile::edu("0000:01:00.0"))
    }

    #[test]
    fn the_identity_is_read_and_never_written() {
        let mut config = edu();
        config.write(0, &[0xff; 8]).expect("it is inside");
        let mut bytes = [0; 8];
        config.read(0, &mut bytes).expect("it is inside");
        assert_eq!(bytes, [0x34, 0x12, 0xe8, 0x11, 0x07, 0x05, 0x10, 0]);
    }

    #[test]
    fn the_command_register_switches_memory_and_bus_mastering() {
        let mut config = edu();
        assert!(config.has_memory_space() && !config.is_bus_master());
        config.write(4, &[6, 0]).expect("it is inside");
        assert!(config.has_memory_space() && config.is_bus_master());
        config.write(4, &[2]).expect("it is inside");
        assert!(config.has_memory_space() && !config.is_bus_master());
    }

    #[test]
    fn the_end_of_the_space_is_the_end() {
        let config = edu();
        assert_eq!(config.read(252, &mut [0; 4]), Ok(()));
        assert_eq!(config.read(253, &mut [0; 4]), Err(Errno::EFAULT));
        assert_eq!(config.read(u64::MAX, &mut [0; 4]), Err(Errno::EFAULT));
    }
}
