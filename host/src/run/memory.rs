//! The job's memory.

use tce_engine::{
    addr::PageShift,
    kernel::MemoryRange,
    machine::{Backing, Machine, MachineError, MemoryRequest},
};

use crate::{
    exit::{Exit, Failure},
    job::{Job, RegionPlan, file},
};

/// What was allocated, so that it is given back whatever happens.
#[derive(Default)]
pub(super) struct Memory(Vec<MemoryRange>);

impl Memory {
    pub(super) fn allocate<M: Machine>(
        &mut self,
        machine: &mut M,
        region: &RegionPlan,
        backing: PageShift,
    ) -> Result<MemoryRange, MachineError> {
        let request = MemoryRequest {
            size: region.size,
            backing: match region.memory {
                file::Memory::Anonymous => Backing::Anonymous,
                file::Memory::Memfd => Backing::Memfd,
                file::Memory::Hugetlb => Backing::Hugetlb(backing),
            },
            align: backing,
        };
        let range = machine.allocate(&request)?;
        self.0.push(range);
        Ok(range)
    }

    pub(super) fn free<M: Machine>(self, machine: &mut M) -> Result<(), MachineError> {
        let freed: Vec<_> = self.0.into_iter().map(|range| machine.free(range)).collect();
        freed.into_iter().collect()
    }
}

/// The page that backs each region on a machine with this system page.
pub(super) fn backings(job: &Job, system_page: PageShift) -> Result<Vec<PageShift>, Failure> {
    job.regions.iter().map(|region| backing(region, system_page)).collect()
}

fn backing(region: &RegionPlan, system_page: PageShift) -> Result<PageShift, Failure> {
    let wrong = |what: String| Failure::new(Exit::Job, format!("region {}: {what}", region.name));
    if !region.size.is_multiple_of(system_page) {
        let size = region.size;
        return Err(wrong(format!(
            "its size of {size} is not a whole number of this machine's {system_page} pages"
        ))
        .with(format!("make it a multiple of {system_page}")));
    }
    match (region.memory, region.page) {
        (file::Memory::Hugetlb, Some(page)) => Ok(page),
        (_, Some(page)) if page > system_page => Err(wrong(format!(
            "it is to be backed by {page} pages, but this machine's pages have {system_page}"
        ))
        .with("use memory = \"hugetlb\", or a kernel with larger pages")),
        _ => Ok(system_page),
    }
}
