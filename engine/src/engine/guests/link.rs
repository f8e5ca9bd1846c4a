//! The link between the container's groups and a virtual machine.

use crate::{
    error::Error,
    fault::Fault,
    guest::LoanRefusal,
    kernel::{GroupFd, GroupNumber, GuestTableFd, Kernel, KvmVfioFd, VmFd},
};

use super::super::Engine;

/// KVM's device for the groups of a virtual machine.
#[derive(Debug)]
pub(in super::super) struct Link {
    pub(super) vm: VmFd,
    pub(in super::super) fd: KvmVfioFd,
    /// The groups that KVM was told of. It holds their files until they are taken from it.
    added: Vec<(GroupNumber, GroupFd)>,
    /// The tables that KVM has for each group. A second time it would have to be taken back twice.
    attached: Vec<(GroupNumber, GuestTableFd)>,
}

impl<K: Kernel> Engine<K> {
    /// Links the container to a virtual machine, so that leases can be lent to its guest. The virtual machine stays its
    /// owner's; the link is closed with the container's last group. A virtual machine has one link, so one container.
    ///
    /// # Errors
    /// [`LoanRefusal::HasGuest`], [`Error::NoBackend`], [`Error::Fault`].
    pub fn link_guest(&mut self, vm: VmFd) -> Result<(), Error> {
        if self.backend()?.link.is_some() {
            return Err(LoanRefusal::HasGuest.into());
        }
        let fd = self.calls.create_kvm_vfio(vm)?;
        self.backend_mut()?.link = Some(Link { vm, fd, added: Vec::new(), attached: Vec::new() });
        Ok(())
    }

    /// Tells KVM of every group and of the table of every lease that is lent. A group is told only with a table, since
    /// the kernel warns of one that leaves without ever having had any.
    pub(in super::super) fn attach_tables(&mut self) -> Result<(), Fault> {
        let tables: Vec<GuestTableFd> = self.held().map(|(_, table)| table).collect();
        let Some(groups) = self.groups_to_tell(&tables) else { return Ok(()) };
        for (fd, number, group) in groups {
            if !self.link_mut().added.contains(&(number, group)) {
                self.calls.add_group(fd, group, number)?;
                self.link_mut().added.push((number, group));
            }
            for table in &tables {
                if !self.link_mut().attached.contains(&(number, *table)) {
                    self.calls.attach_guest_table(fd, group, number, *table)?;
                    self.link_mut().attached.push((number, *table));
                }
            }
        }
        Ok(())
    }

    fn groups_to_tell(
        &self,
        tables: &[GuestTableFd],
    ) -> Option<Vec<(KvmVfioFd, GroupNumber, GroupFd)>> {
        let backend = self.backend().ok()?;
        let link = backend.link.as_ref().filter(|_| !tables.is_empty())?;
        Some(backend.groups.iter().map(|group| (link.fd, group.number, group.fd)).collect())
    }

    /// Takes every group from KVM, upon which no guest sets a TCE of the container any more.
    pub(in super::super) fn detach_tables(&mut self) -> Result<(), Fault> {
        let Some(link) = self.backend().ok().and_then(|backend| backend.link.as_ref()) else {
            return Ok(());
        };
        let fd = link.fd;
        while let Some((number, group)) = self.link_mut().added.last().copied() {
            self.calls.delete_group(fd, group, number)?;
            let link = self.link_mut();
            link.added.pop();
            link.attached.retain(|(group, _)| *group != number);
        }
        Ok(())
    }

    /// Closes the link. Nothing is lent any more.
    pub(in super::super) fn unlink(&mut self) -> Result<(), Error> {
        self.detach_tables()?;
        if let Some(link) = self.backend_mut()?.link.take() {
            self.calls.close(link.fd.fd(), "link to the guest")?;
        }
        Ok(())
    }

    fn link_mut(&mut self) -> &mut Link {
        let backend = self.backend_mut().expect("a link has a backend");
        backend.link.as_mut().expect("there is one")
    }
}
