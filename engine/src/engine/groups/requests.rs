//! The kernel wants a group back: its driver is unbound, or its device unplugged.
//!
//! As long as a device of the group is open, the kernel waits for it to be closed, and asks again and again
//! (`vfio_device_remove_group`, `vfio_pci_core_request`).

use crate::{
    error::Error,
    kernel::{EventFd, GroupNumber, Kernel},
    lease::{EndCause, LeaseId, News},
};

use super::super::Engine;

impl<K: Kernel> Engine<K> {
    /// What to wait for, group by group: the event can be read once the kernel wants the group back.
    /// [`Engine::take_requests`] reads it.
    pub fn request_events(&self) -> impl Iterator<Item = (GroupNumber, EventFd)> {
        let groups = self.backend().into_iter().flat_map(|backend| &backend.groups);
        groups.filter_map(|group| Some((group.number, group.requests?)))
    }

    /// The groups that the kernel wants back and has asked for since this was last called. Their leases are told. What
    /// to do is [`Engine::surrender`].
    ///
    /// # Errors
    /// [`Error::Fault`] if an event cannot be read, and none of the others has counted: what was read is not read again.
    pub fn take_requests(&mut self) -> Result<Vec<GroupNumber>, Error> {
        let events: Vec<_> = self.request_events().collect();
        let (mut wanted, mut read) = (Vec::new(), Ok(()));
        for (group, event) in events {
            match self.calls.has_counted(event) {
                Ok(true) => wanted.push(group),
                Ok(false) => {}
                Err(fault) => read = read.and(Err(fault)),
            }
        }
        if wanted.is_empty() {
            read?;
        }
        for group in &wanted {
            self.tell_leases_of(*group, &News::GroupWanted(*group));
        }
        Ok(wanted)
    }

    /// Lets a group go, whatever it takes: the last one as [`Engine::detach`] does, one of several as
    /// [`Engine::part`] does. What is lent to a guest ends, unless [`Engine::part_from_guest`] is called instead.
    ///
    /// # Errors
    /// As these.
    pub fn surrender(&mut self, group: GroupNumber) -> Result<(), Error> {
        match self.backend()?.groups.len() {
            1 => self.detach(group),
            _ => {
                self.end_where(EndCause::GroupLeft(group), |lease| lease.loan.is_some())?;
                self.part(group).map(|_| ())
            }
        }
    }

    /// Tells the leases that are for a group.
    pub(super) fn tell_leases_of(&mut self, group: GroupNumber, news: &News) {
        let live = self.leases.live().filter(|(_, lease)| lease.groups.contains(&group));
        let concerned: Vec<LeaseId> = live.map(|(id, _)| id).collect();
        for lease in concerned {
            self.tell(lease, news.clone());
        }
    }
}
