//! Leases that are asked for, and asked for longer, while a run goes on.

use tce_engine::{
    Error,
    addr::{Bytes, PageShift},
    lease::{LeaseId, LeaseRefusal},
    machine::Machine,
};

use crate::{
    decide::Verdict,
    exit::{Exit, Failure},
    grant,
    policy::wit,
    question,
};

use super::{
    live,
    outcome::Outcome,
    plan::{self, PlannedLease},
    session::{Decisions, Session, conclude, note},
    words,
};

impl<M: Machine> Session<'_, M> {
    /// Asks for a lease that the job has for later, and makes it. If there is no room, others may have to go.
    pub(super) fn late_lease(
        &mut self,
        index: usize,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
    ) -> Result<(), Failure> {
        let now = self.keep_time(outcome)?;
        let lease = &self.job.leases[index];
        let window = plan::window_of(lease, &outcome.window_regions)?;
        let made = outcome.windows[window].window;
        let size = plan::lease_size(lease, made.page)?;
        let slot = made.id.slot.number();
        let place = self.live_windows().into_iter().find(|it| it.slot == slot);
        let place =
            place.ok_or_else(|| Failure::from(Error::from(LeaseRefusal::NoWindow(made.id))))?;
        let question = wit::AdmitQuestion {
            facts: self.live_facts(None)?,
            window: place,
            request: question::lease_request(self.job, lease, size, made.page),
            leases: self.live_leases(outcome),
            now: now.0,
            settings: question::settings(&self.job.settings),
        };
        let (place, request) = (question.window.clone(), question.request.clone());
        let decided =
            self.options.policies.decide(&lease.name, now, question, grant::terms, words::terms);
        let terms = conclude(decisions, decided)?;
        let planned = PlannedLease { window, size, terms };
        let id = match self.make_lease(index, &planned, made.id) {
            Err(Error::Lease(LeaseRefusal::NoRoom { .. })) => {
                self.make_room(index, &planned, (place, request), outcome, decisions)?
            }
            made => made.map_err(|error| self.at_lease(index, error))?,
        };
        outcome.lease_ids[index] = Some(id);
        outcome.since[index] = now;
        Ok(())
    }

    /// Takes leases back, as a policy says, until one more has room.
    fn make_room(
        &mut self,
        index: usize,
        planned: &PlannedLease,
        (place, request): (wit::Window, wit::LeaseRequest),
        outcome: &mut Outcome,
        decisions: &mut Decisions,
    ) -> Result<LeaseId, Failure> {
        let now = self.options.clock.now();
        let question = wit::ReclaimQuestion {
            facts: self.live_facts(None)?,
            window: place,
            windows: self.live_windows(),
            shortage: wit::Shortage::WindowSpace,
            wanted: planned.size.raw(),
            request,
            leases: self.live_leases(outcome),
            now: now.0,
            settings: question::settings(&self.job.settings),
        };
        let (name, window) =
            (&self.job.leases[index].name, outcome.windows[planned.window].window.id);
        let decided = self.options.policies.decide(
            &format!("{name}, which has no room"),
            now,
            question,
            |question, answer| grant::leases(&question.leases, answer),
            |answer| words::ending(&self.lease_names(answer, outcome)),
        );
        let numbers = conclude(decisions, decided)?;
        for id in live::ids_of(self.engine, &numbers) {
            self.end_leases(&[id])?;
            match self.make_lease(index, planned, window) {
                Err(Error::Lease(LeaseRefusal::NoRoom { .. })) => {}
                made => return made.map_err(|error| self.at_lease(index, error)),
            }
        }
        let taken = if numbers.is_empty() { "no lease is" } else { "too few leases are" };
        let what =
            format!("lease {name}: there is no room for {}, and {taken} taken back", planned.size);
        Err(Failure::new(Exit::Denied, what)
            .with("ask for less, end a lease before, or use a policy that takes leases back"))
    }

    /// Asks for more time. A no leaves the lease to its end.
    pub(super) fn renew(
        &mut self,
        index: usize,
        duration: Option<u64>,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
    ) -> Result<(), Failure> {
        let now = self.keep_time(outcome)?;
        let (id, lease) = self.the_lease(index, outcome)?;
        let question = wit::RenewQuestion {
            facts: self.live_facts(None)?,
            window: self.window_of(&lease),
            lease,
            duration,
            leases: self.live_leases(outcome),
            now: now.0,
            settings: question::settings(&self.job.settings),
        };
        let name = &self.job.leases[index].name;
        let decided = self.options.policies.decide(
            &format!("{name}, once more"),
            now,
            question,
            grant::renewal,
            words::terms,
        );
        let Verdict::Granted(terms) = note(decisions, decided)? else { return Ok(()) };
        self.engine.set_quota(id, terms.quota())?;
        Ok(self.engine.renew(id, terms.expires, now)?)
    }
}

/// The bytes of whole pages that hold this many.
pub(super) fn whole(size: Bytes, page: PageShift) -> Result<Bytes, Failure> {
    let whole = size.round_up(page);
    whole
        .ok_or_else(|| Failure::new(Exit::Job, format!("{size} in whole pages do not fit 64 bits")))
}
