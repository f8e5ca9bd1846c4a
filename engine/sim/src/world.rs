//! The whole state of a machine, behind one lock.

use std::collections::BTreeMap;

use tce_engine::{
    errno::Errno,
    kernel::{Fd, GroupNumber},
};

use crate::{
    backend::{Backend, Host},
    container::{Container, ContainerId, Descriptor},
    descriptor::File,
    endpoint::Endpoints,
    fault::Tally,
    group::{GroupId, Presence, VfioGroup},
    inspect::HostCorrupted,
    process::Process,
    profile::Profile,
};

mod attach;
mod calls;
mod device;
mod dma;

pub use attach::Unbind;

/// The state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) profile: Profile,
    pub(crate) process: Process,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    pub(crate) groups: BTreeMap<GroupId, VfioGroup>,
    /// `/dev/vfio/N`.
    pub(crate) nodes: BTreeMap<GroupNumber, GroupId>,
    pub(crate) endpoints: Endpoints,
    pub(crate) tally: Tally,
    pub(crate) corruption: Vec<HostCorrupted>,
    /// The number the next container or group object gets.
    next_id: u32,
}

impl World {
    pub(crate) fn new(profile: Profile) -> Self {
        let mut world = Self {
            process: Process::new(&profile),
            endpoints: Endpoints::new(&profile),
            profile,
            containers: BTreeMap::new(),
            groups: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tally: Tally::default(),
            corruption: Vec::new(),
            next_id: 0,
        };
        let numbers: Vec<_> = world.endpoints.iter().map(|(number, _)| number).collect();
        for number in numbers {
            world.make_node(number);
        }
        world
    }

    /// Opens `/dev/vfio/vfio` (`vfio_fops_open`).
    pub(crate) fn open_container(&mut self) -> Result<Fd, Errno> {
        let id = ContainerId(self.take_id());
        let fd = self.process.descriptors.open(File::Container(id))?;
        self.containers.insert(id, Container::new());
        Ok(fd)
    }

    /// Opens `/dev/vfio/N` (`vfio_group_fops_open`).
    pub(crate) fn open_group(&mut self, number: GroupNumber) -> Result<Fd, Errno> {
        let id = *self.nodes.get(&number).ok_or(Errno::ENOENT)?;
        let group = self.groups.get_mut(&id).ok_or(Errno::ENOENT)?;
        if group.is_open() {
            return Err(Errno::EBUSY);
        }
        let fd = self.process.descriptors.open(File::Group(id))?;
        group.descriptor = Descriptor::Open;
        Ok(fd)
    }

    /// Closes any descriptor.
    pub(crate) fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        match self.process.descriptors.close(fd)? {
            File::Container(id) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.descriptor = Descriptor::Closed;
                }
                self.drop_container_if_unheld(id);
            }
            File::Group(id) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.descriptor = Descriptor::Closed;
                }
                self.release_group_file(id);
            }
            File::Device { group, device } => self.close_device(group, device),
            File::Other(_) => {}
        }
        Ok(())
    }

    /// The backend of a container and what it works on. None is `EINVAL` (`vfio_fops_unl_ioctl`).
    pub(crate) fn backend(&mut self, id: ContainerId) -> Result<(&mut Backend, Host<'_>), Errno> {
        let container = self.containers.get_mut(&id).ok_or(Errno::EINVAL)?;
        let backend = container.backend.as_mut().ok_or(Errno::EINVAL)?;
        let host = Host {
            profile: &self.profile,
            mm: &mut self.process.mm,
            endpoints: &mut self.endpoints,
            tally: &mut self.tally,
            corruption: &mut self.corruption,
        };
        Ok((backend, host))
    }

    /// What a backend works on, for one that is in no container.
    fn host(&mut self) -> Host<'_> {
        Host {
            profile: &self.profile,
            mm: &mut self.process.mm,
            endpoints: &mut self.endpoints,
            tally: &mut self.tally,
            corruption: &mut self.corruption,
        }
    }

    /// The container of a descriptor; container calls on other VFIO files are unknown there.
    pub(crate) fn container_of(&self, fd: Fd) -> Result<ContainerId, Errno> {
        match self.process.descriptors.file(fd)? {
            File::Container(id) => Ok(*id),
            File::Group(_) | File::Device { .. } | File::Other(_) => Err(Errno::ENOTTY),
        }
    }

    /// The group of a descriptor. A container passes what it does not know to its driver, if it has one.
    pub(crate) fn group_of(&self, fd: Fd) -> Result<GroupId, Errno> {
        match self.process.descriptors.file(fd)? {
            File::Group(id) => Ok(*id),
            File::Container(id) if self.has_no_backend(*id) => Err(Errno::EINVAL),
            File::Container(_) | File::Device { .. } | File::Other(_) => Err(Errno::ENOTTY),
        }
    }

    fn has_no_backend(&self, id: ContainerId) -> bool {
        self.containers.get(&id).is_none_or(|container| container.backend.is_none())
    }

    /// Makes `/dev/vfio/N`, if a device of the group is VFIO's.
    pub(crate) fn make_node(&mut self, number: GroupNumber) {
        let wanted = self.endpoints.get(number).is_some_and(|pe| pe.has_vfio_device());
        if wanted && !self.nodes.contains_key(&number) {
            let id = GroupId(self.take_id());
            self.groups.insert(id, VfioGroup::new(number));
            self.nodes.insert(number, id);
        }
    }

    /// `vfio_group_fops_release`, once nothing holds the group's file.
    fn release_group_file(&mut self, id: GroupId) {
        if self.groups.get(&id).is_some_and(|group| !group.is_open()) {
            self.detach(id);
            if self.groups.get(&id).is_some_and(|group| group.presence == Presence::Gone) {
                self.groups.remove(&id);
            }
        }
    }

    fn drop_container_if_unheld(&mut self, id: ContainerId) {
        if self.containers.get(&id).is_some_and(Container::is_unheld) {
            self.containers.remove(&id);
        }
    }

    fn take_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }
}
