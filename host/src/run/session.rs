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
    window::WindowId,
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
        let lease_ids = self.make_leases(&leases, &windows)?;
        let during = self.locked()?.checked_sub(before).unwrap_or_default();
        let mut outcome = Outcome {
            groups,
            facts: self.engine.facts().expect("a group is attached").clone(),
            windows,
            window_regions: regions,
            backings,
            region_ids,
            since: vec![self.started; lease_ids.len()],
            lease_ids,
            before,
            during,
            script: ScriptOutcome::of(self.job),
            engine: EngineOutcome::default(),
        };
        self.work(&mut outcome, decisions, progress)?;
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
            self.started,
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
    ) -> Result<Vec<Option<PlannedLease>>, Failure> {
        let mut planned: Vec<Option<PlannedLease>> = Vec::new();
        for (index, lease) in self.job.leases.iter().enumerate() {
            if lease.later {
                planned.push(None);
                continue;
            }
            let question = self.admit_question(facts, layout, &planned, index)?;
            let size = Bytes::new(question.request.size);
            let policies = self.options.policies;
            let decided =
                policies.decide(&lease.name, self.started, question, grant::terms, words::terms);
            let terms = conclude(decisions, decided)?;
            let window = plan::window_of(lease, &layout.regions)?;
            planned.push(Some(PlannedLease { window, size, terms }));
        }
        Ok(planned)
    }

    fn admit_question(
        &self,
        facts: &wit::ContainerFacts,
        layout: &Layout,
        planned: &[Option<PlannedLease>],
        index: usize,
    ) -> Result<wit::AdmitQuestion, Failure> {
        let lease = &self.job.leases[index];
        let place = plan::window_of(lease, &layout.regions)?;
        let window = &layout.grant.windows()[place];
        let size = plan::lease_size(lease, window.page)?;
        let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
        let beside =
            planned.iter().flatten().filter(|other| other.window == place).map(|other| other.size);
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
    fn planned_leases(&self, layout: &Layout, planned: &[Option<PlannedLease>]) -> Vec<wit::Lease> {
        let list = planned.iter().zip(&self.job.leases).zip(0u64..);
        let list = list.filter_map(|((planned, lease), id)| Some((planned.as_ref()?, lease, id)));
        list.map(|(planned, lease, id)| {
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

    fn make_leases(
        &mut self,
        planned: &[Option<PlannedLease>],
        windows: &[MadeWindow],
    ) -> Result<Vec<Option<LeaseId>>, Failure> {
        let planned = planned.iter().enumerate();
        let made = planned.map(|(index, plan)| {
            let Some(plan) = plan else { return Ok(None) };
            let made = self.make_lease(index, plan, windows[plan.window].window.id);
            made.map(Some).map_err(|error| self.at_lease(index, error))
        });
        made.collect()
    }

    /// Makes a lease of the job, as it was admitted.
    pub(super) fn make_lease(
        &mut self,
        index: usize,
        plan: &PlannedLease,
        window: WindowId,
    ) -> Result<LeaseId, tce_engine::Error> {
        let lease = &self.job.leases[index];
        let request = LeaseRequest {
            at: lease.at,
            access: plan.terms.access,
            quota: plan.terms.quota(),
            expires: plan.terms.expires,
            unmapping: lease.unmapping,
            ..LeaseRequest::new(lease.holder.clone(), window, plan.size)
        };
        let grant = self.engine.grant_lease(request)?;
        self.engine.lease(grant)
    }

    /// An error, with the lease of the job that it is about.
    pub(super) fn at_lease(&self, index: usize, error: tce_engine::Error) -> Failure {
        Failure::from(error).at(format!("lease {}", self.job.leases[index].name))
    }
}

/// Notes a decision, and goes on with what it granted.
pub(super) fn conclude<G>(decisions: &mut Decisions, decided: Decided<G>) -> Result<G, Failure> {
    let (by, about) = (decided.entry.decided_by.clone(), decided.entry.about.clone());
    let point = decided.entry.point.clone();
    match note(decisions, decided)? {
        Verdict::Granted(grant) => Ok(grant),
        Verdict::Denied(refusal) => {
            let what = format!("denied: policy {by} refuses {about} ({point}): {}", refusal.detail);
            Err(Failure::new(Exit::Denied, what).with(
                "a no is a decision: ask for something else, change what [settings] tells the \
                 policy, or use another policy",
            ))
        }
    }
}

/// Notes a decision, and goes on with what it is.
pub(super) fn note<G>(
    decisions: &mut Decisions,
    decided: Decided<G>,
) -> Result<Verdict<G>, Failure> {
    decisions.push(decided.entry);
    Ok(decided.verdict?)
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
