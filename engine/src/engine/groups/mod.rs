//! Groups: the authority. A container has a backend exactly as long as it has a group.

mod parting;
mod requests;

use crate::{
    error::{Error, GroupRefusal},
    facts::ContainerFacts,
    kernel::{Extension, GroupFd, GroupNumber, Kernel, Platform},
};

use super::{
    Engine, State,
    backend::{Backend, Group},
};
pub use parting::Restored;

impl<K: Kernel> Engine<K> {
    /// Attaches a group. The first one brings the backend into being. Until a device of it is open
    /// ([`Engine::open_device`]) the kernel can take it away without a word, and clear what is mapped for others; so open
    /// one at once. New leases wait for that.
    ///
    /// # Errors
    /// [`GroupRefusal`] if it cannot be attached,
    /// [`FreezeRefusal::Unfinished`](crate::freeze::FreezeRefusal::Unfinished) while others' PEs are being reset,
    /// [`Error::Fault`] if the kernel fails a call; the container is as it was then.
    pub fn attach(&mut self, group: GroupNumber) -> Result<(), Error> {
        if let Ok(backend) = self.backend() {
            if backend.groups.iter().any(|it| it.number == group) {
                return Err(GroupRefusal::Attached { group, attached: true }.into());
            }
            if backend.facts.platform == Platform::Pseries {
                return Err(GroupRefusal::OneGroupOnly(group).into());
            }
            // Its PE would be in the rest of the reset, and no device of it can be opened before that is done.
            self.check_no_recovery()?;
        }
        let fd = self.calls.open_group(group)?;
        let attached = self.attach_open(fd, group);
        if attached.is_err() {
            // Closing a group's descriptor takes it out of its container as well.
            let _ = self.calls.close(fd.fd(), "group");
        }
        attached
    }

    /// The attached groups, the eldest first, and how many devices of each are open.
    pub fn groups(&self) -> impl Iterator<Item = (GroupNumber, usize)> {
        let groups = self.backend().into_iter().flat_map(|backend| &backend.groups);
        groups.map(|group| (group.number, group.devices.len()))
    }

    fn attach_open(&mut self, fd: GroupFd, number: GroupNumber) -> Result<(), Error> {
        if !self.calls.group_status(fd, number)?.viable {
            return Err(GroupRefusal::NotViable(number).into());
        }
        let container = self.container();
        self.calls.set_container(fd, number, container)?;
        let group = Group { number, fd, devices: Vec::new(), requests: None };
        if let State::Attached(backend) = &mut self.state {
            backend.groups.push(group);
            return Ok(());
        }
        match self.make_backend(number) {
            Ok(facts) => {
                self.state = State::Attached(Box::new(Backend::new(facts, group)));
                Ok(())
            }
            Err(error) => {
                let _ = self.calls.unset_container(fd, number);
                Err(error)
            }
        }
    }

    fn make_backend(&mut self, group: GroupNumber) -> Result<ContainerFacts, Error> {
        let container = self.container();
        if !self.calls.has_extension(container, Extension::SpaprTceV2)? {
            return Err(GroupRefusal::NoSuchBackend.into());
        }
        self.calls.set_iommu(container)?;
        let info = self.calls.info(container)?;
        let eeh = self.calls.has_extension(container, Extension::Eeh)?;
        let facts = ContainerFacts::new(&info, &self.calls.system(), eeh);
        let facts = facts.ok_or(GroupRefusal::NoDynamicWindows(group))?;
        Ok(self.platform.adjust(facts, group))
    }

    pub(super) fn attached(&mut self, group: GroupNumber) -> Result<&mut Group, Error> {
        let backend = self.backend_mut()?;
        let found = backend.groups.iter_mut().find(|it| it.number == group);
        found.ok_or_else(|| GroupRefusal::Attached { group, attached: false }.into())
    }
}
