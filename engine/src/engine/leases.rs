//! Leases: granted, and taken back in a fixed order that needs neither the holder nor a policy.

use crate::{
    access::Access,
    addr::{Bytes, Iova},
    edit::Wish,
    error::Error,
    kernel::Kernel,
    lease::{
        EndCause, Holder, LEASES_MAX, Lease, LeaseEnded, LeaseId, LeaseRefusal, LeaseState,
        Timestamp,
    },
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
    /// The most TCEs that may be set at once.
    pub tces_max: u64,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
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
        let leased = self.leases_of(id).map(|(_, lease)| lease.claim.size);
        let taken = leased.fold(backend.facts.reserved_within(start, size), Bytes::saturating_add);
        size.checked_sub(taken).unwrap_or_default()
    }

    fn leases_of(&self, window: WindowId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.live().filter(move |(_, lease)| lease.window == window)
    }

    /// Checks a lease and finds room for it.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; [`Error::NoBackend`].
    pub fn grant_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, Error> {
        let backend = self.backend()?;
        let state = backend.window(request.window);
        let window = state.ok_or(LeaseRefusal::NoWindow(request.window))?.window;
        let placed = match request.at {
            Some(start) => Some(Claim { start, size: request.size }),
            None => self.first_fit(&window, request.size),
        };
        let no_room =
            LeaseRefusal::NoRoom { window: request.window, size: request.size, at: request.at };
        let Some(claim) = placed else { return Err(no_room.into()) };
        let run = window.admit(claim, &backend.facts.reserved).map_err(LeaseRefusal::from)?;
        if self.leases_of(request.window).any(|(_, lease)| lease.run.overlaps(run)) {
            return Err(no_room.into());
        }
        Ok(LeaseGrant { request, claim, run })
    }

    /// The lowest range of this size that nobody has.
    fn first_fit(&self, window: &Window, size: Bytes) -> Option<Claim> {
        let reserved = &self.backend().ok()?.facts.reserved;
        let mut taken: Vec<Claim> = self.leases_of(window.id).map(|(_, it)| it.claim).collect();
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
        let LeaseRequest { holder, window, access, tces_max, expires, .. } = request;
        let state = LeaseState::Active;
        let tces = 0;
        Ok(self.leases.insert(Lease {
            holder,
            window,
            claim,
            run,
            access,
            tces_max,
            tces,
            expires,
            state,
        })?)
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
        let Lease { window, run, .. } = *self.leases.get(id)?;
        let state = self.backend()?.window(window).expect("a window outlives its leases");
        for call in calls_to_clear(state, id, run) {
            self.make(window, call)?;
            self.ledger(window, id).clear(call.first, call.end());
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
