//! The script, step by step.

use tce_engine::{edit::Edit, machine::Machine};

use crate::{
    exit::{Exit, Failure},
    job::Step,
};

use super::{
    Progress,
    outcome::Outcome,
    script::{Act, Script},
    session::{Decisions, Session},
    words,
};

impl<M: Machine> Session<'_, M> {
    pub(super) fn work(
        &mut self,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
        progress: &dyn Progress,
    ) -> Result<(), Failure> {
        let total = self.job.steps.iter().map(|step| match Script::act(step) {
            Act::Edits { batches, .. } => batches,
            Act::Once => 1,
        });
        progress.begin(total.sum());
        let mut steps = self.job.steps.iter().zip(1..);
        let result = steps.try_for_each(|(step, number)| {
            let place = || format!("step {number} ({})", words::step(self.job, step));
            self.step(step, outcome, decisions, progress).map_err(|failure| failure.at(place()))
        });
        progress.end();
        result?;
        self.keep_time(outcome)?;
        Ok(())
    }

    fn step(
        &mut self,
        step: &Step,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
        progress: &dyn Progress,
    ) -> Result<(), Failure> {
        match Script::act(step) {
            Act::Once => {
                self.once(step, outcome, decisions)?;
                progress.advance();
            }
            Act::Edits { lease, batches } => {
                for batch in 0..batches {
                    let edits = self.edits(step, batch, outcome)?;
                    self.apply(lease, &edits, outcome)?;
                    progress.advance();
                }
            }
        }
        Ok(())
    }

    fn once(
        &mut self,
        step: &Step,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
    ) -> Result<(), Failure> {
        match step {
            Step::Revoke { lease } => self.end_leases(&[outcome.lease(*lease)?]),
            Step::Lease { lease } => self.late_lease(*lease, outcome, decisions),
            Step::Renew { lease, duration } => self.renew(*lease, *duration, outcome, decisions),
            Step::Grow { lease, size } => self.grow(*lease, *size, outcome, decisions),
            Step::Leave(group) => self.leave(group, outcome, decisions),
            Step::MapAll { .. }
            | Step::UnmapAll { .. }
            | Step::Batch { .. }
            | Step::Ring { .. } => Ok(()),
        }
    }

    fn edits(&self, step: &Step, batch: u64, outcome: &Outcome) -> Result<Vec<Edit>, Failure> {
        let leases = self.engine.leases();
        let claims: Result<Vec<_>, _> = outcome
            .lease_ids
            .iter()
            .map(|id| id.map(|id| leases.get(id).map(|lease| lease.home().claim)).transpose())
            .collect();
        let claims = claims.map_err(tce_engine::Error::from)?;
        let script = Script {
            regions: &self.job.regions,
            region_ids: &outcome.region_ids,
            leases: &self.job.leases,
            claims: &claims,
        };
        let edits = script.batch(step, batch);
        edits.ok_or_else(|| Failure::new(Exit::Job, "an address does not fit 64 bits"))
    }

    fn apply(
        &mut self,
        lease: usize,
        edits: &[Edit],
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let id = outcome.lease(lease)?;
        let now = self.keep_time(outcome)?;
        let applied = self.engine.apply(id, edits, now)?;
        let work = &mut outcome.script.work;
        work.batches += 1;
        work.edits += u64::try_from(edits.len()).unwrap_or(u64::MAX);
        work.add(&applied);
        let tces = self.engine.leases().get(id).map_err(tce_engine::Error::from)?.tces();
        let peak = &mut outcome.script.tces_peak[lease];
        *peak = (*peak).max(tces);
        Ok(())
    }
}
