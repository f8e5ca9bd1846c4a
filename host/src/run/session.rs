//! The steps of a run, in order.

use std::num::NonZeroU32;

use tce_engine::{
    Engine, LeaseRequest,
    addr::{Bytes, PageShift},
    kernel::GroupNumber,
    layout::Candidate,
    lease::{LeaseId, Timestamp},
    machine::Machine,
    region::RegionId,
};

use crate::{
    decide::{Decided, Verdict},
    exit::{Exit, Failure},
    grant::{self, PageGroup},
    job::Job,
    policy::wit,
    question,
    report::DecisionEntry,
};

use super::{
    Options, Progress,
    memory::{self, Memory},
    outcome::{EngineOutcome, MadeWindow, Outcome, ScriptOutcome},
    plan::{self, PlannedLease},
    windows::Layout,
    words,
};

pub(super) struct Session<'a, M: Machine> {
    pub(super) job: &'a Job,
    pub(super) engine: &'a mut Engine<M::Kernel>,
    pub(super) machine: &'a mut M,
    pub(super) memory: &'a mut Memory,
    pub(super) options: &'a Options<'a>,
    /// When the run began.
    pub(super) started: Timestamp,
}

pub(super) type Decisions = Vec<DecisionEntry>;

impl<M: Machine> Session<'_, M> {
    pub(super) fn go(
        &mut self,
        decisions: &mut Decisions,
        progress: &dyn Progress,
    ) -> Result<Outcome, Failure> {
        let before = self.locked()?;
        let groups = self.attach()?;
        let system_page = self.engine.system().page_shift;
        let backings = memory::backings(self.job, system_page)?;
        let demand = question::demand(self.job, &backings);
        let facts = self.facts(&groups)?;
        let pages = self.decide_pages(decisions, &facts, &demand)?;
        let layout = self.decide_windows(decisions, &facts, &demand, &pages)?;
        let leases = self.decide_leases(decisions, &facts, &layout)?;
        let (windows, regions) = self.make_windows(layout)?;
        let region_ids = self.register(&backings)?;
        let lease_ids = self.lease(&leases, &windows)?;
        let during = self.locked()?.checked_sub(before).unwrap_or_default();
        let mut outcome = Outcome {
            groups,
            facts: self.engine.facts().expect("a group is attached").clone(),
            windows,
            window_regions: regions,
            backings,
            region_ids,
            lease_ids,
            before,
            during,
            script: ScriptOutcome::of(self.job),
            engine: EngineOutcome::default(),
        };
        self.work(&mut outcome, progress)?;
        outcome.note_engine(self.engine);
        Ok(outcome)
    }

    fn locked(&mut self) -> Result<Bytes, Failure> {
        Ok(self.engine.locked().map_err(tce_engine::Error::from)?.locked)
    }

    fn facts(&mut self, groups: &[GroupNumber]) -> Result<wit::ContainerFacts, Failure> {
        let locked = self.locked()?;
        // The memory is registered after the windows are made, and has to fit beside them.
        let memory = self.job.regions.iter().map(|region| region.size);
        let charged = memory.fold(locked, Bytes::saturating_add);
        let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
        Ok(question::container_facts(&layouts, groups, charged))
    }

    fn decide_pages(
        &self,
        decisions: &mut Decisions,
        facts: &wit::ContainerFacts,
        demand: &wit::Demand,
    ) -> Result<Vec<(PageGroup, wit::PageChoice)>, Failure> {
        let question = wit::PageQuestion {
            facts: facts.clone(),
            demand: demand.clone(),
            settings: question::settings(&self.job.settings),
        };
        let decided = self.options.policies.decide(
            "pages",
            question,
            |question, answer| {
                Ok(grant::pages(question, answer)?.into_iter().zip(answer.clone()).collect())
            },
            |answer| words::pages(self.job, answer),
        );
        conclude(decisions, decided)
    }

    fn decide_leases(
        &self,
        decisions: &mut Decisions,
        facts: &wit::ContainerFacts,
        layout: &Layout,
    ) -> Result<Vec<PlannedLease>, Failure> {
        let mut planned: Vec<PlannedLease> = Vec::new();
        for index in 0..self.job.leases.len() {
            let question = self.admit_question(facts, layout, &planned, index)?;
            let lease = &self.job.leases[index];
            let size = Bytes::new(question.request.size);
            let policies = self.options.policies;
            let decided = policies.decide(&lease.name, question, grant::terms, words::terms);
            let terms = conclude(decisions, decided)?;
            let window = plan::window_of(lease, &layout.regions)?;
            planned.push(PlannedLease { window, size, terms });
        }
        Ok(planned)
    }

    fn admit_question(
        &self,
        facts: &wit::ContainerFacts,
        layout: &Layout,
        planned: &[PlannedLease],
        index: usize,
    ) -> Result<wit::AdmitQuestion, Failure> {
        let lease = &self.job.leases[index];
        let place = plan::window_of(lease, &layout.regions)?;
        let window = &layout.grant.windows()[place];
        let size = plan::lease_size(lease, window.page)?;
        let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
        let beside = planned.iter().filter(|other| other.window == place).map(|other| other.size);
        let unleased = plan::unleased(&layouts, window, beside);
        Ok(wit::AdmitQuestion {
            facts: facts.clone(),
            window: window_facts(window, unleased),
            request: question::lease_request(self.job, lease, size, window.page),
            leases: self.planned_leases(layout, planned),
            now: self.started.0,
            settings: question::settings(&self.job.settings),
        })
    }

    /// The leases admitted so far, as policies see leases. Where each will lie is not known yet.
    fn planned_leases(&self, layout: &Layout, planned: &[PlannedLease]) -> Vec<wit::Lease> {
        let list = planned.iter().zip(&self.job.leases).zip(0u64..);
        list.map(|((planned, lease), id)| {
            let window = &layout.grant.windows()[planned.window];
            wit::Lease {
                id,
                holder: lease.holder.name().to_owned(),
                slot: window.slot.number(),
                start: lease.at.unwrap_or(window.start).raw(),
                size: planned.size.raw(),
                terms: wit::Terms {
                    access: question::access(planned.terms.access),
                    tces_max: planned.terms.tces_max,
                    pinned_max: planned.terms.quota().pinned.map(Bytes::raw),
                    edits_per_second: planned.terms.quota().edits_per_second.map(NonZeroU32::get),
                    expires: planned.terms.expires.map(|at| at.0),
                },
                since: self.started.0,
                tces: 0,
                pinned: 0,
                hints: question::hints(&lease.hints),
            }
        })
        .collect()
    }

    fn register(&mut self, backings: &[PageShift]) -> Result<Vec<RegionId>, Failure> {
        let mut ids = Vec::new();
        for (region, backing) in self.job.regions.iter().zip(backings) {
            let range = self.memory.allocate(self.machine, region, *backing);
            let place = || format!("region {}", region.name);
            let range = range.map_err(|error| Failure::from(error).at(place()))?;
            let id = self.engine.register(range, *backing);
            ids.push(id.map_err(|error| Failure::from(error).at(place()))?);
        }
        Ok(ids)
    }

    fn lease(
        &mut self,
        planned: &[PlannedLease],
        windows: &[MadeWindow],
    ) -> Result<Vec<LeaseId>, Failure> {
        let mut ids = Vec::new();
        for (lease, plan) in self.job.leases.iter().zip(planned) {
            let request = LeaseRequest {
                at: lease.at,
                access: plan.terms.access,
                quota: plan.terms.quota(),
                expires: plan.terms.expires,
                unmapping: lease.unmapping,
                ..LeaseRequest::new(lease.holder.clone(), windows[plan.window].window.id, plan.size)
            };
            let grant = self.engine.grant_lease(request);
            let id = grant.and_then(|grant| self.engine.lease(grant));
            let place = format!("lease {}", lease.name);
            ids.push(id.map_err(|error| Failure::from(error).at(place))?);
        }
        Ok(ids)
    }
}

/// Notes a decision, and goes on with what it granted.
pub(super) fn conclude<G>(decisions: &mut Decisions, decided: Decided<G>) -> Result<G, Failure> {
    let Decided { verdict, entry } = decided;
    let denied = |refusal: &wit::Refusal| {
        let what = format!(
            "denied: policy {} refuses {} ({}): {}",
            entry.decided_by, entry.about, entry.point, refusal.detail
        );
        Failure::new(Exit::Denied, what).with(
            "a no is a decision: ask for something else, change what [settings] tells the policy, \
             or use another policy",
        )
    };
    let result = match verdict {
        Ok(Verdict::Granted(grant)) => Ok(grant),
        Ok(Verdict::Denied(refusal)) => Err(denied(&refusal)),
        Err(rejection) => Err(rejection.into()),
    };
    decisions.push(entry);
    result
}

fn window_facts(window: &Candidate, unleased: Bytes) -> wit::Window {
    wit::Window {
        slot: window.slot.number(),
        start: window.start.raw(),
        size: window.size.raw(),
        page: window.page.raw(),
        levels: window.table.levels,
        unleased: unleased.raw(),
        hints: Vec::new(),
    }
}
