//! Batches: edits are checked in full, planned, made, and undone if the kernel fails one of their calls.

use std::collections::BTreeSet;

use crate::{
    addr::{Bytes, Pages},
    calls::{Calls, Charged},
    edit::{BATCH_EDITS_MAX, Edit, Wish, settle},
    error::{BatchFailure, EditRefusal, Error, Undone},
    facts::ReservedRange,
    fault::Fault,
    kernel::{ContainerFd, Kernel, MapCall, UnmapCall},
    lease::{EndCause, Lease, LeaseId, LeaseRefusal, Timestamp},
    plan::{Action, Plan, PlannedCall, plan},
    region::{RegionId, RegionRefusal, Regions},
    table::{MappedRun, Target},
    window::{Claim, Run, Window, WindowId},
};

use super::{
    ChargeSubject, Engine,
    backend::{Made, WindowState},
};

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
}

/// A batch that is checked and planned.
struct Prepared {
    lease: LeaseId,
    window: WindowId,
    wishes: Vec<Wish>,
    plan: Plan,
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
        self.execute(&prepared)?;
        Ok(self.commit(prepared))
    }

    /// The plan for edits, as [`Engine::apply`] would make it now, without making it.
    ///
    /// # Errors
    /// As [`Engine::apply`], without those of the kernel.
    pub fn plan(&self, lease: LeaseId, edits: &[Edit], now: Timestamp) -> Result<Plan, Error> {
        Ok(self.prepare(lease, edits, now)?.plan)
    }

    fn prepare(&self, id: LeaseId, edits: &[Edit], now: Timestamp) -> Result<Prepared, Error> {
        let lease = self.leases.active(id)?;
        if lease.is_over(now) {
            return Err(LeaseRefusal::Ended { lease: id, cause: EndCause::Expired }.into());
        }
        if edits.len() > BATCH_EDITS_MAX {
            return Err(EditRefusal::TooMany(edits.len()).into());
        }
        let backend = self.backend()?;
        let state = backend.window(lease.window).ok_or(LeaseRefusal::NoWindow(lease.window))?;
        let (reserved, regions) = (&backend.facts.reserved, &self.regions);
        let admission = Admission { reserved, regions, state, id, lease };
        let wishes: Result<Vec<Wish>, EditRefusal> =
            edits.iter().enumerate().map(|(index, edit)| admission.admit(index, edit)).collect();
        let wishes = settle(wishes?, state.window.page);
        let plan = plan(&state.table, &wishes);
        check_quota(id, lease, &plan)?;
        Ok(Prepared { lease: id, window: lease.window, wishes, plan })
    }

    fn execute(&mut self, prepared: &Prepared) -> Result<(), Error> {
        let id = prepared.window;
        for (done, call) in prepared.plan.calls.iter().enumerate() {
            if let Err(fault) = self.make(id, *call) {
                let outcome = self.undo(prepared, done);
                return Err(Box::new(BatchFailure { fault, outcome }).into());
            }
        }
        Ok(())
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

    /// Puts back what the table says, the newest call first. What a call that succeeded did is undone; of one that
    /// failed, an unmap has done nothing, and a map has emptied what it had replaced (`tce_iommu_clear`).
    fn undo(&mut self, prepared: &Prepared, failed: usize) -> Undone {
        let Prepared { window, ref plan, .. } = *prepared;
        for (index, call) in plan.calls[..=failed].iter().enumerate().rev() {
            let put_back = match call.action {
                Action::Unmap if index == failed => Ok(()),
                Action::Map { .. } if index < failed => {
                    self.unmap_holes(window, call).and_then(|()| self.map_again(window, call))
                }
                Action::Unmap | Action::Map { .. } => self.map_again(window, call),
            };
            if let Err(fault) = put_back {
                return self.quarantine(prepared, &plan.calls[..=index], fault);
            }
        }
        Undone::Restored
    }

    /// Unmaps what a call has mapped where the table has nothing.
    fn unmap_holes(&mut self, id: WindowId, call: &PlannedCall) -> Result<(), Fault> {
        let mapped = self.window(id).table.within(call.first, call.end());
        let holes = holes(mapped, call.first, call.end());
        holes.into_iter().try_for_each(|(first, end)| {
            self.make(id, PlannedCall { first, pages: end - first, action: Action::Unmap })
        })
    }

    /// Maps what the table has in the range of a call.
    fn map_again(&mut self, id: WindowId, call: &PlannedCall) -> Result<(), Fault> {
        let mapped: Vec<MappedRun> = self.window(id).table.within(call.first, call.end()).collect();
        mapped.into_iter().try_for_each(|MappedRun { first, pages, target }| {
            let action = Action::Map { address: target.address, access: target.access };
            self.make(id, PlannedCall { first, pages, action })
        })
    }

    /// Closes the range of the calls that could not be undone.
    fn quarantine(&mut self, prepared: &Prepared, calls: &[PlannedCall], fault: Fault) -> Undone {
        let Prepared { lease, window, ref wishes, .. } = *prepared;
        let first = calls.iter().map(|call| call.first).min().unwrap_or_default();
        let end = calls.iter().map(PlannedCall::end).max().unwrap_or_default();
        let targets = wishes.iter().filter_map(|wish| wish.target);
        let regions: BTreeSet<RegionId> = targets.map(|target| target.region).collect();
        let state = self.backend_mut().ok().and_then(|backend| backend.window_mut(window));
        let state = state.expect("a window outlives its batches");
        let claim = state.quarantine(lease, (first, end), regions);
        Undone::Quarantined { window, claim, fault }
    }

    /// Notes in the table what the calls have made true.
    fn commit(&mut self, prepared: Prepared) -> Applied {
        let Prepared { lease, window, wishes, plan } = prepared;
        let mut ledger = self.ledger(window, lease);
        for Wish { first, end, target } in wishes {
            match target {
                Some(target) => ledger.set(MappedRun { first, pages: end - first, target }),
                None => ledger.clear(first, end),
            }
        }
        let (map_calls, unmap_calls) =
            plan.calls.iter().fold((0, 0), |(maps, unmaps), call| match call.action {
                Action::Map { .. } => (maps + 1, unmaps),
                Action::Unmap => (maps, unmaps + 1),
            });
        let Plan { tces_set, tces_cleared, tces_kept, .. } = plan;
        Applied { map_calls, unmap_calls, tces_set, tces_cleared, tces_kept }
    }
}

/// What an edit is checked against.
struct Admission<'a> {
    reserved: &'a [ReservedRange],
    regions: &'a Regions,
    state: &'a WindowState,
    id: LeaseId,
    lease: &'a Lease,
}

impl Admission<'_> {
    fn admit(&self, index: usize, edit: &Edit) -> Result<Wish, EditRefusal> {
        let claim = edit.claim();
        let run = self
            .state
            .window
            .admit(claim, self.reserved)
            .map_err(|refusal| EditRefusal::Claim { edit: index, refusal })?;
        self.check_lease(claim, run, edit)
            .map_err(|refusal| EditRefusal::Lease { edit: index, refusal })?;
        if let Some(quarantine) = self.state.quarantines.iter().find(|it| it.run.overlaps(run)) {
            let claim = self.state.claim_of(quarantine.run);
            return Err(EditRefusal::Quarantined { edit: index, claim });
        }
        let target =
            self.target(edit).map_err(|refusal| EditRefusal::Region { edit: index, refusal })?;
        Ok(Wish { first: run.first(), end: run.end(), target })
    }

    fn check_lease(&self, claim: Claim, run: Run, edit: &Edit) -> Result<(), LeaseRefusal> {
        let (lease, leased, allowed) = (self.id, self.lease.claim, self.lease.access);
        if !self.lease.run.contains(run) {
            return Err(LeaseRefusal::Outside { lease, claim, leased });
        }
        match *edit {
            Edit::Map { access, .. } if !allowed.includes(access) => {
                Err(LeaseRefusal::Access { lease, allowed, wanted: access })
            }
            Edit::Map { .. } | Edit::Unmap(_) => Ok(()),
        }
    }

    fn target(&self, edit: &Edit) -> Result<Option<Target>, RegionRefusal> {
        let Edit::Map { region, offset, size, access, .. } = *edit else { return Ok(None) };
        let address = self.regions.locate(region, offset, size, self.state.window.page)?;
        Ok(Some(Target { address, access, region }))
    }
}

fn check_quota(id: LeaseId, lease: &Lease, plan: &Plan) -> Result<(), LeaseRefusal> {
    // All that is set in the range of a lease belongs to it.
    let wanted = lease.tces + plan.tces_new - plan.tces_cleared;
    if wanted > lease.tces_max {
        return Err(LeaseRefusal::Quota { lease: id, tces_max: lease.tces_max, wanted });
    }
    Ok(())
}

/// The gaps that ascending runs leave between `first` and `end`.
fn holes(runs: impl Iterator<Item = MappedRun>, first: u64, end: u64) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut at = first;
    for run in runs {
        holes.extend((at < run.first).then_some((at, run.first)));
        at = run.end();
    }
    holes.extend((at < end).then_some((at, end)));
    holes
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
