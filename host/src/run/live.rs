//! What policies are told of what stands: windows and leases as they are now.

use std::num::NonZeroU32;

use tce_engine::{
    Engine,
    addr::Bytes,
    kernel::GroupNumber,
    lease::{Lease, LeaseId},
    machine::Machine,
};

use crate::{exit::Failure, job::Hints, policy::wit, question};

use super::{outcome::Outcome, session::Session};

impl<M: Machine> Session<'_, M> {
    /// The facts; without a group that is about to leave.
    pub(super) fn live_facts(
        &mut self,
        leaving: Option<GroupNumber>,
    ) -> Result<wit::ContainerFacts, Failure> {
        let locked = self.engine.locked().map_err(tce_engine::Error::from)?.locked;
        let groups = self.engine.groups().map(|(group, _)| group);
        let groups: Vec<GroupNumber> = groups.filter(|group| Some(*group) != leaving).collect();
        let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
        Ok(question::container_facts(&layouts, &groups, locked))
    }

    /// The windows there are.
    pub(super) fn live_windows(&self) -> Vec<wit::Window> {
        let windows = self.engine.windows().map(|state| *state.window());
        windows
            .map(|window| wit::Window {
                slot: window.id.slot.number(),
                start: window.start.raw(),
                size: window.size.raw(),
                page: window.page.raw(),
                levels: window.levels,
                unleased: self.engine.unleased(window.id).raw(),
                hints: Vec::new(),
            })
            .collect()
    }

    /// The leases there are.
    pub(super) fn live_leases(&self, outcome: &Outcome) -> Vec<wit::Lease> {
        let live = self.engine.leases().live();
        live.map(|(id, lease)| self.live_lease(id, lease, outcome)).collect()
    }

    fn live_lease(&self, id: LeaseId, lease: &Lease, outcome: &Outcome) -> wit::Lease {
        let index = outcome.lease_ids.iter().position(|made| *made == Some(id));
        let hints = |index: usize| -> &Hints { &self.job.leases[index].hints };
        wit::Lease {
            id: id.number(),
            holder: lease.holder.name().to_owned(),
            slot: lease.home().window.slot.number(),
            start: lease.home().claim.start.raw(),
            size: lease.home().claim.size.raw(),
            terms: terms(lease),
            since: index.map_or(0, |index| outcome.since[index].0),
            tces: lease.tces(),
            pinned: lease.pinned.raw(),
            hints: index.map(|index| question::hints(hints(index))).unwrap_or_default(),
        }
    }

    /// One of the leases of the job, as the engine and as policies know it.
    pub(super) fn the_lease(
        &self,
        index: usize,
        outcome: &Outcome,
    ) -> Result<(LeaseId, wit::Lease), Failure> {
        let id = outcome.lease(index)?;
        let lease = self.engine.leases().active(id).map_err(tce_engine::Error::from)?;
        Ok((id, self.live_lease(id, lease, outcome)))
    }

    /// The window that a lease is of.
    pub(super) fn window_of(&self, lease: &wit::Lease) -> wit::Window {
        let mut windows = self.live_windows().into_iter();
        windows.find(|window| window.slot == lease.slot).expect("a window outlives its leases")
    }

    /// Takes back the leases with these numbers, and lets the others go on.
    pub(super) fn end_leases(&mut self, ids: &[LeaseId]) -> Result<(), Failure> {
        ids.iter().try_for_each(|id| self.engine.revoke(*id))?;
        Ok(self.engine.resume_devices()?)
    }

    /// What the job calls the leases with these numbers.
    pub(super) fn lease_names(&self, numbers: &[u64], outcome: &Outcome) -> Vec<String> {
        let name = |number: &u64| {
            let made = outcome.lease_ids.iter();
            let index = made.clone().position(|id| id.is_some_and(|id| id.number() == *number));
            index.map_or_else(
                || format!("lease {number}"),
                |index| self.job.leases[index].name.clone(),
            )
        };
        numbers.iter().map(name).collect()
    }
}

/// The handles of live leases, by the numbers that policies know.
pub(super) fn ids_of<K: tce_engine::kernel::Kernel>(
    engine: &Engine<K>,
    numbers: &[u64],
) -> Vec<LeaseId> {
    let of = |number: &u64| engine.leases().live().find(|(id, _)| id.number() == *number);
    numbers.iter().filter_map(of).map(|(id, _)| id).collect()
}

fn terms(lease: &Lease) -> wit::Terms {
    wit::Terms {
        access: question::access(lease.access),
        tces_max: lease.tces_max(),
        pinned_max: lease.quota.pinned.map(Bytes::raw),
        edits_per_second: lease.quota.edits_per_second.map(NonZeroU32::get),
        expires: lease.expires.map(|at| at.0),
    }
}
