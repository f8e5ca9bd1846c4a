//! Opening devices, and their registers.

use tce_engine::{
    errno::Errno,
    kernel::{DeviceSpace, Fd},
};

use super::World;
use crate::{
    descriptor::{DeviceFile, File},
    device::{Device, Effect},
    group::{GroupId, Presence},
    process::MmId,
};

impl World {
    /// `vfio_group_ioctl_get_device_fd`: `ENODEV` unless VFIO has such a device in the group, then `EINVAL` unless the
    /// group's container has a backend (`vfio_group_use_container`).
    pub(crate) fn open_device(
        &mut self,
        caller: MmId,
        group: Fd,
        address: &str,
    ) -> Result<Fd, Errno> {
        let id = self.group_of(caller, group)?;
        let group = self.groups.get(&id).ok_or(Errno::EBADF)?;
        if group.presence != Presence::Present {
            return Err(Errno::ENODEV);
        }
        let endpoint = self.endpoints.get(group.number).ok_or(Errno::ENODEV)?;
        let device = endpoint
            .devices
            .iter()
            .position(|device| device.profile.is_vfio() && device.profile.address == address)
            .ok_or(Errno::ENODEV)?;
        self.descriptors.has_room()?;
        let container = group.container.ok_or(Errno::EINVAL)?;
        let shell = self.containers.get(&container).ok_or(Errno::EINVAL)?;
        shell.backend.as_ref().ok_or(Errno::EINVAL)?;
        if let Some(group) = self.groups.get_mut(&id) {
            group.open_devices += 1;
        }
        let file = DeviceFile { group: id, device, number: self.take_id() };
        self.device_mut(file)?.open();
        self.descriptors.open(File::Device(file))
    }

    /// `vfio_device_fops_release`: the device's hold on the group goes, and a waiting unbind goes on.
    pub(super) fn close_device(&mut self, file: DeviceFile) {
        let id = file.group;
        if let Ok(device) = self.device_mut(file) {
            device.close();
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.open_devices = group.open_devices.saturating_sub(1);
        let unbind = group.open_devices == 0 && group.presence == Presence::Leaving;
        self.release_group_file(id);
        if unbind {
            self.remove_group(id);
        }
    }

    /// Reads registers. Those of a frozen PE read as ones.
    pub(crate) fn read_device(
        &mut self,
        fd: Fd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        let file = self.device_of(fd)?;
        let frozen = self.registers_are_frozen(file.group);
        let device = self.device_mut(file)?;
        match space {
            DeviceSpace::Config => device.read_config(offset, bytes)?,
            DeviceSpace::Bar(bar) => device.read_bar(bar, offset, bytes)?,
        }
        if frozen {
            bytes.fill(0xff);
        }
        self.check_width(space, offset, bytes.len());
        Ok(())
    }

    /// Writes registers, and does what DMA that starts and raises what it raises. A frozen PE takes no writes.
    pub(crate) fn write_device(
        &mut self,
        fd: Fd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let file = self.device_of(fd)?;
        let frozen = self.registers_are_frozen(file.group);
        let device = self.device_mut(file)?;
        let started = match space {
            DeviceSpace::Config | DeviceSpace::Bar(_) if frozen => Vec::new(),
            DeviceSpace::Config => {
                device.write_config(offset, bytes)?;
                Vec::new()
            }
            DeviceSpace::Bar(bar) => device.write_bar(bar, offset, bytes)?,
        };
        self.check_width(space, offset, bytes.len());
        for effect in started {
            match effect {
                Effect::Transfer(transfer) => self.dma(file, &transfer),
                Effect::Interrupt => self.interrupt(file),
            }
        }
        Ok(())
    }

    /// A register of the `edu` takes 4 bytes or 8. The host bridge answers less with a machine check.
    fn check_width(&mut self, space: DeviceSpace, offset: u64, len: usize) {
        let whole_words = offset.is_multiple_of(4) && len.is_multiple_of(4);
        if matches!(space, DeviceSpace::Bar(_)) && !whole_words {
            let what =
                format!("register access of less than 4 bytes at {offset:#x}: machine check");
            self.log.corrupt(what);
        }
    }

    /// The device of a descriptor. Other files of VFIO's and KVM's have neither read nor write (`vfs_read`).
    fn device_of(&self, fd: Fd) -> Result<DeviceFile, Errno> {
        match self.descriptors.file(fd)? {
            File::Device(file) => Ok(*file),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn device_mut(&mut self, file: DeviceFile) -> Result<&mut Device, Errno> {
        let number = self.groups.get(&file.group).ok_or(Errno::ENODEV)?.number;
        let endpoint = self.endpoints.get_mut(number).ok_or(Errno::ENODEV)?;
        endpoint.devices.get_mut(file.device).ok_or(Errno::ENODEV)
    }

    fn registers_are_frozen(&self, id: GroupId) -> bool {
        let number = self.groups.get(&id).map(|group| group.number);
        let endpoint = number.and_then(|number| self.endpoints.get(number));
        endpoint.is_some_and(|endpoint| !endpoint.state.registers_answer())
    }
}
