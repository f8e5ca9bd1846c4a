//! Leases: granted, divided, changed, and taken back.

mod end;
mod memory;
mod parts;
mod room;
mod terms;

use crate::{
    access::Access,
    addr::{Bytes, Iova, Pages},
    error::Error,
    iova::LeaseAddresses,
    kernel::{GroupNumber, Kernel},
    lease::{
        Holder, LEASES_MAX, Lease, LeaseId, LeasePart, LeaseRefusal, LeaseState, LeaseStep, Pace,
        Quota, Sublet, Term, Timestamp,
    },
    lingering::{Lingering, Unmapping},
    window::{Claim, Run, WindowId},
};

use super::Engine;

/// A lease that somebody wants, as a policy allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Who.
    pub holder: Holder,
    /// In which window.
    pub window: WindowId,
    /// From which bus address; absent: wherever there is room.
    pub at: Option<Iova>,
    /// How much: whole pages of the window.
    pub size: Bytes,
    /// What its mappings may allow.
    pub access: Access,
    /// What it may use.
    pub quota: Quota,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// How its unmaps are made.
    pub unmapping: Unmapping,
    /// The groups it is for; empty: all that are attached.
    pub groups: Vec<GroupNumber>,
    /// The lease that it shall be a part of.
    pub parent: Option<LeaseId>,
}

impl LeaseRequest {
    /// A lease somewhere in a window, for reading and writing, without any limit.
    #[must_use]
    pub const fn new(holder: Holder, window: WindowId, size: Bytes) -> Self {
        Self {
            holder,
            window,
            at: None,
            size,
            access: Access::ReadWrite,
            quota: Quota::NONE,
            expires: None,
            unmapping: Unmapping::Strict,
            groups: Vec::new(),
            parent: None,
        }
    }
}

/// A lease that was checked. Only [`Engine::grant_lease`] makes one.
#[derive(Debug)]
pub struct LeaseGrant {
    request: LeaseRequest,
    claim: Claim,
    run: Run,
}

impl LeaseGrant {
    /// The range it will have.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        self.claim
    }
}

impl<K: Kernel> Engine<K> {
    /// Checks a lease and finds room for it.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; [`Error::NoBackend`]; [`DeviceRefusal::NoReset`](crate::error::DeviceRefusal::NoReset) if no
    /// lease is there, and a device that another holder has used cannot be reset.
    pub fn grant_lease(&self, mut request: LeaseRequest) -> Result<LeaseGrant, Error> {
        self.pin_to_groups(&mut request)?;
        let LeasePart { claim, run, .. } =
            self.room_for(request.window, request.at, request.size, request.parent)?;
        if let Some(parent) = request.parent {
            self.check_parent(parent, &request, run)?;
        }
        self.way_to_next(&request.holder)?;
        Ok(LeaseGrant { request, claim, run })
    }

    /// A lease is for groups of its container, none of which can leave without a word: one that did would take the
    /// mappings of all. That is what an open device is for.
    fn pin_to_groups(&self, request: &mut LeaseRequest) -> Result<(), Error> {
        let attached = &self.backend()?.groups;
        if request.groups.is_empty() {
            request.groups = attached.iter().map(|group| group.number).collect();
        }
        request.groups.sort_unstable();
        request.groups.dedup();
        let is_there = |number: &GroupNumber| attached.iter().any(|group| group.number == *number);
        if let Some(missing) = request.groups.iter().find(|number| !is_there(number)) {
            return Err(LeaseRefusal::NoGroup(*missing).into());
        }
        match attached.iter().find(|group| group.devices.is_empty()) {
            Some(group) => Err(LeaseRefusal::Unwatched(group.number).into()),
            None => Ok(()),
        }
    }

    /// A sub-lease has no more than its parent has left.
    fn check_parent(
        &self,
        id: LeaseId,
        request: &LeaseRequest,
        run: Run,
    ) -> Result<(), LeaseRefusal> {
        let parent = self.leases.allowing(id, LeaseStep::Sublet)?;
        if parent.parent.is_some() {
            return Err(LeaseRefusal::IsSublease(id));
        }
        if parent.parts.len() > 1 {
            return Err(LeaseRefusal::TwoParts(id));
        }
        match more_than_parent(parent, request, run) {
            Some(term) => Err(LeaseRefusal::MoreThanParent { parent: id, term }),
            None => Ok(()),
        }
    }

    /// Makes a lease of a grant. If no other is there, devices that another holder has used, and that could not be reset
    /// when its last lease ended, are reset before.
    ///
    /// # Errors
    /// [`LeaseRefusal`] if things changed since it was granted, [`LeaseRefusal::TooMany`]. [`Error::Device`],
    /// [`Error::Freeze`] or [`Error::Fault`] if a device was not reset: there is no lease then, and devices stay quiet.
    pub fn lease(&mut self, grant: LeaseGrant) -> Result<LeaseId, Error> {
        // An end that nobody took notice of counts as a lease, which bounds these too.
        if self.leases.live().count() + self.events.ends() >= LEASES_MAX {
            return Err(LeaseRefusal::TooMany.into());
        }
        // Granting again is cheap, and then a grant that was kept for too long does no harm.
        let request = LeaseRequest { at: Some(grant.claim.start), ..grant.request };
        let LeaseGrant { request, claim, run } = self.grant_lease(request)?;
        self.ready_devices(&request.holder)?;
        let lease = Lease {
            holder: request.holder.clone(),
            parts: vec![LeasePart { window: request.window, claim, run, tces: 0 }],
            access: request.access,
            quota: request.quota,
            pace: Pace::default(),
            pinned: Bytes::ZERO,
            regions: Vec::new(),
            groups: request.groups,
            parent: request.parent,
            sublet: Sublet::default(),
            expires: request.expires,
            unmapping: request.unmapping,
            lingering: Lingering::default(),
            growth: None,
            leaving: None,
            loan: None,
            state: LeaseState::Active,
        };
        let sublet = lease.as_sublet();
        let id = self.leases.insert(lease)?;
        if let Some(parent) = request.parent {
            self.leases.get_mut(parent).sublet.add(sublet);
        }
        self.note_holder(request.holder);
        Ok(id)
    }

    /// The bus addresses of a lease's range in a window, to be given out piece by piece. What is mapped now is taken,
    /// and what lingers as well.
    ///
    /// # Errors
    /// [`LeaseRefusal`] if the lease has no range there; [`Error::Addresses`].
    pub fn lease_addresses(&self, id: LeaseId, window: WindowId) -> Result<LeaseAddresses, Error> {
        let lease = self.leases.active(id)?;
        let run = lease.part(window).ok_or(LeaseRefusal::NoWindow(window))?.run;
        let state = self.backend()?.window(window).ok_or(LeaseRefusal::NoWindow(window))?;
        let mut taken = Vec::new();
        let mut at = run.first();
        for (_, sublet) in self.sublet_of(id, window) {
            taken.extend(state.table.within(at, sublet.first()).map(|it| (it.first, it.pages)));
            taken.push((sublet.first(), sublet.pages().raw()));
            at = sublet.end();
        }
        taken.extend(state.table.within(at, run.end()).map(|it| (it.first, it.pages)));
        let taken = taken.into_iter().map(|(first, pages)| (first, Pages::new(pages)));
        Ok(LeaseAddresses::new(state.window, run, taken)?)
    }
}

/// Of what a sub-lease would have more than there is.
fn more_than_parent(parent: &Lease, request: &LeaseRequest, run: Run) -> Option<Term> {
    let tces = request.quota.tces.min(run.pages().raw());
    let checks = [
        (Term::Access, parent.access.includes(request.access)),
        (Term::Time, is_within(request.expires, parent.expires)),
        (Term::Groups, request.groups.iter().all(|group| parent.groups.contains(group))),
    ];
    let missing = checks.into_iter().find(|(_, holds)| !holds).map(|(term, _)| term);
    missing.or_else(|| beyond(parent, Sublet::default(), &request.quota, tces))
}

/// Of what a quota has more than its parent can give, with what the sub-lease has had of it.
fn beyond(parent: &Lease, had: Sublet, quota: &Quota, tces: u64) -> Option<Term> {
    let mut given = parent.sublet;
    given.remove(had);
    let tces_left = parent.quota.tces.saturating_sub(parent.tces() + given.tces);
    let pinned = parent.pinned.saturating_add(given.pinned);
    let pinned_left = parent.quota.pinned.map(|max| max.saturating_sub(pinned));
    let checks = [
        (Term::Tces, tces <= tces_left),
        (Term::Pinned, is_within(quota.pinned, pinned_left)),
        (Term::Edits, is_within(quota.edits_per_second, parent.quota.edits_per_second)),
    ];
    checks.into_iter().find(|(_, holds)| !holds).map(|(term, _)| term)
}

/// Whether what is wanted is no more than there is, where `None` is without end.
fn is_within<T: PartialOrd>(wanted: Option<T>, has: Option<T>) -> bool {
    has.is_none_or(|has| wanted.is_some_and(|wanted| wanted <= has))
}
