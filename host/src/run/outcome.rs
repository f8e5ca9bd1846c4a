//! What a run has to tell, gathered while there is still an engine to ask.

use tce_engine::{
    Charge, ChargeSubject, Closed, Engine,
    addr::{Bytes, PageShift},
    facts::ContainerFacts,
    fault::{CallCounts, Operation},
    kernel::{GroupNumber, Kernel},
    layout::Candidate,
    lease::LeaseId,
    region::RegionId,
    window::{Claim, Origin, WindowId},
};

use crate::{
    job::{Job, file},
    report::{
        CallsEntry, ChargeEntry, ContainerEntry, DecisionEntry, FORMAT, LeaseEntry, LockedEntry,
        RegionEntry, Report, ReservedEntry, WindowEntry, WorkEntry,
    },
};

use super::Options;

/// What was made, and what was done with it.
pub(super) struct Outcome {
    pub(super) groups: Vec<GroupNumber>,
    pub(super) facts: ContainerFacts,
    pub(super) candidates: Vec<Candidate>,
    pub(super) windows: Vec<WindowId>,
    /// The regions of each window.
    pub(super) window_regions: Vec<Vec<usize>>,
    pub(super) backings: Vec<PageShift>,
    pub(super) region_ids: Vec<RegionId>,
    pub(super) lease_ids: Vec<LeaseId>,
    /// Locked before the run, and by it when the script begins.
    pub(super) before: Bytes,
    pub(super) during: Bytes,
    pub(super) script: ScriptOutcome,
    pub(super) engine: EngineOutcome,
}

/// What the script did.
pub(super) struct ScriptOutcome {
    pub(super) work: WorkEntry,
    pub(super) tces_peak: Vec<u64>,
    pub(super) revoked: Vec<bool>,
}

impl ScriptOutcome {
    pub(super) fn of(job: &Job) -> Self {
        let leases = job.leases.len();
        Self {
            work: WorkEntry::default(),
            tces_peak: vec![0; leases],
            revoked: vec![false; leases],
        }
    }
}

/// What the engine knows at the end of the script.
#[derive(Default)]
pub(super) struct EngineOutcome {
    charges: Vec<Charge>,
    leases: Vec<LeaseSeen>,
}

struct LeaseSeen {
    window: WindowId,
    claim: Claim,
    access: tce_engine::access::Access,
    tces_max: u64,
}

impl Outcome {
    pub(super) fn note_engine<K: Kernel>(&mut self, engine: &Engine<K>) {
        let leases = self.lease_ids.iter().filter_map(|id| engine.leases().get(*id).ok());
        let leases = leases.map(|lease| LeaseSeen {
            window: lease.home().window,
            claim: lease.home().claim,
            access: lease.access,
            tces_max: lease.quota.tces,
        });
        self.engine =
            EngineOutcome { charges: engine.charges().to_vec(), leases: leases.collect() };
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
            windows: self.windows(),
            regions: self.regions(job),
            leases: self.leases(job),
            work: self.script.work,
            calls: calls(&closed.calls),
            locked: LockedEntry {
                before: self.before.raw(),
                during: self.during.raw(),
                left_behind: closed.locked.raw(),
                pinned_left_behind: closed.pinned.raw(),
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

    fn windows(&self) -> Vec<WindowEntry> {
        let made = self.windows.iter().zip(&self.candidates);
        made.map(|(id, window)| WindowEntry {
            slot: id.slot.number(),
            generation: id.generation.raw(),
            origin: match window.origin {
                Origin::Created => "created".to_owned(),
                Origin::DefaultWindow => "default-window".to_owned(),
            },
            start: window.start.raw(),
            size: window.size.raw(),
            page: window.page.bytes().raw(),
            tces: window.size.pages_up(window.page).raw(),
            levels: window.table.levels,
            table_bytes: window.table.table.raw(),
            charge: self.charge(ChargeSubject::Window(*id)),
        })
        .chain(self.default_window())
        .collect()
    }

    /// The default window, where the kernel made one that nobody asked for.
    fn default_window(&self) -> Option<WindowEntry> {
        let charge = self.charge(ChargeSubject::DefaultWindow)?;
        let (start, size) = (self.facts.default_start, self.facts.default_window);
        let page = PageShift::K4;
        let shape = self.facts.geometry().shape(page, size, 1)?;
        Some(WindowEntry {
            slot: 0,
            generation: 0,
            origin: "default-window, unused".to_owned(),
            start: start.raw(),
            size: size.raw(),
            page: page.bytes().raw(),
            tces: size.pages_up(page).raw(),
            levels: shape.levels,
            table_bytes: shape.table.raw(),
            charge: Some(charge),
        })
    }

    fn regions(&self, job: &Job) -> Vec<RegionEntry> {
        let made = job.regions.iter().zip(&self.backings).zip(&self.region_ids).enumerate();
        made.map(|(index, ((region, backing), id))| {
            let window = self.window_regions.iter().position(|inside| inside.contains(&index));
            let slot = window.map_or(0, |window| self.windows[window].slot.number());
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
        made.map(|(index, (plan, seen))| LeaseEntry {
            name: plan.name.clone(),
            holder: plan.holder.name().to_owned(),
            slot: seen.window.slot.number(),
            generation: seen.window.generation.raw(),
            start: seen.claim.start.raw(),
            size: seen.claim.size.raw(),
            access: seen.access.to_string(),
            tces_max: seen.tces_max,
            tces_peak: self.script.tces_peak[index],
            ended: if self.script.revoked[index] { "revoked" } else { "with the run" }.to_owned(),
        })
        .collect()
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
