//! Leases: granted, and taken back in a fixed order that needs neither the holder nor a policy.

use crate::{
    access::Access,
    addr::{Bytes, Iova},
    edit::Wish,
    error::Error,
    kernel::Kernel,
    lease::{EndCause, Holder, Lease, LeaseEnded, LeaseId, LeaseRefusal, LeaseState, Timestamp},
    plan::{Action, PlannedCall, plan},
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
        let claim = placed.ok_or_else(|| no_room.clone())?;
        let Ok(run) = window.admit(claim, &backend.facts.reserved) else {
            return Err(no_room.into());
        };
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
            let end = claim.start.checked_add(claim.size)?;
            start = start.max(end);
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
        self.end_lease(lease, EndCause::Revoked)
    }

    /// Ends every lease whose time is over.
    ///
    /// # Errors
    /// As [`Engine::revoke`].
    pub fn expire(&mut self, now: Timestamp) -> Result<(), Error> {
        let is_over = |lease: &Lease| lease.expires.is_some_and(|at| at <= now);
        let over: Vec<LeaseId> =
            self.leases.live().filter(|(_, lease)| is_over(lease)).map(|(id, _)| id).collect();
        over.into_iter().try_for_each(|id| self.end_lease(id, EndCause::Expired))
    }

    pub(super) fn end_all_leases(&mut self, cause: EndCause) -> Result<(), Error> {
        let live: Vec<LeaseId> = self.leases.live().map(|(id, _)| id).collect();
        live.into_iter().try_for_each(|id| self.end_lease(id, cause))
    }

    fn end_lease(&mut self, id: LeaseId, cause: EndCause) -> Result<(), Error> {
        let cause = match self.leases.get(id)?.state {
            LeaseState::Active => {
                self.leases.advance(id, LeaseState::Ending(cause));
                cause
            }
            LeaseState::Ending(cause) => cause,
            LeaseState::Ended(_) => return Ok(()),
        };
        self.quiesce_devices()?;
        self.clear_lease(id)?;
        self.leases.advance(id, LeaseState::Ended(cause));
        let holder = self.leases.get(id)?.holder.clone();
        self.events.push(LeaseEnded { lease: id, holder, cause });
        Ok(())
    }

    /// Unmaps all that a lease has mapped, or may have where its range is quarantined.
    fn clear_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        let lease = self.leases.get(id)?;
        let (window, run) = (lease.window, lease.run);
        let Some(state) = self.backend()?.window(window) else { return Ok(()) };
        for call in calls_to_clear(state, run) {
            self.make(window, call)?;
            self.forget(window, call.first, call.end());
        }
        if let Some(state) = self.backend_mut()?.window_mut(window) {
            state.quarantines.retain(|quarantine| !run.contains(quarantine.run));
        }
        Ok(())
    }
}

fn calls_to_clear(state: &WindowState, run: Run) -> Vec<PlannedCall> {
    let wish = Wish { first: run.first(), end: run.end(), target: None };
    let quarantined = state.quarantines.iter().filter(|quarantine| run.contains(quarantine.run));
    let suspect = quarantined.map(|quarantine| PlannedCall {
        first: quarantine.run.first(),
        pages: quarantine.run.pages().raw(),
        action: Action::Unmap,
    });
    plan(&state.table, &[wish]).calls.into_iter().chain(suspect).collect()
}
