//! Leases: granted, and taken back in a fixed order that needs neither the holder nor a policy.

use crate::{
    access::Access,
    addr::{Bytes, Iova, Pages},
    edit::Wish,
    error::Error,
    iova::LeaseAddresses,
    kernel::Kernel,
    lease::{
        EndCause, Holder, LEASES_MAX, Lease, LeaseEnded, LeaseId, LeasePart, LeaseRefusal,
        LeaseState, Timestamp,
    },
    lingering::{Lingering, Unmapping},
    plan::{Action, CALL_TCES_MAX, PlannedCall, plan},
    window::{Claim, Run, Window, WindowId},
};

use super::{Engine, backend::WindowState};

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
    /// The most TCEs that may be set at once in one window.
    pub tces_max: u64,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// How its unmaps are made.
    pub unmapping: Unmapping,
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
    /// How many bytes of a window neither a lease nor a reserved range takes.
    #[must_use]
    pub fn unleased(&self, id: WindowId) -> Bytes {
        let Ok(backend) = self.backend() else { return Bytes::ZERO };
        let Some(state) = backend.window(id) else { return Bytes::ZERO };
        let (start, size) = (state.window.start, state.window.size);
        let leased = self.leased_of(id).map(|part| part.claim.size);
        let taken = leased.fold(backend.facts.reserved_within(start, size), Bytes::saturating_add);
        size.checked_sub(taken).unwrap_or_default()
    }

    /// What of a window is leased.
    pub(super) fn leased_of(&self, window: WindowId) -> impl Iterator<Item = &LeasePart> {
        self.leases.live().filter_map(move |(_, lease)| lease.part(window))
    }

    /// Checks a lease and finds room for it.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; [`Error::NoBackend`].
    pub fn grant_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, Error> {
        let LeasePart { claim, run, .. } =
            self.room_for(request.window, request.at, request.size)?;
        Ok(LeaseGrant { request, claim, run })
    }

    /// A free range of a window, without a TCE.
    pub(super) fn room_for(
        &self,
        id: WindowId,
        at: Option<Iova>,
        size: Bytes,
    ) -> Result<LeasePart, Error> {
        let backend = self.backend()?;
        let window = backend.window(id).ok_or(LeaseRefusal::NoWindow(id))?.window;
        let placed = match at {
            Some(start) => Some(Claim { start, size }),
            None => self.first_fit(&window, size),
        };
        let no_room = LeaseRefusal::NoRoom { window: id, size, at };
        let Some(claim) = placed else { return Err(no_room.into()) };
        let run = window.admit(claim, &backend.facts.reserved).map_err(LeaseRefusal::from)?;
        if self.leased_of(id).any(|part| part.run.overlaps(run)) {
            return Err(no_room.into());
        }
        Ok(LeasePart { window: id, claim, run, tces: 0 })
    }

    /// The lowest range of this size that nobody has.
    fn first_fit(&self, window: &Window, size: Bytes) -> Option<Claim> {
        let reserved = &self.backend().ok()?.facts.reserved;
        let mut taken: Vec<Claim> = self.leased_of(window.id).map(|it| it.claim).collect();
        taken.extend(reserved.iter().map(|it| Claim { start: it.start, size: it.size }));
        taken.sort_unstable_by_key(|claim| claim.start);
        let mut start = window.start;
        for claim in taken {
            let gap = claim.start.offset_from(start).unwrap_or_default();
            if gap >= size {
                break;
            }
            // A reserved range may end within a page.
            let end = claim.start.checked_add(claim.size)?.offset_from(window.start);
            let used = end.unwrap_or_default().round_up(window.page)?;
            start = start.max(window.start.checked_add(used)?);
        }
        let room = window.start.checked_add(window.size)?.offset_from(start)?;
        (room >= size).then_some(Claim { start, size })
    }

    /// Gives a lease a range in its container's other window too.
    ///
    /// # Errors
    /// [`LeaseRefusal`].
    pub fn extend_lease(
        &mut self,
        id: LeaseId,
        window: WindowId,
        at: Option<Iova>,
        size: Bytes,
    ) -> Result<Claim, Error> {
        let lease = self.leases.active(id)?;
        if lease.part(window).is_some() {
            return Err(LeaseRefusal::Part { lease: id, window, only: false }.into());
        }
        if lease.parts.len() > 1 {
            return Err(LeaseRefusal::TwoParts(id).into());
        }
        let part = self.room_for(window, at, size)?;
        self.leases.get_mut(id).parts.push(part);
        Ok(part.claim)
    }

    /// Takes one of its two ranges from a lease: unmapped at once, devices not stopped.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; [`Error::Fault`], after which this can be called again. If it has unmapped
    /// something by then, the other range cannot be given up before ([`LeaseRefusal::Leaving`]).
    pub fn give_up_part(&mut self, id: LeaseId, window: WindowId) -> Result<(), Error> {
        let lease = self.leases.active(id)?;
        if lease.part(window).is_none() {
            return Err(LeaseRefusal::NoWindow(window).into());
        }
        if lease.parts.len() == 1 {
            return Err(LeaseRefusal::Part { lease: id, window, only: true }.into());
        }
        if let Some(window) = lease.leaving.filter(|leaving| *leaving != window) {
            return Err(LeaseRefusal::Leaving { lease: id, window }.into());
        }
        let before = lease.tces();
        let cleared = self.clear_part(id, window);
        let lease = self.leases.get_mut(id);
        if cleared.is_err() && lease.tces() < before {
            lease.leaving = Some(window);
        }
        cleared?;
        lease.parts.retain(|part| part.window != window);
        lease.growth = None;
        lease.leaving = None;
        Ok(())
    }

    /// Makes a lease of a grant.
    ///
    /// # Errors
    /// [`LeaseRefusal::NoRoom`] or [`LeaseRefusal::NoWindow`] if things changed since it was granted,
    /// [`LeaseRefusal::TooMany`].
    pub fn lease(&mut self, grant: LeaseGrant) -> Result<LeaseId, Error> {
        // An event that nobody took counts as a lease, which bounds events too.
        if self.leases.live().count() + self.events.len() >= LEASES_MAX {
            return Err(LeaseRefusal::TooMany.into());
        }
        // Granting again is cheap, and then a grant that was kept for too long does no harm.
        let request = LeaseRequest { at: Some(grant.claim.start), ..grant.request };
        let LeaseGrant { request, claim, run } = self.grant_lease(request)?;
        let LeaseRequest { holder, window, access, tces_max, expires, unmapping, .. } = request;
        Ok(self.leases.insert(Lease {
            holder,
            parts: vec![LeasePart { window, claim, run, tces: 0 }],
            access,
            tces_max,
            expires,
            unmapping,
            lingering: Lingering::default(),
            growth: None,
            leaving: None,
            state: LeaseState::Active,
        })?)
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
        let mapped = state.table.within(run.first(), run.end());
        let mapped = mapped.map(|mapped| (mapped.first, Pages::new(mapped.pages)));
        Ok(LeaseAddresses::new(state.window, run, mapped)?)
    }

    /// Takes a lease back: devices quiet first, then its TCEs. The devices stay quiet; [`Engine::resume_devices`] lets
    /// them go on for the leases that remain. Revoking again what is revoked already changes nothing.
    ///
    /// # Errors
    /// [`LeaseRefusal::Stale`]; [`Error::Fault`], after which it takes no edits and this can be called again.
    pub fn revoke(&mut self, lease: LeaseId) -> Result<(), Error> {
        match self.leases.get(lease)?.state {
            LeaseState::Ended(_) => Ok(()),
            LeaseState::Active | LeaseState::Ending(_) => {
                self.end_leases(&[lease], EndCause::Revoked)
            }
        }
    }

    /// Ends every lease whose time is over.
    ///
    /// # Errors
    /// As [`Engine::revoke`].
    pub fn expire(&mut self, now: Timestamp) -> Result<(), Error> {
        let live = self.leases.live();
        let over: Vec<LeaseId> =
            live.filter(|(_, lease)| lease.is_over(now)).map(|(id, _)| id).collect();
        if over.is_empty() {
            return Ok(());
        }
        self.end_leases(&over, EndCause::Expired)
    }

    /// Ends leases that have not ended yet: edits refused, devices quiet, TCEs gone. After a fault it can be called
    /// again. A lease that was ending already keeps its cause.
    pub(super) fn end_leases(&mut self, live: &[LeaseId], cause: EndCause) -> Result<(), Error> {
        for id in live {
            if self.leases.get(*id)?.state == LeaseState::Active {
                self.leases.advance(*id, LeaseState::Ending(cause));
            }
        }
        self.quiesce_devices()?;
        live.iter().try_for_each(|id| self.finish_lease(*id))
    }

    fn finish_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        self.clear_lease(id)?;
        let Lease { state, holder, .. } = self.leases.get(id)?;
        let (LeaseState::Ending(cause), holder) = (*state, holder.clone()) else { return Ok(()) };
        self.leases.advance(id, LeaseState::Ended(cause));
        self.events.push(LeaseEnded { lease: id, holder, cause });
        Ok(())
    }

    /// Unmaps all that a lease has mapped, or may have where its range is quarantined.
    fn clear_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        let windows: Vec<WindowId> =
            self.leases.get(id)?.parts.iter().map(|part| part.window).collect();
        windows.into_iter().try_for_each(|window| self.clear_part(id, window))
    }

    /// The same in one of its windows.
    pub(super) fn clear_part(&mut self, id: LeaseId, window: WindowId) -> Result<(), Error> {
        let Some(LeasePart { run, .. }) = self.leases.get(id)?.part(window).copied() else {
            return Ok(());
        };
        let state = self.backend()?.window(window).expect("a window outlives its leases");
        for call in calls_to_clear(state, id, run) {
            self.make(window, call)?;
            let mut ledger = self.ledger(window, id);
            ledger.clear(call.first, call.end());
            ledger.not_lingering(call.first, call.end());
        }
        let state = self.backend_mut()?.window_mut(window).expect("as before");
        state.quarantines.retain(|quarantine| quarantine.lease != id);
        Ok(())
    }
}

/// The quarantined range as a whole, and of the rest what the table says is set.
fn calls_to_clear(state: &WindowState, id: LeaseId, run: Run) -> Vec<PlannedCall> {
    let unmap = |first, end| Wish { first, end, target: None };
    let quarantine = state.quarantines.iter().find(|quarantine| quarantine.lease == id);
    let (first, end) =
        quarantine.map_or((run.end(), run.end()), |it| (it.run.first(), it.run.end()));
    let known = plan(&state.table, &[unmap(run.first(), first), unmap(end, run.end())]);
    known.calls.into_iter().chain(calls_over(first, end)).collect()
}

/// The calls that unmap a range, whatever the table says of it.
fn calls_over(first: u64, end: u64) -> impl Iterator<Item = PlannedCall> {
    let starts = std::iter::successors(Some(first), |at| at.checked_add(CALL_TCES_MAX));
    starts.take_while(move |at| *at < end).map(move |at| {
        let pages = (end - at).min(CALL_TCES_MAX);
        PlannedCall { first: at, pages, action: Action::Unmap }
    })
}
