//! A trace's demand as a job.

use std::collections::BTreeMap;

use tce_engine::machine::Backing;
use tce_trace::{
    demand::{Demand, DemandStep, Part},
    survey::Survey,
};

use crate::job::{
    Hints, Job, JobError,
    file::{
        AccessEntry, DemandEntry, DeviceEntry, EditEntry, JobFile, LeaseEntry, Memory, RegionEntry,
        StepEntry,
    },
    platform::PlatformEntry,
    size::{PageSize, Size},
    windows::WindowsEntry,
};

/// The one lease of such a job.
const LEASE: &str = "all";

/// The job. It may say that the demand is none that a job can have.
pub(super) fn job(name: &str, survey: &Survey, demand: &Demand) -> Result<Job, JobError> {
    let devices = survey.groups.values().flatten();
    let devices: Vec<_> = devices.map(|address| DeviceEntry { address: address.clone() }).collect();
    let groups = match devices.is_empty() {
        true => survey.profile().groups.iter().map(|group| group.number.0).collect(),
        false => Vec::new(),
    };
    let names: Vec<String> = (0..demand.regions.len()).map(region_name).collect();
    Job::new(JobFile {
        name: name.to_owned(),
        backend: None,
        devices,
        groups,
        regions: demand.regions.iter().zip(&names).map(region).collect(),
        demand: DemandEntry::default(),
        platform: PlatformEntry::default(),
        windows: WindowsEntry::default(),
        leases: vec![LeaseEntry {
            name: LEASE.to_owned(),
            holder: "trace".to_owned(),
            regions: names,
            size: None,
            at: None,
            access: AccessEntry::ReadWrite,
            tces: None,
            duration: None,
            deferred: None,
            later: false,
            hints: Hints::default(),
        }],
        steps: steps(demand),
        settings: BTreeMap::new(),
        recorded: None,
    })
}

fn region_name(index: usize) -> String {
    format!("memory-{index}")
}

fn region((region, name): (&tce_trace::demand::DemandRegion, &String)) -> RegionEntry {
    let (memory, page) = match region.backing {
        Backing::Hugetlb(page) => (Memory::Hugetlb, Some(PageSize(page))),
        Backing::Anonymous => (Memory::Anonymous, None),
        Backing::Memfd => (Memory::Memfd, None),
    };
    RegionEntry {
        name: name.clone(),
        size: Size(region.size().raw()),
        page,
        granule: Some(PageSize(region.granule)),
        memory,
        access: AccessEntry::ReadWrite,
        at: None,
        hints: Hints::default(),
    }
}

/// Each region has its place in the lease, behind the one before it.
fn steps(demand: &Demand) -> Vec<StepEntry> {
    let mut starts = Vec::new();
    let mut next = 0_u64;
    for region in &demand.regions {
        starts.push(next);
        next = next.saturating_add(region.size().raw());
    }
    let place = |part: &Part| starts.get(part.region).map_or(0, |start| start + part.offset);
    let map = |part: &Part| EditEntry {
        map: Some(region_name(part.region)),
        unmap: None,
        at: Some(Size(place(part))),
        offset: Some(Size(part.offset)),
        size: Some(Size(part.size)),
        access: None,
    };
    let unmap = |part: &Part| EditEntry {
        map: None,
        unmap: Some(Size(place(part))),
        at: None,
        offset: None,
        size: Some(Size(part.size)),
        access: None,
    };
    let batch = |edits| StepEntry::Batch { lease: LEASE.to_owned(), edits };
    let step = |step: &DemandStep| match step {
        DemandStep::Map(parts) => batch(parts.iter().map(map).collect()),
        DemandStep::Unmap(parts) => batch(parts.iter().map(unmap).collect()),
    };
    demand.steps.iter().map(step).collect()
}
