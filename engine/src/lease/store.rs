//! The leases of a container.

use std::collections::VecDeque;

use crate::{
    kernel::{GroupNumber, GuestTableFd},
    slots::Slots,
    window::WindowId,
};

use super::{LEASES_MAX, Lease, LeaseId, LeaseRefusal, LeaseState, LeaseStep, Timestamp};

/// The leases of a container, the ended ones as long as there is room.
#[derive(Debug)]
pub struct Leases {
    slots: Slots<Lease>,
    ended: VecDeque<LeaseId>,
}

impl Default for Leases {
    fn default() -> Self {
        Self { slots: Slots::new(LEASES_MAX), ended: VecDeque::new() }
    }
}

impl Leases {
    /// The lease, whatever its state.
    ///
    /// # Errors
    /// [`LeaseRefusal::Stale`].
    pub fn get(&self, id: LeaseId) -> Result<&Lease, LeaseRefusal> {
        self.slots.get(id.0).ok_or(LeaseRefusal::Stale(id))
    }

    /// The lease, if it takes edits.
    ///
    /// # Errors
    /// As [`Leases::allowing`].
    pub fn active(&self, id: LeaseId) -> Result<&Lease, LeaseRefusal> {
        self.allowing(id, LeaseStep::Edit)
    }

    /// The lease, if that can be done with it where it stands.
    ///
    /// # Errors
    /// [`LeaseRefusal::Stale`], [`LeaseRefusal::Ended`], [`LeaseRefusal::Lent`], [`LeaseRefusal::NotLent`].
    pub fn allowing(&self, id: LeaseId, step: LeaseStep) -> Result<&Lease, LeaseRefusal> {
        let lease = self.get(id)?;
        if lease.state.after(step).is_some() {
            return Ok(lease);
        }
        Err(match lease.state {
            LeaseState::Lent => LeaseRefusal::Lent(id),
            LeaseState::Ending(cause) | LeaseState::Ended(cause) => {
                LeaseRefusal::Ended { lease: id, cause }
            }
            LeaseState::Active => LeaseRefusal::NotLent(id),
        })
    }

    /// The sub-leases of a lease that have not ended.
    pub fn parts_of(&self, parent: LeaseId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.live().filter(move |(_, lease)| lease.parent == Some(parent))
    }

    /// All that are remembered.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.slots.iter().map(|(handle, lease)| (LeaseId(handle), lease))
    }

    /// Those that have not ended.
    pub fn live(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.iter().filter(|(_, lease)| !matches!(lease.state, LeaseState::Ended(_)))
    }

    /// The tables of guests that are open.
    pub(crate) fn guest_tables(&self) -> impl Iterator<Item = GuestTableFd> {
        self.live().filter_map(|(_, lease)| lease.loan?.table())
    }

    pub(crate) fn insert(&mut self, lease: Lease) -> Result<LeaseId, LeaseRefusal> {
        if self.slots.is_full()
            && let Some(oldest) = self.ended.pop_front()
        {
            self.slots.remove(oldest.0);
        }
        self.slots.insert(lease).map(LeaseId).ok_or(LeaseRefusal::TooMany)
    }

    /// Takes a step with a lease.
    ///
    /// # Panics
    /// If it cannot be taken where the lease stands.
    pub(crate) fn advance(&mut self, id: LeaseId, step: LeaseStep) {
        let lease = self.slots.get_mut(id.0).expect("a known lease");
        let next = lease.state.after(step);
        lease.state = next.unwrap_or_else(|| panic!("{id} is {:?}: no {step:?}", lease.state));
        if step == LeaseStep::Finish {
            assert_eq!(lease.tces(), 0, "{id} ended with TCEs set");
            self.ended.push_back(id);
        }
    }

    pub(crate) fn get_mut(&mut self, id: LeaseId) -> &mut Lease {
        self.slots.get_mut(id.0).expect("a known lease")
    }

    /// Notes that no lease is for a group any more.
    pub(crate) fn forget_group(&mut self, group: GroupNumber) {
        let live: Vec<LeaseId> = self.live().map(|(id, _)| id).collect();
        for id in live {
            self.get_mut(id).groups.retain(|other| *other != group);
        }
    }

    /// Whether a lease and what it is a part of may make more edits now.
    pub(crate) fn check_pace(&self, id: LeaseId, now: Timestamp) -> Result<(), LeaseRefusal> {
        for lease in self.with_parent(id) {
            let Lease { quota, pace, .. } = self.get(lease)?;
            let Some(edits_per_second) = quota.edits_per_second else { continue };
            if let Some(until) = pace.wait(now) {
                return Err(LeaseRefusal::TooFast { lease, edits_per_second, until });
            }
        }
        Ok(())
    }

    /// Notes edits of a lease, which are edits of what it is a part of too.
    pub(crate) fn spend(&mut self, id: LeaseId, edits: usize, now: Timestamp) {
        let edits = u64::try_from(edits).unwrap_or(u64::MAX);
        for lease in self.with_parent(id) {
            let lease = self.get_mut(lease);
            if let Some(rate) = lease.quota.edits_per_second {
                lease.pace.spend(rate, edits, now);
            }
        }
    }

    fn with_parent(&self, id: LeaseId) -> impl Iterator<Item = LeaseId> + use<> {
        let parent = self.get(id).ok().and_then(|lease| lease.parent);
        std::iter::once(id).chain(parent)
    }

    /// The count of TCEs of a lease in a window.
    pub(crate) fn tces_mut(&mut self, id: LeaseId, window: WindowId) -> &mut u64 {
        let mut parts = self.get_mut(id).parts.iter_mut();
        &mut parts.find(|part| part.window == window).expect("TCEs belong to a lease").tces
    }
}
