//! From what the engine knows to what policies are asked.

use std::collections::BTreeMap;

use tce_engine::{
    access::Access,
    addr::{Bytes, Iova, PageShift},
    facts::{ContainerFacts, Slot},
    kernel::{GroupNumber, Platform},
    layout::{Candidate, CandidateQuery, Layouts, SlotUse},
    window::Origin,
};

use crate::{
    job::{Hints, IovaChoice, Job, LeasePlan},
    policy::wit,
};

/// The facts, as all questions have them. What is charged includes what will be, when the demand's memory is
/// registered.
pub fn container_facts(
    layouts: &Layouts<'_>,
    groups: &[GroupNumber],
    charged: Bytes,
) -> wit::ContainerFacts {
    let facts = layouts.facts;
    wit::ContainerFacts {
        platform: match facts.platform {
            Platform::Powernv => wit::Platform::Powernv,
            Platform::Pseries => wit::Platform::Pseries,
        },
        system_page: facts.system_page.raw(),
        page_shifts: facts.page_shifts.iter().map(|page| page.raw()).collect(),
        slots: slots(layouts),
        levels_max: facts.levels_max,
        reserved_ranges: reserved_ranges(facts),
        locked_memory: wit::LockedMemory {
            limit: facts.locked_limit.map(Bytes::raw),
            charged: charged.raw(),
        },
        groups: groups.iter().map(|group| group.0).collect(),
        hints: Vec::new(),
    }
}

fn slots(layouts: &Layouts<'_>) -> Vec<wit::SlotFacts> {
    let there = Slot::ALL.into_iter().take(usize::from(layouts.facts.windows_max));
    there
        .map(|slot| wit::SlotFacts {
            slot: slot.number(),
            start: layouts.facts.slot_start(slot).raw(),
            holds: match layouts.slots[slot.index()] {
                SlotUse::Free => wit::SlotUse::Free,
                SlotUse::DefaultWindow => wit::SlotUse::DefaultWindow,
                SlotUse::Taken => wit::SlotUse::Taken,
            },
        })
        .collect()
}

fn reserved_ranges(facts: &ContainerFacts) -> Vec<wit::ReservedRange> {
    let ranges = facts.reserved.iter();
    ranges
        .map(|range| wit::ReservedRange {
            start: range.start.raw(),
            size: range.size.raw(),
            what: range.what.to_owned(),
        })
        .collect()
}

/// The demand of a job whose regions are backed by these pages. A region's number is its place in the job.
#[must_use]
pub fn demand(job: &Job, backings: &[PageShift]) -> wit::Demand {
    let regions = job.regions.iter().zip(backings).zip(0u32..);
    wit::Demand {
        regions: regions
            .map(|((region, backing), id)| wit::Region {
                id,
                name: region.name.clone(),
                size: region.size.raw(),
                backing: backing.raw(),
                granule: region.granule.unwrap_or(*backing).raw(),
                access: access(region.access),
                at: region.at.map(|at| at.raw()),
                hints: hints(&region.hints),
            })
            .collect(),
        growth: job.growth.saturating_add(spare(job)).raw(),
        device_mask: job.device_mask.raw(),
        iova_choice: match job.iova {
            IovaChoice::Holder => wit::IovaChoice::Holder,
            IovaChoice::Engine => wit::IovaChoice::Engine,
        },
        hints: hints(&job.hints),
    }
}

/// What leases want beyond the size of their regions: bus addresses to be used later. Where regions have addresses of
/// their own, what lies between them is no more than that.
fn spare(job: &Job) -> Bytes {
    let spare = job.leases.iter().map(|lease| {
        let regions = lease.regions.iter().map(|index| &job.regions[*index]);
        if regions.clone().any(|region| region.at.is_some()) {
            return Bytes::ZERO;
        }
        let used = regions.map(|region| region.size).fold(Bytes::ZERO, Bytes::saturating_add);
        lease.size.checked_sub(used).unwrap_or_default()
    });
    spare.fold(Bytes::ZERO, Bytes::saturating_add)
}

/// Which windows are worth listing for a demand: from the smallest region to far beyond all of it.
#[must_use]
pub fn query(demand: &wit::Demand, layouts: &Layouts<'_>) -> CandidateQuery {
    let sizes = demand.regions.iter().map(|region| Bytes::new(region.size));
    let total = sizes.clone().fold(Bytes::new(demand.growth), Bytes::saturating_add);
    let highest = demand.regions.iter().filter_map(|region| {
        let end = Iova::new(region.at?).checked_add(Bytes::new(region.size))?;
        let starts = Slot::ALL.map(|slot| layouts.facts.slot_start(slot));
        starts.into_iter().filter_map(|start| end.offset_from(start)).min()
    });
    let reserved = layouts.facts.reserved.iter().map(|range| range.size);
    let beside_reserved = reserved.fold(total, Bytes::saturating_add);
    let reach = highest.fold(beside_reserved, Bytes::max);
    CandidateQuery {
        size_min: sizes.min().unwrap_or_default(),
        size_max: Bytes::new(reach.raw().saturating_mul(4)),
        device_mask: Iova::new(demand.device_mask),
    }
}

/// The candidates, as they are listed. One that would give up the default window for the same again is left out: it
/// wins nothing, and the engine tells candidates apart by slot, page, size and levels alone.
#[must_use]
pub fn candidates(found: &[Candidate]) -> Vec<wit::Candidate> {
    let default = found.iter().find(|it| it.origin == Origin::DefaultWindow);
    let is_again = |it: &Candidate| {
        it.origin == Origin::Created && default.is_some_and(|default| is_alike(it, default))
    };
    let list = found.iter().filter(|it| !is_again(it));
    list.map(|it| wit::Candidate {
        slot: it.slot.number(),
        start: it.start.raw(),
        page: it.page.raw(),
        size: it.size.raw(),
        levels: it.table.levels,
        origin: match it.origin {
            Origin::Created => wit::Origin::Created,
            Origin::DefaultWindow => wit::Origin::DefaultWindow,
        },
        table: it.table.table.raw(),
        charge: it.table.charge.raw(),
    })
    .collect()
}

fn is_alike(one: &Candidate, other: &Candidate) -> bool {
    let numbers = |it: &Candidate| (it.slot, it.page, it.size, it.table.levels);
    numbers(one) == numbers(other)
}

/// What a lease of the job asks for, in a window with this page.
#[must_use]
pub fn lease_request(
    job: &Job,
    lease: &LeasePlan,
    size: Bytes,
    page: PageShift,
) -> wit::LeaseRequest {
    let regions = lease.regions.iter().map(|index| job.regions[*index].size);
    wit::LeaseRequest {
        holder: lease.holder.name().to_owned(),
        size: size.raw(),
        access: access(lease.access),
        tces: lease.tces.unwrap_or(size.pages_up(page).raw()),
        memory: regions.fold(Bytes::ZERO, Bytes::saturating_add).raw(),
        duration: lease.duration,
        hints: hints(&lease.hints),
    }
}

/// Hints, as policies know them.
#[must_use]
pub fn hints(hints: &Hints) -> Vec<wit::Hint> {
    let list = hints.iter();
    list.map(|(key, value)| wit::Hint { key: key.to_owned(), value: value.to_owned() }).collect()
}

/// What the operator set.
#[must_use]
pub fn settings(settings: &BTreeMap<String, String>) -> Vec<wit::Setting> {
    let all = settings.iter();
    all.map(|(key, value)| wit::Setting { key: key.clone(), value: value.clone() }).collect()
}

/// Access, as policies know it.
#[must_use]
pub const fn access(access: Access) -> wit::Access {
    match access {
        Access::Read => wit::Access::Read,
        Access::Write => wit::Access::Write,
        Access::ReadWrite => wit::Access::ReadWrite,
    }
}

/// Access, as the engine knows it.
#[must_use]
pub const fn engine_access(access: wit::Access) -> Access {
    match access {
        wit::Access::Read => Access::Read,
        wit::Access::Write => Access::Write,
        wit::Access::ReadWrite => Access::ReadWrite,
    }
}

#[cfg(test)]
mod tests;
