//! Batches, each planned without a call before it is applied.

use tce_engine::{
    Applied, Error, WindowPlan,
    access::Access,
    addr::{Bytes, Iova},
    edit::Edit,
    error::Undone,
    kernel::Raw,
    lease::{LeaseId, Timestamp},
    lingering::Unmapping,
    plan::{Action, PlannedCall},
    region::RegionId,
    window::Claim,
};

use crate::simulation::{
    model::{Part, Unmap},
    run::Run,
    sights::Sight,
    watch::Made,
};

impl Run {
    pub(super) fn apply(&mut self) -> Result<(), Error> {
        self.apply_where(|_, _| true)
    }

    pub(super) fn apply_to_growing(&mut self) -> Result<(), Error> {
        self.apply_where(Self::is_growing)
    }

    pub(super) fn apply_to_two(&mut self) -> Result<(), Error> {
        self.apply_where(|run, id| run.model.parts_of(id).count() == 2)
    }

    pub(super) fn apply_lazily(&mut self) -> Result<(), Error> {
        self.apply_where(|run, id| {
            let lease = run.engine.leases().get(id);
            lease.is_ok_and(|lease| lease.unmapping != Unmapping::Strict)
        })
    }

    fn apply_where(&mut self, of: impl Fn(&Self, LeaseId) -> bool) -> Result<(), Error> {
        let Some(id) = self.any_lease(of) else { return Ok(()) };
        let edits = self.edits(id);
        self.apply_edits(id, &edits)
    }

    /// A plan alone changes nothing: the checks after the step will tell.
    pub(super) fn plan_only(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_lease(|_, _| true) else { return Ok(()) };
        let edits = self.edits(id);
        let _ = self.planned(id, &edits)?;
        Ok(())
    }

    fn planned(&mut self, id: LeaseId, edits: &[Edit]) -> Result<Vec<WindowPlan>, Error> {
        let calls = self.machine.all_calls();
        let planned = self.engine.plan(id, edits, Timestamp(self.now));
        assert_eq!(self.machine.all_calls(), calls, "a plan makes no call");
        planned
    }

    fn apply_edits(&mut self, id: LeaseId, edits: &[Edit]) -> Result<(), Error> {
        if self.dice.one_in(4) {
            self.now += self.dice.roll(20);
        }
        let planned = self.planned(id, edits);
        let calls = planned.as_ref().map(|plans| self.expected_calls(plans));
        if let Ok(plans) = &planned {
            self.assert_unchanged_tces_are_left_alone(plans);
            self.assert_quarantines_are_left_alone(edits);
        }
        let (fired, unread) = (self.watch.borrow().fired, self.watch.borrow().unread);
        let busy =
            |plans: &Vec<WindowPlan>| plans.iter().filter(|it| !it.plan.calls.is_empty()).count();
        let is_in_two = planned.as_ref().is_ok_and(|plans| busy(plans) == 2);
        let applied = self.engine.apply(id, edits, Timestamp(self.now));
        self.touched = Some(id);
        let made = self.watch.borrow().made.clone();
        match (calls, applied) {
            (Err(refusal), Err(error)) => {
                assert_eq!(refusal, &error);
                self.note_refused_pace(&error);
                Err(error)
            }
            (Ok(calls), Ok(applied)) => {
                self.note_pace(id, edits.len());
                assert_eq!(made, calls, "the calls are those of the plan");
                self.saw_if(is_in_two, Sight::BatchInTwoWindows);
                self.note_applied(id, edits, &applied);
                Ok(())
            }
            (Ok(calls), Err(Error::Batch(failure))) => {
                match made.iter().position(|it| it.raw != Raw::OK) {
                    Some(at) => assert_eq!(made[..at], calls[..at], "as planned until one failed"),
                    // A call that is measured is not made if the measure cannot be read.
                    None => assert!(self.watch.borrow().unread > unread, "nothing failed"),
                }
                let faults = self.watch.borrow().fired - fired;
                let is_restored = failure.outcome == Undone::Restored;
                assert!(is_restored || faults > 1, "quarantined although nothing failed twice");
                let ranges = match &failure.outcome {
                    Undone::Restored => 0,
                    Undone::Quarantined(ranges) => ranges.len(),
                };
                let sights =
                    [Sight::BatchRestored, Sight::Quarantine, Sight::QuarantineInTwoWindows];
                self.saw(sights[ranges]);
                Err(Error::Batch(failure))
            }
            (calls, applied) => panic!("planned {calls:?}, but {applied:?}"),
        }
    }

    fn expected_calls(&self, plans: &[WindowPlan]) -> Vec<Made> {
        let calls = plans.iter().flat_map(|WindowPlan { window, plan }| {
            let window = self.window(*window).expect("it was planned for");
            plan.calls.iter().map(move |call| {
                made_of(call, window.iova_of(call.first), |pages| {
                    Self::pages_of(window.page.bytes().raw(), pages)
                })
            })
        });
        calls.collect()
    }

    /// Where nobody knows what is set, no edit is taken.
    fn assert_quarantines_are_left_alone(&self, edits: &[Edit]) {
        let quarantined = self.engine.windows().flat_map(|state| state.quarantined());
        for claim in quarantined {
            let (start, end) = (claim.start.raw(), claim.start.raw() + claim.size.raw());
            let is_beside = |edit: &Edit| {
                let Claim { start: at, size } = edit.claim();
                at.raw() + size.raw() <= start || end <= at.raw()
            };
            assert!(edits.iter().all(is_beside), "{claim} is quarantined and takes edits");
        }
    }

    /// A TCE that is as wished is not written (invariant 4).
    fn assert_unchanged_tces_are_left_alone(&self, plans: &[WindowPlan]) {
        for WindowPlan { window, plan } in plans {
            let state = self.engine.windows().find(|state| state.window().id == *window);
            let table = state.expect("it was planned for").table();
            let page = table.page().bytes().raw();
            for call in &plan.calls {
                let Action::Map { address, access } = call.action else { continue };
                for run in table.within(call.first, call.end()) {
                    let wanted = address.raw() + (run.first - call.first) * page;
                    let is_same = run.target.address.raw() == wanted && run.target.access == access;
                    assert!(!is_same, "{} TCEs are written for nothing", run.pages);
                }
            }
        }
    }

    fn note_applied(&mut self, id: LeaseId, edits: &[Edit], applied: &Applied) {
        let lease = self.engine.leases().get(id).expect("it took edits");
        let (growth, lingering) = (lease.growth, lease.lingering.tces());
        let unmapping = match lease.unmapping {
            Unmapping::Strict => Unmap::AtOnce,
            Unmapping::Deferred(_) => Unmap::PutOff(self.now),
        };
        let regions = self.engine.regions().expect("a lease has a backend");
        let address_of =
            |region: RegionId| regions.get(region).map_or(0, |region| region.range.address.raw());
        let before = self.model.ghosts_of(id);
        self.model.apply(id, edits, (growth, unmapping), address_of);
        self.saw_if(growth.is_some() && !edits.is_empty(), Sight::GrowthMirrored);
        self.saw_if(applied.tces_deferred > 0, Sight::PutOff);
        self.saw_if(before > 0 && lingering == 0, Sight::FlushedByBatch);
        if lingering == 0 {
            self.model.flush(id);
        } else {
            let new = self.model.ghosts_of(id).saturating_sub(before);
            assert!(applied.tces_deferred >= new, "{applied:?} puts off {new}");
        }
    }

    fn edits(&mut self, id: LeaseId) -> Vec<Edit> {
        let parts: Vec<Part> = self.model.parts_of(id).map(|(_, part)| part.clone()).collect();
        let access = self.engine.leases().get(id).map_or(Access::ReadWrite, |lease| lease.access);
        let count = self.dice.roll(6);
        let mut edits = Vec::new();
        for _ in 0..count {
            if let Some(at) = self.dice.index(parts.len()) {
                edits.push(self.edit(&parts[at], access));
            }
        }
        edits
    }

    fn edit(&mut self, part: &Part, access: Access) -> Edit {
        let pages = (part.end - part.start) / part.page;
        let first = self.dice.roll(pages);
        let count = 1 + self.dice.roll((pages - first).min(24));
        let odd = if self.dice.one_in(200) { self.dice.roll(u64::MAX) } else { 0 };
        let iova = Iova::new((part.start + first * part.page).wrapping_add(odd));
        let odd = if self.dice.one_in(200) { self.dice.roll(u64::MAX) } else { 0 };
        let size = Self::pages_of(part.page, count).saturating_add(Bytes::new(odd));
        let access = if self.dice.one_in(60) { Access::ReadWrite } else { access };
        let access =
            if access == Access::ReadWrite && self.dice.one_in(8) { Access::Read } else { access };
        let old = self.dice.pick(&self.regions);
        let live: Vec<RegionId> = self.users.keys().copied().collect();
        let region = self.dice.pick(&live).filter(|_| !self.dice.one_in(100)).or(old);
        match region {
            Some(region) if !self.dice.one_in(3) => {
                let offset = self.offset_in(region, size);
                Edit::Map { iova, region, offset, size, access }
            }
            _ => Edit::Unmap(Claim { start: iova, size }),
        }
    }

    /// Few places in memory, so that mappings repeat and join.
    fn offset_in(&mut self, region: RegionId, size: Bytes) -> Bytes {
        let known = self.engine.regions().and_then(|regions| regions.get(region).ok());
        let room = known.map_or(0, |region| region.range.size.raw().saturating_sub(size.raw()));
        let step = [1 << 16, 1 << 16, 1 << 12, 1 << 21];
        let step = self.dice.pick(&step).expect("there are some");
        Bytes::new(self.dice.roll((room / step).min(4) + 1) * step)
    }
}

fn made_of(call: &PlannedCall, iova: Iova, bytes_of: impl Fn(u64) -> Bytes) -> Made {
    let address = match call.action {
        Action::Map { address, .. } => Some(address.raw()),
        Action::Unmap => None,
    };
    Made { iova, size: bytes_of(call.pages), address, raw: Raw::OK }
}
