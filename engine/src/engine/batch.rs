//! Batches: edits are checked in full, planned, made, and undone if the kernel fails one of their calls.

use crate::{
    addr::Pages,
    calls::Calls,
    edit::{BATCH_EDITS_MAX, Edit, Wish, settle},
    error::{BatchFailure, EditRefusal, Error, Undone},
    fault::Fault,
    kernel::{ContainerFd, Kernel, MapCall, UnmapCall},
    lease::{EndCause, Lease, LeaseId, LeaseRefusal, Timestamp},
    plan::{Action, Plan, PlannedCall, plan},
    region::{RegionId, RegionRefusal, Regions},
    table::{MappedRun, Target},
    window::{Claim, Run, Window, WindowId},
};

use super::{
    Engine,
    backend::{Backend, Quarantine, WindowState},
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
        if lease.expires.is_some_and(|at| at <= now) {
            return Err(LeaseRefusal::Ended { lease: id, cause: EndCause::Expired }.into());
        }
        if edits.len() > BATCH_EDITS_MAX {
            return Err(EditRefusal::TooMany(edits.len()).into());
        }
        let backend = self.backend()?;
        let state = backend.window(lease.window).ok_or(LeaseRefusal::NoWindow(lease.window))?;
        let admission = Admission { backend, state, id, lease };
        let wishes: Result<Vec<Wish>, EditRefusal> =
            edits.iter().enumerate().map(|(index, edit)| admission.admit(index, edit)).collect();
        let wishes = settle(wishes?, state.window.page);
        check_quota(id, lease, state, &wishes)?;
        let plan = plan(&state.table, &wishes);
        Ok(Prepared { window: lease.window, wishes, plan })
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
        let Some(window) = self.window_of(id) else { return Ok(()) };
        let container = self.container();
        if !self.backend().is_ok_and(|backend| backend.awaits_first_use(id)) {
            return send(&mut self.calls, container, &window, call);
        }
        let (result, charged) =
            self.calls.charged(|calls| send(calls, container, &window, call))?;
        if !charged.is_zero() {
            self.note_first_use(id, charged);
        }
        result
    }

    fn window_of(&self, id: WindowId) -> Option<Window> {
        self.backend().ok()?.window(id).map(|state| state.window)
    }

    /// Puts back what the table says, in the ranges of the calls that were made and of the one that failed. A failed
    /// map has emptied what it had replaced (`tce_iommu_clear`).
    fn undo(&mut self, prepared: &Prepared, failed: usize) -> Undone {
        let id = prepared.window;
        for (index, call) in prepared.plan.calls[..=failed].iter().enumerate().rev() {
            if let Err(fault) = self.put_back(id, *call, index < failed) {
                return self.quarantine(prepared, failed, fault);
            }
        }
        Undone::Restored
    }

    fn put_back(&mut self, id: WindowId, call: PlannedCall, was_made: bool) -> Result<(), Fault> {
        let Some(state) = self.backend().ok().and_then(|backend| backend.window(id)) else {
            return Ok(());
        };
        let old: Vec<MappedRun> = state.table.within(call.first, call.end()).collect();
        if was_made && matches!(call.action, Action::Map { .. }) {
            for (first, end) in holes(&old, call.first, call.end()) {
                self.make(id, PlannedCall { first, pages: end - first, action: Action::Unmap })?;
            }
        }
        for run in old {
            let Target { address, access, .. } = run.target;
            let action = Action::Map { address, access };
            self.make(id, PlannedCall { first: run.first, pages: run.pages, action })?;
        }
        Ok(())
    }

    fn quarantine(&mut self, prepared: &Prepared, failed: usize, fault: Fault) -> Undone {
        let touched = &prepared.plan.calls[..=failed];
        let first = touched.iter().map(|call| call.first).min().unwrap_or_default();
        let end = touched.iter().map(PlannedCall::end).max().unwrap_or_default();
        let window = prepared.window;
        let targets = prepared.wishes.iter().filter_map(|wish| wish.target);
        let mut regions: Vec<RegionId> = targets.map(|target| target.region).collect();
        regions.sort_unstable();
        regions.dedup();
        let backend = self.backend_mut().expect("a batch has a backend");
        let state = backend.window_mut(window).expect("a batch has a window");
        let start = state.window.iova_of(first);
        let size = state.window.bytes_of(Pages::new(end - first));
        let claim = Claim { start, size };
        let run = state.window.admit(claim, &[]).expect("calls stay inside their window");
        state.quarantines.push(Quarantine { run, regions });
        Undone::Quarantined { window, claim, fault }
    }

    /// Notes in the table what the calls have made true.
    fn commit(&mut self, prepared: Prepared) -> Applied {
        let Prepared { window, wishes, plan } = prepared;
        for wish in wishes {
            self.forget(window, wish.first, wish.end);
            if let Some(target) = wish.target {
                self.note(
                    window,
                    MappedRun { first: wish.first, pages: wish.end - wish.first, target },
                );
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

    fn note(&mut self, window: WindowId, run: MappedRun) {
        let backend = self.backend_mut().expect("a table has a backend");
        backend.regions.add_tces(run.target.region, run.pages);
        backend.window_mut(window).expect("a table has a window").table.set(run);
        self.leases.add_tces(run.target.lease, run.pages);
    }

    /// Forgets what the table has between two TCEs.
    pub(super) fn forget(&mut self, window: WindowId, first: u64, end: u64) {
        let mut forgotten = Vec::new();
        let backend = self.backend_mut().expect("a table has a backend");
        let state = backend.window_mut(window).expect("a table has a window");
        state.table.clear(first, end, |run| forgotten.push(*run));
        for run in &forgotten {
            backend.regions.remove_tces(run.target.region, run.pages);
        }
        for run in forgotten {
            self.leases.remove_tces(run.target.lease, run.pages);
        }
    }
}

/// What an edit is checked against.
struct Admission<'a> {
    backend: &'a Backend,
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
            .admit(claim, &self.backend.facts.reserved)
            .map_err(|refusal| EditRefusal::Claim { edit: index, refusal })?;
        self.check_lease(claim, run, edit)
            .map_err(|refusal| EditRefusal::Lease { edit: index, refusal })?;
        if let Some(quarantine) = self.state.quarantines.iter().find(|it| it.run.overlaps(run)) {
            let claim = claim_of(&self.state.window, quarantine.run);
            return Err(EditRefusal::Quarantined { edit: index, claim });
        }
        let target = self
            .target(&self.backend.regions, edit)
            .map_err(|refusal| EditRefusal::Region { edit: index, refusal })?;
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

    fn target(&self, regions: &Regions, edit: &Edit) -> Result<Option<Target>, RegionRefusal> {
        let Edit::Map { region, offset, size, access, .. } = *edit else { return Ok(None) };
        let address = regions.locate(region, offset, size, self.state.window.page)?;
        Ok(Some(Target { address, access, region, lease: self.id }))
    }
}

fn check_quota(
    id: LeaseId,
    lease: &Lease,
    state: &WindowState,
    wishes: &[Wish],
) -> Result<(), LeaseRefusal> {
    let mut wanted = lease.tces;
    for wish in wishes {
        let set: u64 = state.table.within(wish.first, wish.end).map(|run| run.pages).sum();
        wanted -= set;
        wanted += wish.target.map_or(0, |_| wish.end - wish.first);
    }
    if wanted > lease.tces_max {
        return Err(LeaseRefusal::Quota { lease: id, tces_max: lease.tces_max, wanted });
    }
    Ok(())
}

/// The gaps that sorted runs leave between `first` and `end`.
fn holes(runs: &[MappedRun], first: u64, end: u64) -> Vec<(u64, u64)> {
    let starts = std::iter::once(first).chain(runs.iter().map(MappedRun::end));
    let ends = runs.iter().map(|run| run.first).chain(std::iter::once(end));
    starts.zip(ends).filter(|(start, end)| start < end).collect()
}

fn claim_of(window: &Window, run: Run) -> Claim {
    Claim { start: window.iova_of(run.first()), size: window.bytes_of(run.pages()) }
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
