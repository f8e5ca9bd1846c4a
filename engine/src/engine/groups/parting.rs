//! Groups leave: the last one with all there is, one of several without harm to the others.

use crate::{
    edit::Wish,
    errno::Errno,
    error::{Error, GroupRefusal, PartingFailure, Quarantined},
    fault::Fault,
    guest::LoanRefusal,
    kernel::{GroupFd, GroupNumber, Kernel},
    lease::{EndCause, LeaseId, News, Timestamp},
    papr::GuestMemory,
    plan::{PlannedCall, plan},
    table::{MappedRun, Table},
    window::WindowId,
};

use super::super::{Engine, State, backend::Group, guests::GuestImage};

/// What a group's leaving took for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// `MAP_DMA` calls that made their mappings anew.
    pub map_calls: u64,
    /// TCEs that they have.
    pub tces: u64,
}

impl<K: Kernel> Engine<K> {
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

    /// Lets one of several groups go. The kernel clears every mapping of the container with it
    /// (`tce_iommu_release_ownership`), so all devices are made quiet, and the mappings of the leases that stay are made
    /// anew afterwards. Leases that are for this group alone end. The devices stay quiet:
    /// [`Engine::resume_devices`].
    ///
    /// # Errors
    /// [`GroupRefusal::LastGroup`]; [`Error::Fault`] if a call failed before the group had left, after which this can be
    /// called again, or if one of its descriptors did not close well; [`Error::Parting`] if it has left, and some
    /// mappings could not be made anew.
    pub fn part(&mut self, group: GroupNumber) -> Result<Restored, Error> {
        if let Some((lease, _)) = self.held().next() {
            return Err(LoanRefusal::WouldLose(lease).into());
        }
        self.part_with(group, None)
    }

    /// The same while a guest has leases: what it had mapped is read from its tables and made anew. It must not run
    /// meanwhile, since its hypercalls succeed without effect.
    ///
    /// # Errors
    /// As [`Engine::part`]; TCEs whose memory is not the guest's or not registered are lost, and told so.
    pub fn part_from_guest(
        &mut self,
        group: GroupNumber,
        memory: &dyn GuestMemory,
    ) -> Result<Restored, Error> {
        self.part_with(group, Some(memory))
    }

    fn part_with(
        &mut self,
        group: GroupNumber,
        memory: Option<&dyn GuestMemory>,
    ) -> Result<Restored, Error> {
        self.attached(group)?;
        if self.backend()?.groups.len() == 1 {
            return Err(GroupRefusal::LastGroup(group).into());
        }
        self.end_where(EndCause::GroupLeft(group), |lease| lease.groups == [group])?;
        let left = self.detach_tables().map_err(Error::from);
        let left = left.and_then(|()| self.leave_others(group, memory));
        // Whatever has happened, the guest gets its leases again.
        let given_back = self.give_back();
        // What is lost matters more than what can be called again.
        left.and_then(|restored| given_back.map(|()| restored))
    }

    /// Gives KVM what it had, and ends what it does not take.
    fn give_back(&mut self) -> Result<(), Error> {
        let lost = self.reattach()?;
        if lost.is_empty() {
            return Ok(());
        }
        self.quiesce_devices()?;
        lost.into_iter().try_for_each(|id| self.finish_lease(id))
    }

    fn leave_others(
        &mut self,
        group: GroupNumber,
        memory: Option<&dyn GuestMemory>,
    ) -> Result<Restored, Error> {
        self.quiesce_devices()?;
        // What lingers would be made anew as well, although nobody wants it.
        self.flush_all(Timestamp(0))?;
        let images = memory.map(|memory| self.guest_images(memory)).transpose()?;
        let released = self.release_group(group);
        if self.attached(group).is_ok() {
            return released.map(|()| Restored::default());
        }
        let restored = self.restore(group, images.unwrap_or_default());
        self.tell_leases_of(group, &News::GroupLeft(group));
        self.leases.forget_group(group);
        // What is lost matters more than a descriptor that did not close well.
        restored.and_then(|restored| released.map(|()| restored))
    }

    /// Makes anew what the tables and the guests' say is mapped, where the kernel has nothing now.
    fn restore(&mut self, group: GroupNumber, images: Vec<GuestImage>) -> Result<Restored, Error> {
        let mut calls = self.calls_to_restore()?;
        for GuestImage { lease, window, calls: image, lost } in images {
            calls.extend(image.into_iter().map(|call| (window, call)));
            lost.into_iter().for_each(|claim| self.tell(lease, News::Quarantined(claim)));
        }
        let mut restored = Restored::default();
        let (mut first, mut quarantined) = (None, Vec::new());
        for (window, call) in calls {
            match self.make(window, call) {
                Ok(()) => {
                    restored.map_calls += 1;
                    restored.tces += call.pages;
                }
                Err(fault) => {
                    quarantined.extend(self.quarantine_lost(window, call, &fault));
                    first.get_or_insert(fault);
                }
            }
        }
        match first {
            None => Ok(restored),
            Some(fault) => Err(Box::new(PartingFailure { group, fault, quarantined }).into()),
        }
    }

    /// Where something is quarantined its lease keeps what the kernel left of it.
    fn calls_to_restore(&self) -> Result<Vec<(WindowId, PlannedCall)>, Error> {
        let mut calls = Vec::new();
        for state in self.backend()?.windows() {
            let runs = state.table.within(0, u64::MAX);
            let wish = |run: MappedRun| Wish {
                first: run.first,
                end: run.end(),
                target: Some(run.target),
            };
            let wishes: Vec<Wish> = runs.map(wish).collect();
            let fresh = Table::new(state.window.page);
            let plan = plan(&fresh, &wishes);
            calls.extend(plan.calls.into_iter().map(|call| (state.window.id, call)));
        }
        Ok(calls)
    }

    /// Closes to edits what a call did not map again, lease by lease.
    fn quarantine_lost(
        &mut self,
        window: WindowId,
        call: PlannedCall,
        fault: &Fault,
    ) -> Vec<Quarantined> {
        let live = self.leases.live();
        let concerned = live.filter_map(|(id, lease)| {
            let run = lease.part(window)?.run;
            let (first, end) = (run.first().max(call.first), run.end().min(call.end()));
            (first < end).then_some((id, first, end))
        });
        let concerned: Vec<(LeaseId, u64, u64)> = concerned.collect();
        let mut quarantined = Vec::new();
        for (lease, first, end) in concerned {
            let backend = self.backend_mut().expect("others stay");
            let state = backend.window_mut(window).expect("a window outlives its leases");
            let regions = state.table.within(first, end).map(|run| run.target.region).collect();
            let claim = state.quarantine(lease, (first, end), regions);
            self.tell(lease, News::Quarantined(claim));
            quarantined.push(Quarantined { window, claim, fault: fault.clone() });
        }
        quarantined
    }

    /// Takes everything down and lets every group go.
    pub(in super::super) fn detach_all(&mut self) -> Result<(), Error> {
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

    /// In the fixed order: leases closed to edits, guests off, devices quiet, leases unmapped, memory unregistered, windows
    /// removed.
    fn take_down(&mut self, cause: EndCause) -> Result<(), Error> {
        let live: Vec<LeaseId> = self.leases.live().map(|(id, _)| id).collect();
        self.end_leases(&live, cause)?;
        self.unlink()?;
        self.unregister_all()?;
        self.remove_windows()
    }

    /// Closes the group's devices, takes it out of the container and closes it. It has left unless the kernel fails to
    /// let it go: a descriptor is gone even if closing it fails, so that stops nothing and is told at the end.
    fn release_group(&mut self, number: GroupNumber) -> Result<(), Error> {
        let Group { fd, devices, requests, .. } = self.attached(number)?;
        let fd = *fd;
        let devices = std::mem::take(devices).into_iter().map(|it| (it.fd.fd(), "device"));
        let beside: Vec<_> =
            devices.chain(requests.take().map(|event| (event.fd(), "event"))).collect();
        let mut closed = Ok(());
        for (fd, what) in beside {
            closed = closed.and(self.calls.close(fd, what));
        }
        self.unset(fd, number)?;
        closed = closed.and(self.calls.close(fd.fd(), "group"));
        let backend = self.backend_mut()?;
        backend.groups.retain(|group| group.number != number);
        if backend.groups.is_empty() {
            self.state = State::Bare;
        }
        Ok(closed?)
    }

    /// Takes a group out. If the kernel wanted it back, it has done so itself as soon as the last device was closed
    /// (`vfio_device_remove_group`), and finds no container now.
    fn unset(&mut self, fd: GroupFd, number: GroupNumber) -> Result<(), Fault> {
        match self.calls.unset_container(fd, number) {
            Err(fault) if fault.errno() == Some(Errno::EINVAL) => Ok(()),
            result => result,
        }
    }
}
