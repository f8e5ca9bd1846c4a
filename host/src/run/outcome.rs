//! What a run has to tell, gathered while there is still an engine to ask.

use tce_engine::{
    Charge, ChargeSubject, Closed, Engine,
    addr::{Bytes, PageShift, Pages},
    facts::ContainerFacts,
    fault::{CallCounts, Operation},
    geometry::TableShape,
    kernel::{GroupNumber, Kernel},
    layout::UnusedDefault,
    lease::{EndCause, Lease, LeaseId, LeaseState, Timestamp},
    lingering::Unmapping,
    region::RegionId,
    window::{Claim, Origin, Window, WindowId},
};

use crate::{
    exit::{Exit, Failure},
    job::{Job, file},
    report::{
        CallsEntry, ChargeEntry, ContainerEntry, DecisionEntry, DeferredEntry, FORMAT, LeaseEntry,
        LockedEntry, RegionEntry, Report, ReservedEntry, WindowEntry, WorkEntry,
    },
};

use super::Options;

/// What was made, and what was done with it.
pub(super) struct Outcome {
    pub(super) groups: Vec<GroupNumber>,
    pub(super) facts: ContainerFacts,
    pub(super) windows: Vec<MadeWindow>,
    /// The regions of each window.
    pub(super) window_regions: Vec<Vec<usize>>,
    pub(super) backings: Vec<PageShift>,
    pub(super) region_ids: Vec<RegionId>,
    /// Each lease of the job that was made.
    pub(super) lease_ids: Vec<Option<LeaseId>>,
    /// Since when each is.
    pub(super) since: Vec<Timestamp>,
    /// Locked before the run, and by it when the script begins.
    pub(super) before: Bytes,
    pub(super) during: Bytes,
    pub(super) script: ScriptOutcome,
    pub(super) engine: EngineOutcome,
}

/// A window, and what it was to be.
pub(super) struct MadeWindow {
    pub(super) window: Window,
    pub(super) table: TableShape,
    /// The size that was wanted. A fallback has less.
    pub(super) wanted: Bytes,
}

/// What the script did.
pub(super) struct ScriptOutcome {
    pub(super) work: WorkEntry,
    pub(super) tces_peak: Vec<u64>,
}

impl ScriptOutcome {
    pub(super) fn of(job: &Job) -> Self {
        Self { work: WorkEntry::default(), tces_peak: vec![0; job.leases.len()] }
    }
}

/// What the engine knows at the end of the script.
#[derive(Default)]
pub(super) struct EngineOutcome {
    charges: Vec<Charge>,
    dynamic_tces_max: Option<u64>,
    leases: Vec<Option<LeaseSeen>>,
}

struct LeaseSeen {
    window: WindowId,
    claim: Claim,
    access: tce_engine::access::Access,
    tces_max: u64,
    unmapping: Unmapping,
    state: LeaseState,
}

impl Outcome {
    /// A lease of the job.
    pub(super) fn lease(&self, index: usize) -> Result<LeaseId, Failure> {
        let made = self.lease_ids[index];
        made.ok_or_else(|| Failure::new(Exit::Job, "the lease was not asked for yet"))
    }

    /// Notes that these regions are mapped in the window that was made last.
    pub(super) fn move_regions(&mut self, regions: &[usize]) {
        self.window_regions.iter_mut().for_each(|of| of.retain(|it| !regions.contains(it)));
        self.window_regions.push(regions.to_vec());
    }

    pub(super) fn note_engine<K: Kernel>(&mut self, engine: &Engine<K>) {
        let leases = self.lease_ids.iter().map(|id| engine.leases().get((*id)?).ok());
        let seen = |lease: &Lease| LeaseSeen {
            window: lease.home().window,
            claim: lease.home().claim,
            access: lease.access,
            tces_max: lease.quota.tces,
            unmapping: lease.unmapping,
            state: lease.state,
        };
        let dynamic_tces_max = engine.facts().and_then(|facts| facts.dynamic_tces_max);
        self.engine = EngineOutcome {
            charges: engine.charges().to_vec(),
            dynamic_tces_max: dynamic_tces_max.map(Pages::raw),
            leases: leases.map(|lease| lease.map(seen)).collect(),
        };
    }

    pub(super) fn report(
        &self,
        job: &Job,
        options: &Options<'_>,
        decisions: Vec<DecisionEntry>,
        closed: &Closed,
    ) -> Report {
        Report {
            format: FORMAT.to_owned(),
            job: job.name.clone(),
            backend: options.backend.clone(),
            policy_compiler: options.policy_compiler.clone(),
            policies: options.policies.entries(),
            container: self.container(job),
            decisions,
            windows: self.windows(job),
            regions: self.regions(job),
            leases: self.leases(job),
            work: self.script.work,
            calls: calls(&closed.calls),
            locked: LockedEntry {
                before: self.before.raw(),
                during: self.during.raw(),
                left_behind: closed.locked.raw(),
                pinned_left_behind: closed.pinned.raw(),
                leaked: closed.leaked.raw(),
            },
            recorded: job.recorded.clone(),
        }
    }

    fn container(&self, job: &Job) -> ContainerEntry {
        let facts = &self.facts;
        let reserved = facts.reserved.iter().map(|range| ReservedEntry {
            start: range.start.raw(),
            size: range.size.raw(),
            what: range.what.to_owned(),
        });
        ContainerEntry {
            platform: facts.platform.to_string(),
            system_page: facts.system_page.bytes().raw(),
            page_sizes: facts.page_shifts.iter().map(|page| page.bytes().raw()).collect(),
            windows_max: facts.windows_max,
            levels_max: facts.levels_max,
            dynamic_tces_max: self.engine.dynamic_tces_max,
            reserved: reserved.collect(),
            eeh: facts.eeh,
            groups: self.groups.iter().map(|group| group.0).collect(),
            devices: job.devices.clone(),
            locked_limit: facts.locked_limit.map(Bytes::raw),
        }
    }

    fn charge(&self, subject: ChargeSubject) -> Option<ChargeEntry> {
        let charge = self.engine.charges.iter().find(|charge| charge.subject == subject)?;
        Some(ChargeEntry { predicted: charge.predicted.raw(), charged: charge.charged.raw() })
    }

    fn windows(&self, job: &Job) -> Vec<WindowEntry> {
        let made = self.windows.iter().map(|MadeWindow { window, table, wanted }| WindowEntry {
            slot: window.id.slot.number(),
            generation: window.id.generation.raw(),
            origin: match window.origin {
                Origin::Created => "created".to_owned(),
                Origin::DefaultWindow => "default-window".to_owned(),
            },
            start: window.start.raw(),
            size: window.size.raw(),
            page: window.page.bytes().raw(),
            tces: window.size.pages_up(window.page).raw(),
            levels: table.levels,
            table_bytes: table.table.raw(),
            fallback_for: (window.size < *wanted).then_some(wanted.raw()),
            charge: self.charge(ChargeSubject::Window(window.id)),
        });
        made.chain(self.default_window(job)).collect()
    }

    /// The default window, where the kernel made one that nobody asked for.
    fn default_window(&self, job: &Job) -> Option<WindowEntry> {
        let charge = self.charge(ChargeSubject::DefaultWindow)?;
        let (start, size) = (self.facts.default_start, self.facts.default_window);
        let page = PageShift::K4;
        let shape = self.facts.geometry().shape(page, size, 1)?;
        Some(WindowEntry {
            slot: 0,
            generation: 0,
            origin: match job.unused_default {
                UnusedDefault::Keep => "default-window, unused",
                UnusedDefault::Remove => "default-window, removed",
            }
            .to_owned(),
            start: start.raw(),
            size: size.raw(),
            page: page.bytes().raw(),
            tces: size.pages_up(page).raw(),
            levels: shape.levels,
            table_bytes: shape.table.raw(),
            fallback_for: None,
            charge: Some(charge),
        })
    }

    fn regions(&self, job: &Job) -> Vec<RegionEntry> {
        let made = job.regions.iter().zip(&self.backings).zip(&self.region_ids).enumerate();
        made.map(|(index, ((region, backing), id))| {
            let window = self.window_regions.iter().position(|inside| inside.contains(&index));
            let slot = window.map_or(0, |window| self.windows[window].window.id.slot.number());
            RegionEntry {
                name: region.name.clone(),
                size: region.size.raw(),
                backing: backing.bytes().raw(),
                memory: match region.memory {
                    file::Memory::Anonymous => "anonymous",
                    file::Memory::Memfd => "memfd",
                    file::Memory::Hugetlb => "hugetlb",
                }
                .to_owned(),
                slot,
                charge: self.charge(ChargeSubject::Region(*id)).unwrap_or_default(),
            }
        })
        .collect()
    }

    fn leases(&self, job: &Job) -> Vec<LeaseEntry> {
        let made = job.leases.iter().zip(&self.engine.leases).enumerate();
        let made = made.filter_map(|(index, (plan, seen))| Some((index, plan, seen.as_ref()?)));
        made.map(|(index, plan, seen)| LeaseEntry {
            name: plan.name.clone(),
            holder: plan.holder.name().to_owned(),
            slot: seen.window.slot.number(),
            generation: seen.window.generation.raw(),
            start: seen.claim.start.raw(),
            size: seen.claim.size.raw(),
            access: seen.access.to_string(),
            tces_max: seen.tces_max,
            tces_peak: self.script.tces_peak[index],
            deferred: deferred(seen.unmapping),
            ended: ended(seen.state).to_owned(),
        })
        .collect()
    }
}

const fn deferred(unmapping: Unmapping) -> Option<DeferredEntry> {
    match unmapping {
        Unmapping::Strict => None,
        Unmapping::Deferred(it) => {
            Some(DeferredEntry { tces: it.tces_max(), delay: it.delay_max() })
        }
    }
}

/// Why a lease had ended when the script was done.
const fn ended(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Ended(EndCause::Revoked) => "revoked",
        LeaseState::Ended(EndCause::Expired) => "expired",
        _ => "with the run",
    }
}

fn calls(counts: &CallCounts) -> CallsEntry {
    CallsEntry {
        descriptor: counts.of(Operation::Descriptor),
        query: counts.of(Operation::Query),
        attach: counts.of(Operation::Attach),
        device_access: counts.of(Operation::DeviceAccess),
        register: counts.of(Operation::Register),
        unregister: counts.of(Operation::Unregister),
        create: counts.of(Operation::Create),
        remove: counts.of(Operation::Remove),
        map: counts.of(Operation::Map),
        unmap: counts.of(Operation::Unmap),
    }
}
