//! Registers of a device, through its descriptor.
//!
//! A region of a device is a range of its descriptor's offsets (`vfio_pci_rw`). One access is one
//! `pread` or `pwrite`; bytes are as the device lays them out, little-endian for PCI.

use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use tce_engine::{
    errno::Errno,
    kernel::{DeviceSpace, Raw},
};

use crate::{
    abi::{
        DEVICE_GET_REGION_INFO, VFIO_PCI_BAR5_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, argsz,
        vfio_region_info,
    },
    descriptors::{Descriptor, errno_of},
    ioctl,
};

/// Where a region lies among the descriptor's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    offset: u64,
    size: u64,
}

/// The regions of one device, each asked for once: they do not change while it is open.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    known: Mutex<BTreeMap<u32, Region>>,
}

/// Reads registers; `EINVAL` for what lies outside the region, `EIO` for a read that came back
/// short.
pub(crate) fn read(
    device: &Descriptor,
    space: DeviceSpace,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), Errno> {
    let at = region(device, space)?.place(offset, bytes.len())?;
    let done = device.file().read_at(bytes, at).map_err(errno_of)?;
    whole(done, bytes.len())
}

/// Writes registers, with the errors of [`read`].
pub(crate) fn write(
    device: &Descriptor,
    space: DeviceSpace,
    offset: u64,
    bytes: &[u8],
) -> Result<(), Errno> {
    let at = region(device, space)?.place(offset, bytes.len())?;
    let done = device.file().write_at(bytes, at).map_err(errno_of)?;
    whole(done, bytes.len())
}

fn whole(done: usize, wanted: usize) -> Result<(), Errno> {
    if done == wanted { Ok(()) } else { Err(Errno::EIO) }
}

impl Region {
    /// The descriptor's offset for a range of the region, if it lies inside.
    fn place(self, offset: u64, length: usize) -> Result<u64, Errno> {
        let length = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
        let end = offset.checked_add(length).ok_or(Errno::EINVAL)?;
        if end > self.size {
            return Err(Errno::EINVAL);
        }
        self.offset.checked_add(offset).ok_or(Errno::EINVAL)
    }
}

fn region(device: &Descriptor, space: DeviceSpace) -> Result<Region, Errno> {
    let index = index_of(space)?;
    let mut known = device.regions().known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(region) = known.get(&index) {
        return Ok(*region);
    }
    let region = ask(device, index)?;
    known.insert(index, region);
    Ok(region)
}

fn index_of(space: DeviceSpace) -> Result<u32, Errno> {
    match space {
        DeviceSpace::Config => Ok(VFIO_PCI_CONFIG_REGION_INDEX),
        DeviceSpace::Bar(bar) if u32::from(bar) <= VFIO_PCI_BAR5_REGION_INDEX => Ok(bar.into()),
        DeviceSpace::Bar(_) => Err(Errno::EINVAL),
    }
}

fn ask(device: &Descriptor, index: u32) -> Result<Region, Errno> {
    let mut info =
        vfio_region_info { argsz: argsz::<vfio_region_info>(), index, ..Default::default() };
    match ioctl::with(device, &DEVICE_GET_REGION_INFO, &mut info) {
        Raw::Returned(0) => Ok(Region { offset: info.offset, size: info.size }),
        Raw::Returned(_) => Err(Errno::EIO),
        Raw::Failed(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: Region = Region { offset: 1 << 40, size: 0x1000 };

    #[test]
    fn accesses_stay_inside_their_region() {
        assert_eq!(BAR.place(0, 4), Ok(1 << 40));
        assert_eq!(BAR.place(0xffc, 4), Ok((1 << 40) + 0xffc));
        assert_eq!(BAR.place(0xffd, 4), Err(Errno::EINVAL));
        assert_eq!(BAR.place(0x1000, 1), Err(Errno::EINVAL));
        assert_eq!(BAR.place(u64::MAX, 2), Err(Errno::EINVAL));
    }

    #[test]
    fn an_absent_region_holds_nothing() {
        assert_eq!(Region { offset: 0, size: 0 }.place(0, 1), Err(Errno::EINVAL));
    }

    #[test]
    fn only_six_base_address_registers_exist() {
        assert_eq!(index_of(DeviceSpace::Bar(5)), Ok(5));
        assert_eq!(index_of(DeviceSpace::Bar(6)), Err(Errno::EINVAL));
        assert_eq!(index_of(DeviceSpace::Config), Ok(7));
    }
}
