//! A lease moves into a window of its own.

use tce_engine::{
    Error,
    addr::{Bytes, Iova, PageShift},
    growth::{Addresses, GrowthRequest},
    layout::{Candidate, CandidateQuery, Need, WindowChoice},
    lease::{LeaseId, LeaseRefusal, Quota},
    machine::Machine,
    window::WindowId,
};

use crate::{
    exit::{Exit, Failure},
    grant,
    policy::wit,
    question,
};

use super::{
    outcome::Outcome,
    session::{Decisions, Session, conclude},
    terms::whole,
    words,
};

impl<M: Machine> Session<'_, M> {
    /// Asks for a larger window, makes it, and moves a lease there. The window that it leaves goes, if nobody else has a
    /// lease of it.
    pub(super) fn grow(
        &mut self,
        index: usize,
        size: Bytes,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
    ) -> Result<(), Failure> {
        let now = self.keep_time(outcome)?;
        let (id, lease) = self.the_lease(index, outcome)?;
        let found = self.places_to_grow(index, size, outcome)?;
        let question = wit::GrowthQuestion {
            facts: self.live_facts(None)?,
            windows: self.live_windows(),
            lease,
            size: size.raw(),
            candidates: question::candidates(&found),
            leases: self.live_leases(outcome),
            now: now.0,
            settings: question::settings(&self.job.settings),
        };
        let name = &self.job.leases[index].name;
        let (engine, policies) = (&mut *self.engine, self.options.policies);
        let decided = policies.decide(
            &format!("{name}, larger"),
            now,
            question,
            |question, answer| {
                let choice = grant::growth(question, answer)?;
                Ok(engine.grant_layout(&[choice])?)
            },
            words::candidate,
        );
        let grant = conclude(decisions, decided)?;
        let wanted = grant.windows()[0];
        let into = self.engine.create_windows(grant)?[0];
        let from = self.engine.leases().active(id).map_err(Error::from)?.home().window;
        if let Err(failure) = self.move_lease(index, id, into, size) {
            // Nothing has moved, and nobody else knows the window.
            self.engine.remove_window(into)?;
            return Err(failure);
        }
        outcome.windows.push(self.made(into, wanted));
        outcome.move_regions(&self.job.leases[index].regions);
        self.remove_if_left(from)
    }

    fn move_lease(
        &mut self,
        index: usize,
        id: LeaseId,
        window: WindowId,
        size: Bytes,
    ) -> Result<(), Failure> {
        let now = self.options.clock.now();
        let mut regions = self.job.leases[index].regions.iter();
        let had = self.engine.leases().active(id).map_err(Error::from)?.home().run.pages();
        let is_fixed = regions.any(|region| self.job.regions[*region].at.is_some());
        let made = self.engine.windows().find(|state| state.window().id == window);
        let page = made.ok_or(LeaseRefusal::NoWindow(window)).map_err(Error::from)?.window().page;
        let request = GrowthRequest {
            window,
            at: None,
            size: whole(size, page)?,
            device_mask: self.job.device_mask,
            addresses: if is_fixed { Addresses::Fixed } else { Addresses::Movable },
        };
        self.engine.begin_growth(id, &request, now)?;
        // Nothing but this script uses the old addresses, and no step does so any more.
        self.engine.finish_growth(id)?;
        let quota = self.engine.leases().active(id).map_err(Error::from)?.quota;
        if quota.tces < had.raw() {
            return Ok(());
        }
        let all = request.size.pages_up(page).raw();
        Ok(self.engine.set_quota(id, Quota { tces: all, ..quota })?)
    }

    /// The windows that could be made beside those there are and that hold the lease at its new size.
    fn places_to_grow(
        &self,
        index: usize,
        size: Bytes,
        outcome: &Outcome,
    ) -> Result<Vec<Candidate>, Failure> {
        let layouts = self.engine.layouts().ok_or(Error::NoBackend)?;
        let query = CandidateQuery {
            size_min: size,
            size_max: Bytes::new(size.raw().saturating_mul(4)),
            device_mask: self.job.device_mask,
        };
        let page_max = self.page_max(index, outcome);
        let holds = |it: &Candidate| {
            let choice = choice(it, need(size, PageShift::K4));
            it.page <= page_max && layouts.check(&[choice]).is_ok()
        };
        let found: Vec<Candidate> = layouts.candidates(&query).into_iter().filter(holds).collect();
        if found.is_empty() {
            let name = &self.job.leases[index].name;
            let what = format!("lease {name}: no window beside those there are can hold {size}");
            return Err(Failure::new(Exit::Job, what).with(
                "leave a slot free when the windows are made, ask for less, or use a machine with two slots",
            ));
        }
        Ok(found)
    }

    /// The largest page by which all that the lease maps can be mapped.
    fn page_max(&self, index: usize, outcome: &Outcome) -> PageShift {
        let regions = self.job.leases[index].regions.iter();
        let pages = regions.map(|region| {
            let backing = outcome.backings[*region];
            self.job.regions[*region].granule.map_or(backing, |granule| granule.min(backing))
        });
        pages.min().unwrap_or(PageShift::K4)
    }

    fn remove_if_left(&mut self, window: WindowId) -> Result<(), Failure> {
        let is_leased = self.engine.leases().live().any(|(_, lease)| lease.part(window).is_some());
        if !is_leased {
            self.engine.remove_window(window)?;
        }
        Ok(())
    }
}

/// Room for the lease, wherever it is.
const fn need(size: Bytes, backing: PageShift) -> Need {
    Need { size, backing, at: None::<Iova> }
}

fn choice(candidate: &Candidate, need: Need) -> WindowChoice {
    WindowChoice {
        slot: candidate.slot,
        page: candidate.page,
        size: candidate.size,
        fallback: None,
        levels: candidate.table.levels,
        needs: vec![need],
    }
}
