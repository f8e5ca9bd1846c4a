//! Groups: the authority. A container has a backend exactly as long as it has a group.

use crate::{
    calls::BusMaster,
    error::{Error, GroupRefusal},
    facts::ContainerFacts,
    fault::Fault,
    kernel::{DeviceFd, Extension, GroupFd, GroupNumber, Kernel, Platform},
    lease::{EndCause, LeaseId},
};

use super::{
    Engine, State,
    backend::{Backend, Device, Group},
};

impl<K: Kernel> Engine<K> {
    /// Attaches a group. The first one brings the backend into being.
    ///
    /// # Errors
    /// [`GroupRefusal`] if it cannot be attached, [`Error::Fault`] if the kernel fails a call; the container is as it
    /// was then.
    pub fn attach(&mut self, group: GroupNumber) -> Result<(), Error> {
        if let Ok(backend) = self.backend() {
            if backend.groups.iter().any(|it| it.number == group) {
                return Err(GroupRefusal::Attached { group, attached: true }.into());
            }
            if backend.facts.platform == Platform::Pseries {
                return Err(GroupRefusal::OneGroupOnly(group).into());
            }
        }
        let fd = self.calls.open_group(group)?;
        let attached = self.attach_open(fd, group);
        if attached.is_err() {
            // Closing a group's descriptor takes it out of its container as well.
            let _ = self.calls.close(fd.fd(), "group");
        }
        attached
    }

    fn attach_open(&mut self, fd: GroupFd, number: GroupNumber) -> Result<(), Error> {
        if !self.calls.group_status(fd, number)?.viable {
            return Err(GroupRefusal::NotViable(number).into());
        }
        let container = self.container();
        self.calls.set_container(fd, number, container)?;
        let group = Group { number, fd, devices: Vec::new() };
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

    /// Opens a device of an attached group, and lets it start transfers. While it is open, an unbinding of its driver
    /// waits for us. A device that is open already is not opened twice.
    ///
    /// # Errors
    /// [`GroupRefusal::Attached`] if the group is not, [`Error::Fault`].
    pub fn open_device(&mut self, group: GroupNumber, address: &str) -> Result<DeviceFd, Error> {
        let Group { fd, devices, .. } = self.attached(group)?;
        let fd = *fd;
        if let Some(device) = devices.iter().find(|device| device.address == address) {
            let device = device.fd;
            self.calls.set_bus_master(device, address, BusMaster::On)?;
            return Ok(device);
        }
        let device = self.calls.open_device(fd, address)?;
        if let Err(fault) = self.calls.set_bus_master(device, address, BusMaster::On) {
            let _ = self.calls.close(device.fd(), "device");
            return Err(fault.into());
        }
        let opened = Device { address: address.to_owned(), fd: device };
        self.attached(group)?.devices.push(opened);
        Ok(device)
    }

    /// Makes every open device unable to start transfers.
    ///
    /// # Errors
    /// The first device that did not obey.
    pub fn quiesce_devices(&mut self) -> Result<(), Error> {
        Ok(self.set_bus_masters(BusMaster::Off)?)
    }

    /// Lets every open device start transfers again.
    ///
    /// # Errors
    /// The first device that did not obey.
    pub fn resume_devices(&mut self) -> Result<(), Error> {
        Ok(self.set_bus_masters(BusMaster::On)?)
    }

    fn set_bus_masters(&mut self, wanted: BusMaster) -> Result<(), Fault> {
        let State::Attached(backend) = &self.state else { return Ok(()) };
        for device in backend.devices() {
            self.calls.set_bus_master(device.fd, &device.address, wanted)?;
        }
        Ok(())
    }

    /// Lets the last group go, and with it the backend: every lease ends, every region and window goes.
    ///
    /// # Errors
    /// [`GroupRefusal::OthersPresent`] while there are other groups, since the kernel would clear their mappings
    /// (`tce_iommu_release_ownership`); [`Error::Fault`] if a call fails, after which this can be called again.
    pub fn detach(&mut self, group: GroupNumber) -> Result<(), Error> {
        self.attached(group)?;
        if self.backend()?.groups.len() > 1 {
            return Err(GroupRefusal::OthersPresent(group).into());
        }
        self.take_down(EndCause::LastGroupLeft(group))?;
        self.release_group(group)
    }

    /// Takes everything down and lets every group go.
    pub(super) fn detach_all(&mut self) -> Result<(), Error> {
        if self.backend().is_err() {
            return Ok(());
        }
        self.take_down(EndCause::Revoked)?;
        while let Ok(backend) = self.backend() {
            let newest = backend.groups.last().expect("a backend has a group").number;
            self.release_group(newest)?;
        }
        Ok(())
    }

    /// In the fixed order: leases closed to edits, devices quiet, leases unmapped, memory unregistered, windows
    /// removed.
    fn take_down(&mut self, cause: EndCause) -> Result<(), Error> {
        let live: Vec<LeaseId> = self.leases.live().map(|(id, _)| id).collect();
        self.end_leases(&live, cause)?;
        self.unregister_all()?;
        self.remove_windows()
    }

    /// Closes the group's devices and takes it out of the container. Nothing of the container is in use any more.
    fn release_group(&mut self, number: GroupNumber) -> Result<(), Error> {
        while let Some(device) = self.attached(number)?.devices.pop() {
            // Linux lets go of a descriptor even if closing it fails, so it is not tried again.
            self.calls.close(device.fd.fd(), "device")?;
        }
        let fd = self.attached(number)?.fd;
        self.calls.unset_container(fd, number)?;
        let backend = self.backend_mut()?;
        backend.groups.retain(|group| group.number != number);
        if backend.groups.is_empty() {
            self.state = State::Bare;
        }
        Ok(self.calls.close(fd.fd(), "group")?)
    }

    fn attached(&mut self, group: GroupNumber) -> Result<&mut Group, Error> {
        let backend = self.backend_mut()?;
        let found = backend.groups.iter_mut().find(|it| it.number == group);
        found.ok_or_else(|| GroupRefusal::Attached { group, attached: false }.into())
    }
}
