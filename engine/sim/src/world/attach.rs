//! Groups entering and leaving containers.

use tce_engine::{
    errno::Errno,
    kernel::{Extension, Fd, GroupNumber, GroupStatus},
    machine::VFIO_PCI,
};

use super::World;
use crate::{
    backend::Backend,
    container::ContainerId,
    descriptor::File,
    group::{GroupId, Presence},
    process::MmId,
    profile::Eeh,
};

/// What became of an unbind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbind {
    /// The devices are gone from VFIO; a container that held the group has lost it.
    Done,
    /// A device descriptor is open: the kernel asks for it back through the request eventfd, and waits.
    Waiting,
    /// There is nothing of VFIO's in the group.
    Nothing,
}

impl World {
    /// `vfio_group_ioctl_get_status`.
    pub(crate) fn group_status(&self, caller: MmId, fd: Fd) -> Result<GroupStatus, Errno> {
        let group = self.groups.get(&self.group_of(caller, fd)?).ok_or(Errno::EBADF)?;
        if group.presence == Presence::Gone {
            return Err(Errno::ENODEV);
        }
        let in_container = group.container.is_some();
        Ok(GroupStatus { viable: in_container || self.is_free(group.number), in_container })
    }

    /// `vfio_group_ioctl_set_container`.
    pub(crate) fn set_container(
        &mut self,
        caller: MmId,
        group: Fd,
        container: Fd,
    ) -> Result<(), Errno> {
        let id = self.group_of(caller, group)?;
        let file = self.descriptors.file(container)?.clone();
        let group = self.groups.get(&id).ok_or(Errno::EBADF)?;
        if group.container.is_some() {
            return Err(Errno::EINVAL);
        }
        if group.presence == Presence::Gone {
            return Err(Errno::ENODEV);
        }
        match file {
            File::Container(container) => self.attach(id, container),
            _ => Err(Errno::EBADFD),
        }
    }

    /// `vfio_group_ioctl_unset_container`.
    pub(crate) fn unset_container(&mut self, caller: MmId, fd: Fd) -> Result<(), Errno> {
        let id = self.group_of(caller, fd)?;
        let group = self.groups.get(&id).ok_or(Errno::EBADF)?;
        if group.container.is_none() {
            return Err(Errno::EINVAL);
        }
        if group.open_devices > 0 {
            return Err(Errno::EBUSY);
        }
        self.detach(id);
        Ok(())
    }

    /// `vfio_ioctl_set_iommu`: a fresh backend for all groups of the container, or none. Where there is enhanced error
    /// handling, the driver claims to know it and then refuses to be it (`tce_iommu_open`).
    ///
    /// The first version of the backend, which a real kernel has as well, is not simulated: `ENODEV`.
    pub(crate) fn set_iommu(&mut self, fd: Fd, wanted: Extension) -> Result<(), Errno> {
        let id = self.container_of(fd)?;
        let container = self.containers.get(&id).ok_or(Errno::EBADF)?;
        if container.groups.is_empty() || container.backend.is_some() {
            return Err(Errno::EINVAL);
        }
        match wanted {
            Extension::SpaprTceV2 => {}
            Extension::Eeh if self.profile.eeh == Eeh::Enabled => return Err(Errno::EINVAL),
            Extension::Eeh | Extension::SpaprTceV1 | Extension::Other(_) => {
                return Err(Errno::ENODEV);
            }
        }
        let groups = container.groups.iter().filter_map(|group| self.groups.get(group));
        let numbers: Vec<_> = groups.map(|group| group.number).collect();
        let mut backend = Backend::new();
        for number in numbers {
            backend.attach(number, &mut self.host(MmId::FIRST))?;
        }
        if let Some(container) = self.containers.get_mut(&id) {
            container.backend = Some(backend);
        }
        Ok(())
    }

    /// `vfio_container_attach_group`: the group's DMA must be nobody's (`iommu_group_claim_dma_owner`).
    fn attach(&mut self, id: GroupId, container: ContainerId) -> Result<(), Errno> {
        let number = self.groups.get(&id).ok_or(Errno::EBADF)?.number;
        if !self.is_free(number) {
            return Err(Errno::EPERM);
        }
        if let Ok((backend, mut host)) = self.backend(container, MmId::FIRST) {
            backend.attach(number, &mut host)?;
        }
        let shell = self.containers.get_mut(&container).ok_or(Errno::EBADF)?;
        shell.groups.insert(0, id);
        if let Some(group) = self.groups.get_mut(&id) {
            group.container = Some(container);
        }
        Ok(())
    }

    /// `vfio_group_detach_container`: "Detaching the last group deprivileges a container".
    pub(super) fn detach(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let number = group.number;
        let Some(container) = group.container.take() else { return };
        if let Ok((backend, mut host)) = self.backend(container, MmId::FIRST) {
            backend.detach(number, &mut host);
        }
        if let Some(shell) = self.containers.get_mut(&container) {
            shell.groups.retain(|attached| *attached != id);
            let last = shell.groups.is_empty();
            if let Some(backend) = shell.backend.take_if(|_| last) {
                let owner = backend.owner().unwrap_or(MmId::FIRST);
                backend.release(&mut self.host(owner));
            }
        }
        self.drop_container_if_unheld(container);
    }

    /// The host takes a group's devices from `vfio-pci`. While a device is open it asks for it
    /// (`vfio_unregister_group_dev`), once for each call here.
    pub(crate) fn unbind(&mut self, number: GroupNumber) -> Unbind {
        let Some(id) = self.nodes.get(&number).copied() else { return Unbind::Nothing };
        let Some(group) = self.groups.get_mut(&id) else { return Unbind::Nothing };
        if group.open_devices > 0 {
            group.presence = Presence::Leaving;
            self.request_devices(number);
            return Unbind::Waiting;
        }
        self.remove_group(id);
        Unbind::Done
    }

    /// `vfio_device_remove_group`: with no device open, a container loses the group at once.
    pub(super) fn remove_group(&mut self, id: GroupId) {
        self.detach(id);
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.presence = Presence::Gone;
        let number = group.number;
        if !group.is_open() {
            self.groups.remove(&id);
        }
        self.nodes.remove(&number);
        if let Some(endpoint) = self.endpoints.get_mut(number) {
            for device in endpoint.devices.iter_mut().filter(|device| device.profile.is_vfio()) {
                device.profile.driver = None;
            }
        }
    }

    /// The host gives driverless devices of a group to `vfio-pci`; the group becomes a new object.
    pub(crate) fn rebind(&mut self, number: GroupNumber) {
        if self.nodes.contains_key(&number) {
            return;
        }
        if let Some(endpoint) = self.endpoints.get_mut(number) {
            for device in &mut endpoint.devices {
                device.profile.driver.get_or_insert_with(|| VFIO_PCI.to_owned());
            }
        }
        self.make_node(number);
    }

    /// Whether the host's drivers leave the group's DMA alone, and no container has it.
    fn is_free(&self, number: GroupNumber) -> bool {
        let endpoint = self.endpoints.get(number);
        let held =
            self.groups.values().any(|group| group.number == number && group.container.is_some());
        !held && endpoint.is_some_and(|endpoint| endpoint.is_free_of_host_drivers())
    }
}
