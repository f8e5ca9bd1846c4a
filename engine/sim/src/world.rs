//! The whole state of a machine, behind one lock.

use std::collections::BTreeMap;

use tce_engine::{
    errno::Errno,
    kernel::{Fd, GroupNumber},
};

use crate::{
    backend::{Backend, Host},
    container::{Container, ContainerId, Descriptor},
    descriptor::{Descriptors, File},
    endpoint::Endpoints,
    event::Events,
    fault::Tally,
    group::{GroupId, Presence, VfioGroup},
    inspect::HostLog,
    kvm::{Kvm, VfioFile},
    process::{MmId, Mms},
    profile::Profile,
};

mod attach;
mod calls;
mod device;
mod dma;
mod event;
mod function;
mod guest;
mod link;

pub use attach::Unbind;

/// The state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) profile: Profile,
    /// Shared by all processes.
    pub(crate) descriptors: Descriptors,
    pub(crate) mms: Mms,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    pub(crate) groups: BTreeMap<GroupId, VfioGroup>,
    /// `/dev/vfio/N`.
    pub(crate) nodes: BTreeMap<GroupNumber, GroupId>,
    pub(crate) endpoints: Endpoints,
    pub(crate) events: Events,
    pub(crate) kvm: Kvm,
    pub(crate) tally: Tally,
    pub(crate) log: HostLog,
    /// The number that the newest object or file has.
    last_id: u32,
}

impl World {
    pub(crate) fn new(profile: Profile) -> Self {
        let mut world = Self {
            descriptors: Descriptors::default(),
            mms: Mms::new(&profile),
            endpoints: Endpoints::new(&profile),
            profile,
            containers: BTreeMap::new(),
            groups: BTreeMap::new(),
            nodes: BTreeMap::new(),
            events: Events::default(),
            kvm: Kvm::default(),
            tally: Tally::default(),
            log: HostLog::default(),
            last_id: 0,
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
        let fd = self.descriptors.open(File::Container(id))?;
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
        let fd = self.descriptors.open(File::Group(id))?;
        group.descriptor = Descriptor::Open;
        Ok(fd)
    }

    /// Closes any descriptor.
    pub(crate) fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        match self.descriptors.close(fd)? {
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
            File::Device(file) if self.kvm.links(VfioFile::Device(file)) => {}
            File::Device(file) => self.close_device(file),
            File::Event(event) => self.events.close(event),
            File::VirtualMachine(vm) => self.close_vm(vm),
            File::KvmVfio(vm) => self.close_link(vm),
            File::GuestTable(table) => self.close_guest_table(table),
            File::Other(_) => {}
        }
        Ok(())
    }

    /// The backend of a container and what it works on. None is `EINVAL` (`vfio_fops_unl_ioctl`).
    pub(crate) fn backend(
        &mut self,
        id: ContainerId,
        caller: MmId,
    ) -> Result<(&mut Backend, Host<'_>), Errno> {
        let container = self.containers.get_mut(&id).ok_or(Errno::EINVAL)?;
        let backend = container.backend.as_mut().ok_or(Errno::EINVAL)?;
        let mm_id = backend.owner().unwrap_or(caller);
        let host = Host {
            profile: &self.profile,
            mm: self.mms.get_mut(mm_id),
            mm_id,
            endpoints: &mut self.endpoints,
            kvm: &mut self.kvm,
            tally: &mut self.tally,
            log: &mut self.log,
        };
        Ok((backend, host))
    }

    /// What a backend works on, for one that is in no container.
    fn host(&mut self, mm_id: MmId) -> Host<'_> {
        Host {
            profile: &self.profile,
            mm: self.mms.get_mut(mm_id),
            mm_id,
            endpoints: &mut self.endpoints,
            kvm: &mut self.kvm,
            tally: &mut self.tally,
            log: &mut self.log,
        }
    }

    /// The container of a descriptor; container calls on other files are unknown there.
    pub(crate) fn container_of(&self, fd: Fd) -> Result<ContainerId, Errno> {
        match self.descriptors.file(fd)? {
            File::Container(id) => Ok(*id),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// The group of a descriptor. A container passes what it does not know to its driver, if it has one.
    pub(crate) fn group_of(&self, caller: MmId, fd: Fd) -> Result<GroupId, Errno> {
        match self.descriptors.file(fd)? {
            File::Group(id) => Ok(*id),
            File::Container(id) => {
                let shell = self.containers.get(id).ok_or(Errno::EINVAL)?;
                shell.backend.as_ref().ok_or(Errno::EINVAL)?.admits(caller)?;
                Err(Errno::ENOTTY)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Makes `/dev/vfio/N`, if a device of the group is VFIO's.
    pub(crate) fn make_node(&mut self, number: GroupNumber) {
        let wanted = self.profile.kernel.makes_group_nodes()
            && self.endpoints.get(number).is_some_and(|pe| pe.has_vfio_device());
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
        self.last_id += 1;
        self.last_id
    }
}
