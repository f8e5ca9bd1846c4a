//! The steps of a run, in order.

use tce_engine::{
    Engine, LayoutGrant, LeaseRequest,
    addr::{Bytes, PageShift},
    edit::Edit,
    kernel::GroupNumber,
    layout::Candidate,
    lease::LeaseId,
    machine::Machine,
    region::RegionId,
    window::WindowId,
};

use crate::{
    decide::{Decided, Verdict},
    exit::{Exit, Failure},
    grant::{self, PageGroup, WantedLayout},
    job::{Job, Step},
    policy::{Interface, wit},
    question,
    report::{DecisionEntry, WorkEntry},
};

use super::{
    Options, Progress,
    memory::{self, Memory},
    outcome::{EngineOutcome, Outcome, ScriptOutcome},
    plan::{self, PlannedLease},
    script::{Act, Script},
    words,
};

pub(super) struct Session<'a, M: Machine> {
    pub(super) job: &'a Job,
    pub(super) engine: &'a mut Engine<M::Kernel>,
    pub(super) machine: &'a mut M,
    pub(super) memory: &'a mut Memory,
    pub(super) options: &'a Options<'a>,
}

/// A layout that is granted, with the regions of each window.
struct Layout {
    grant: LayoutGrant,
    regions: Vec<Vec<usize>>,
}

type Decisions = Vec<DecisionEntry>;

impl<M: Machine> Session<'_, M> {
    pub(super) fn go(
        &mut self,
        decisions: &mut Decisions,
        progress: &dyn Progress,
    ) -> Result<Outcome, Failure> {
        let before = self.engine.locked().map_err(tce_engine::Error::from)?.locked;
        let groups = self.attach()?;
        let system_page = self.engine.system().page_shift;
        let backings = memory::backings(self.job, system_page)?;
        let demand = question::demand(self.job, &backings);
        let facts = self.facts(&groups)?;
        let pages = self.decide_pages(decisions, &facts, &demand)?;
        let layout = self.decide_windows(decisions, &facts, &demand, &pages)?;
        let leases = self.decide_leases(decisions, &facts, &layout)?;
        let candidates = layout.grant.windows().to_vec();
        let regions = layout.regions;
        let windows = self.engine.create_windows(layout.grant)?;
        let region_ids = self.register(&backings)?;
        let lease_ids = self.lease(&leases, &windows)?;
        let locked = self.engine.locked().map_err(tce_engine::Error::from)?.locked;
        let mut outcome = Outcome {
            groups,
            facts: self.engine.facts().expect("a group is attached").clone(),
            candidates,
            windows,
            window_regions: regions,
            backings,
            region_ids,
            lease_ids,
            before,
            during: locked.checked_sub(before).unwrap_or_default(),
            script: ScriptOutcome::of(self.job),
            engine: EngineOutcome::default(),
        };
        self.work(&mut outcome, progress)?;
        outcome.note_engine(self.engine);
        Ok(outcome)
    }

    fn attach(&mut self) -> Result<Vec<GroupNumber>, Failure> {
        let mut groups: Vec<GroupNumber> = Vec::new();
        let mut devices = Vec::new();
        for address in &self.job.devices {
            let group = self.machine.group_of(address)?;
            devices.push((group, address));
            groups.push(group);
        }
        groups.extend(&self.job.groups);
        let mut seen = std::collections::BTreeSet::new();
        groups.retain(|group| seen.insert(*group));
        for group in &groups {
            self.engine.attach(*group).map_err(|error| self.explain_group(*group, error))?;
        }
        for (group, address) in devices {
            self.engine.open_device(group, address)?;
        }
        Ok(groups)
    }

    /// Adds who blocks a group, where that is why it cannot be attached.
    fn explain_group(&self, group: GroupNumber, error: tce_engine::Error) -> Failure {
        let blockers = self.machine.devices_of(group).into_iter().filter(|it| it.blocks_group);
        let blockers: Vec<String> = blockers
            .map(|it| match it.driver {
                Some(driver) => format!("{} (driver {driver})", it.address),
                None => it.address,
            })
            .collect();
        let failure = Failure::from(error);
        if blockers.is_empty() {
            return failure;
        }
        let what = format!("{failure}; in the way: {}", blockers.join(", "));
        Failure { what, ..failure }
    }

    fn facts(&mut self, groups: &[GroupNumber]) -> Result<wit::ContainerFacts, Failure> {
        let charged = self.engine.locked().map_err(tce_engine::Error::from)?.locked;
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
            Interface::PageSelection,
            "pages",
            |policy| policy.select_pages(&question),
            |answer| Ok(grant::pages(&question, answer)?.into_iter().zip(answer.clone()).collect()),
            |answer| words::pages(self.job, answer),
        );
        conclude(decisions, decided)
    }

    fn decide_windows(
        &mut self,
        decisions: &mut Decisions,
        facts: &wit::ContainerFacts,
        demand: &wit::Demand,
        pages: &[(PageGroup, wit::PageChoice)],
    ) -> Result<Layout, Failure> {
        let groups: Vec<PageGroup> = pages.iter().map(|(group, _)| group.clone()).collect();
        let candidates = {
            let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
            let candidates = layouts.candidates(&plan::query(self.job, &layouts));
            plan::check_holdable(&layouts, &candidates, &groups, demand)?;
            plan::check_limit(facts, demand, &candidates)?;
            candidates
        };
        let question = wit::WindowQuestion {
            facts: facts.clone(),
            demand: demand.clone(),
            pages: pages.iter().map(|(_, choice)| choice.clone()).collect(),
            candidates: question::candidates(&candidates),
            settings: question::settings(&self.job.settings),
        };
        let (job, engine, policies) = (self.job, &mut *self.engine, self.options.policies);
        let decided = policies.decide(
            Interface::WindowSizing,
            "windows",
            |policy| policy.size_windows(&question),
            |answer| {
                let WantedLayout { choices, regions } = grant::layout(demand, answer)?;
                let order = in_slot_order(&choices, regions);
                Ok(Layout { grant: engine.grant_layout(&choices)?, regions: order })
            },
            |answer| words::windows(job, answer),
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
            let decided = self.options.policies.decide(
                Interface::LeasePolicy,
                &lease.name,
                |policy| policy.admit(&question),
                |answer| grant::terms(&question, answer),
                words::terms,
            );
            let terms = conclude(decisions, decided)?;
            let window = plan::window_of(lease, &layout.regions)?;
            planned.push(PlannedLease { window, size: Bytes::new(question.request.size), terms });
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
            request: question::lease_request(lease, size, window.page),
            leases: self.planned_leases(layout, planned),
            now: self.options.now.0,
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
                    expires: planned.terms.expires.map(|at| at.0),
                },
                tces: 0,
            }
        })
        .collect()
    }

    fn register(&mut self, backings: &[PageShift]) -> Result<Vec<RegionId>, Failure> {
        let mut ids = Vec::new();
        for (region, backing) in self.job.regions.iter().zip(backings) {
            let range = self.memory.allocate(self.machine, region, *backing)?;
            ids.push(self.engine.register(range, *backing)?);
        }
        Ok(ids)
    }

    fn lease(
        &mut self,
        planned: &[PlannedLease],
        windows: &[WindowId],
    ) -> Result<Vec<LeaseId>, Failure> {
        let mut ids = Vec::new();
        for (lease, plan) in self.job.leases.iter().zip(planned) {
            let grant = self.engine.grant_lease(LeaseRequest {
                holder: lease.holder.clone(),
                window: windows[plan.window],
                at: lease.at,
                size: plan.size,
                access: plan.terms.access,
                tces_max: plan.terms.tces_max,
                expires: plan.terms.expires,
            })?;
            ids.push(self.engine.lease(grant)?);
        }
        Ok(ids)
    }

    fn work(&mut self, outcome: &mut Outcome, progress: &dyn Progress) -> Result<(), Failure> {
        let total = self.job.steps.iter().map(|step| match Script::act(step) {
            Act::Edits { batches, .. } => batches,
            Act::Revoke { .. } => 1,
        });
        progress.begin(total.sum());
        for (index, step) in self.job.steps.iter().enumerate() {
            self.step(step, outcome, progress).map_err(|failure| {
                let what = format!("step {}: {failure}", index + 1);
                Failure { what, ..failure }
            })?;
        }
        progress.end();
        Ok(())
    }

    fn step(
        &mut self,
        step: &Step,
        outcome: &mut Outcome,
        progress: &dyn Progress,
    ) -> Result<(), Failure> {
        match Script::act(step) {
            Act::Revoke { lease } => {
                self.engine.revoke(outcome.lease_ids[lease])?;
                // The leases that remain go on.
                self.engine.resume_devices()?;
                outcome.script.revoked[lease] = true;
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

    fn edits(&self, step: &Step, batch: u64, outcome: &Outcome) -> Result<Vec<Edit>, Failure> {
        let leases = self.engine.leases();
        let claims: Result<Vec<_>, _> =
            outcome.lease_ids.iter().map(|id| leases.get(*id).map(|lease| lease.claim)).collect();
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
        let id = outcome.lease_ids[lease];
        let applied = self.engine.apply(id, edits, self.options.now)?;
        let work = &mut outcome.script.work;
        *work = WorkEntry {
            batches: work.batches + 1,
            edits: work.edits + u64::try_from(edits.len()).unwrap_or(u64::MAX),
            map_calls: work.map_calls + applied.map_calls,
            unmap_calls: work.unmap_calls + applied.unmap_calls,
            tces_set: work.tces_set + applied.tces_set,
            tces_cleared: work.tces_cleared + applied.tces_cleared,
            tces_kept: work.tces_kept + applied.tces_kept,
        };
        let tces = self.engine.leases().get(id).map_err(tce_engine::Error::from)?.tces;
        let peak = &mut outcome.script.tces_peak[lease];
        *peak = (*peak).max(tces);
        Ok(())
    }
}

/// Notes a decision, and goes on with what it granted.
fn conclude<G>(decisions: &mut Decisions, decided: Decided<G>) -> Result<G, Failure> {
    let Decided { verdict, entry } = decided;
    let denied = |refusal: &wit::Refusal| {
        let what = format!(
            "denied: policy {} refuses {} ({}): {}",
            entry.decided_by, entry.about, entry.point, refusal.detail
        );
        Failure::new(Exit::Denied, what)
    };
    let result = match verdict {
        Ok(Verdict::Granted(grant)) => Ok(grant),
        Ok(Verdict::Denied(refusal)) => Err(denied(&refusal)),
        Err(rejection) => Err(rejection.into()),
    };
    decisions.push(entry);
    result
}

/// Grants list their windows by slot, and so must go the regions.
fn in_slot_order(
    choices: &[tce_engine::layout::WindowChoice],
    regions: Vec<Vec<usize>>,
) -> Vec<Vec<usize>> {
    let mut paired: Vec<_> = choices.iter().map(|choice| choice.slot).zip(regions).collect();
    paired.sort_by_key(|(slot, _)| *slot);
    paired.into_iter().map(|(_, regions)| regions).collect()
}

const fn window_facts(window: &Candidate, unleased: Bytes) -> wit::WindowFacts {
    wit::WindowFacts {
        slot: window.slot.number(),
        start: window.start.raw(),
        size: window.size.raw(),
        page: window.page.raw(),
        unleased: unleased.raw(),
    }
}
