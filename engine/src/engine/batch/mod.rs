//! Batches: edits are checked in full, planned, made, and undone if the kernel fails one of their calls.
//!
//! A batch falls into *shares*, one for each window of its lease. `admission` checks edits, `undo` puts back.

mod admission;
mod undo;

use crate::{
    addr::{Bytes, Pages},
    calls::{Calls, Charged},
    edit::{BATCH_EDITS_MAX, Edit, Wish, settle},
    error::{BatchFailure, EditRefusal, Error},
    facts::{Creatable, Slot},
    fault::Fault,
    kernel::{ContainerFd, Kernel, MapCall, UnmapCall},
    layout::LayoutRefusal,
    lease::{EndCause, Lease, LeaseId, LeaseRefusal, Timestamp},
    lingering::Unmapping,
    plan::{Action, Plan, PlannedCall, plan},
    table::Table,
    window::{Window, WindowId},
};

use super::{
    ChargeSubject, Engine,
    backend::{Made, WindowState},
};
use admission::{Admission, Place};

/// Room for wishes before it is known how many edits continue one another.
const WISHES_AT_FIRST: usize = 128;

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// `MAP_DMA` calls.
    pub map_calls: u64,
    /// `UNMAP_DMA` calls.
    pub unmap_calls: u64,
    /// TCEs set or replaced.
    pub tces_set: u64,
    /// TCEs cleared.
    pub tces_cleared: u64,
    /// TCEs that were as wanted already.
    pub tces_kept: u64,
    /// TCEs whose unmap was put off: they linger.
    pub tces_deferred: u64,
}

/// What a batch would do in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// The window.
    pub window: WindowId,
    /// The calls.
    pub plan: Plan,
}

/// A batch that is checked and planned.
struct Prepared {
    lease: LeaseId,
    shares: Vec<Share>,
    now: Timestamp,
}

/// What a batch does in one window.
struct Share {
    window: WindowId,
    wishes: Vec<Wish>,
    plan: Plan,
    /// Ranges of set TCEs that will linger.
    deferred: Vec<(u64, u64)>,
}

impl<K: Kernel> Engine<K> {
    /// Applies edits under a lease, all or none. Later edits win over earlier ones of the same batch.
    ///
    /// # Errors
    /// [`LeaseRefusal`] if the lease is not usable at `now`; [`EditRefusal`] for the first edit that is wrong;
    /// [`BatchFailure`] if the kernel failed a call, with what became of the batch.
    pub fn apply(
        &mut self,
        lease: LeaseId,
        edits: &[Edit],
        now: Timestamp,
    ) -> Result<Applied, Error> {
        let prepared = self.prepare(lease, edits, now)?;
        self.leases.spend(lease, edits.len(), now);
        self.execute(&prepared)?;
        Ok(self.commit(prepared))
    }

    /// The plans for edits, as [`Engine::apply`] would make them now, without making them: one for each window of the
    /// lease.
    ///
    /// # Errors
    /// As [`Engine::apply`], without those of the kernel.
    pub fn plan(
        &self,
        lease: LeaseId,
        edits: &[Edit],
        now: Timestamp,
    ) -> Result<Vec<WindowPlan>, Error> {
        let shares = self.prepare(lease, edits, now)?.shares.into_iter();
        Ok(shares.map(|Share { window, plan, .. }| WindowPlan { window, plan }).collect())
    }

    /// Makes unmapped at once what lingers of a lease.
    ///
    /// # Errors
    /// As [`Engine::apply`]; what could not be flushed lingers on.
    pub fn flush(&mut self, id: LeaseId, now: Timestamp) -> Result<Applied, Error> {
        let lease = self.leases.active(id)?;
        let admission = Admission::new(id, lease, self.backend()?, &self.regions)?;
        let wishes = admission.places().iter().map(|_| Vec::new()).collect();
        let prepared = at_once(id, &admission, wishes, now);
        self.execute(&prepared)?;
        Ok(self.commit(prepared))
    }

    fn prepare(&self, id: LeaseId, edits: &[Edit], now: Timestamp) -> Result<Prepared, Error> {
        let lease = self.leases.active(id)?;
        if lease.is_over(now) {
            return Err(LeaseRefusal::Ended { lease: id, cause: EndCause::Expired }.into());
        }
        if edits.len() > BATCH_EDITS_MAX {
            return Err(EditRefusal::TooMany(edits.len()).into());
        }
        self.leases.check_pace(id, now)?;
        let backend = self.backend()?;
        let mut admission = Admission::new(id, lease, backend, &self.regions)?;
        for place in admission.places_mut() {
            place.sublet = self.sublet_of(id, place.part.window);
        }
        let is_to_be_made = |place: &Place<'_>| place.state.made == Made::AtFirstUse;
        if backend.facts.creatable == Creatable::Nothing
            && admission.places().iter().any(is_to_be_made)
        {
            // Each try would fail and leave a charge behind.
            return Err(LayoutRefusal::GivenUp.into());
        }
        let mut wishes: Vec<Vec<Wish>> = admission.places().iter().map(|_| Vec::new()).collect();
        wishes[0].reserve(edits.len().min(WISHES_AT_FIRST));
        admission.admit(edits, |place, wish| wishes[place].push(wish))?;
        if let Some(prepared) = put_off(id, &admission, &wishes, now)
            && check_quota(id, lease, &prepared).is_ok()
        {
            return Ok(prepared);
        }
        let prepared = at_once(id, &admission, wishes, now);
        check_quota(id, lease, &prepared)?;
        Ok(prepared)
    }

    fn execute(&mut self, prepared: &Prepared) -> Result<(), Error> {
        for (at, share) in prepared.shares.iter().enumerate() {
            if let Err((done, fault)) = self.make_all(share.window, &share.plan.calls) {
                let outcome = self.undo(prepared, at, done);
                return Err(Box::new(BatchFailure { fault, outcome }).into());
            }
        }
        Ok(())
    }

    /// Makes calls until one fails: which, and why.
    fn make_all(&mut self, id: WindowId, calls: &[PlannedCall]) -> Result<(), (usize, Fault)> {
        let Some(first) = calls.first() else { return Ok(()) };
        self.make(id, *first).map_err(|fault| (0, fault))?;
        // The window is made now, if it was not.
        let (container, window) = (self.container(), self.window(id).window);
        let mut rest = calls.iter().enumerate().skip(1);
        rest.try_for_each(|(at, call)| {
            send(&mut self.calls, container, &window, *call).map_err(|fault| (at, fault))
        })
    }

    /// Makes one call. The first one on the default window makes that window, so it is measured.
    pub(super) fn make(&mut self, id: WindowId, call: PlannedCall) -> Result<(), Fault> {
        let container = self.container();
        let state = self.window(id);
        let window = state.window;
        if state.made == Made::Yes {
            return send(&mut self.calls, container, &window, call);
        }
        let call = self.calls.charged(|calls| send(calls, container, &window, call))?;
        let Charged { result, charged } = self.note_default_made(call, Bytes::ZERO);
        self.note_charge(ChargeSubject::Leaked, Bytes::ZERO, charged);
        result
    }

    /// # Panics
    /// If it is gone.
    fn window(&self, id: WindowId) -> &WindowState {
        let window = self.backend().ok().and_then(|backend| backend.window(id));
        window.expect("a window outlives what is done to it")
    }

    /// Notes in the tables what the calls have made true.
    fn commit(&mut self, prepared: Prepared) -> Applied {
        let Prepared { lease, shares, now } = prepared;
        let mut applied = Applied::default();
        for share in shares {
            applied.count(&share);
            let slot = share.window.slot;
            self.ledger(share.window, lease).fulfil(&share.wishes, &share.plan.found);
            let lingering = &mut self.leases.get_mut(lease).lingering;
            for (first, end) in share.deferred {
                lingering.add(slot, first, end, now);
            }
        }
        applied
    }
}

impl Applied {
    fn count(&mut self, share: &Share) {
        for call in &share.plan.calls {
            match call.action {
                Action::Map { .. } => self.map_calls += 1,
                Action::Unmap => self.unmap_calls += 1,
            }
        }
        self.tces_set += share.plan.tces_set;
        self.tces_cleared += share.plan.tces_cleared;
        self.tces_kept += share.plan.tces_kept;
        self.tces_deferred += share.deferred.iter().map(|(first, end)| end - first).sum::<u64>();
    }
}

/// A batch whose unmaps are made at once, with those that linger.
fn at_once(
    lease: LeaseId,
    admission: &Admission<'_>,
    wishes: Vec<Vec<Wish>>,
    now: Timestamp,
) -> Prepared {
    let lingering = &admission.lease().lingering;
    let share = |(place, wishes): (&Place<'_>, Vec<Wish>)| {
        let Place { part, state, .. } = place;
        let left = lingering.ranges(part.window.slot);
        let left: Vec<Wish> = left.map(|(first, end)| Wish { first, end, target: None }).collect();
        // What is wished now wins over what lingers.
        let wishes = if left.is_empty() { wishes } else { [left, wishes].concat() };
        let wishes = settle(wishes, state.window.page);
        let plan = plan(&state.table, &wishes);
        Share { window: part.window, wishes, plan, deferred: Vec::new() }
    };
    let shares = admission.places().iter().zip(wishes).map(share).collect();
    Prepared { lease, shares, now }
}

/// The same batch with its unmaps put off; `None` if the lease does not want that, or it is time to flush.
fn put_off(
    lease: LeaseId,
    admission: &Admission<'_>,
    wishes: &[Vec<Wish>],
    now: Timestamp,
) -> Option<Prepared> {
    let Lease { unmapping, lingering, .. } = admission.lease();
    let Unmapping::Deferred(deferral) = *unmapping else { return None };
    if lingering.due(deferral).is_some_and(|due| due <= now) {
        return None;
    }
    let mut count = lingering.tces();
    let mut shares = Vec::new();
    for (Place { part, state, .. }, wishes) in admission.places().iter().zip(wishes) {
        let slot = part.window.slot;
        let settled = settle(wishes.clone(), state.window.page);
        let (wishes, unmaps): (Vec<Wish>, Vec<Wish>) =
            settled.into_iter().partition(|wish| wish.target.is_some());
        let used = wishes.iter().map(|wish| lingering.within(slot, wish.first, wish.end));
        count -= used.sum::<u64>();
        let new = |wish: &Wish| to_linger(&state.table, admission.lease(), slot, wish);
        let deferred: Vec<(u64, u64)> = unmaps.iter().flat_map(new).collect();
        count += deferred.iter().map(|(first, end)| end - first).sum::<u64>();
        let plan = plan(&state.table, &wishes);
        shares.push(Share { window: part.window, wishes, plan, deferred });
    }
    (count <= deferral.tces_max()).then_some(Prepared { lease, shares, now })
}

/// The TCEs of an unmap that are set and do not linger yet.
fn to_linger(table: &Table, lease: &Lease, slot: Slot, unmap: &Wish) -> Vec<(u64, u64)> {
    let set = table.within(unmap.first, unmap.end);
    set.flat_map(|run| lease.lingering.beside(slot, run.first, run.end())).collect()
}

fn check_quota(id: LeaseId, lease: &Lease, prepared: &Prepared) -> Result<(), LeaseRefusal> {
    let tces_max = lease.quota.tces.saturating_sub(lease.sublet.tces);
    for (part, share) in lease.parts.iter().zip(&prepared.shares) {
        // All that is set in the range of a lease belongs to it.
        let wanted = part.tces + share.plan.tces_new - share.plan.tces_cleared;
        if wanted > tces_max {
            return Err(LeaseRefusal::Quota { lease: id, tces_max, wanted });
        }
    }
    Ok(())
}

fn send<K: Kernel>(
    calls: &mut Calls<K>,
    container: ContainerFd,
    window: &Window,
    call: PlannedCall,
) -> Result<(), Fault> {
    let iova = window.iova_of(call.first);
    let size = window.bytes_of(Pages::new(call.pages));
    match call.action {
        Action::Map { address, access } => {
            calls.map(container, MapCall { flags: access.flags(), address, iova, size })
        }
        Action::Unmap => calls.unmap(container, UnmapCall { iova, size }),
    }
}
