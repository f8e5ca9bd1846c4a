//! What is decided before anything is made: pages, windows, leases.

use tce_engine::{
    addr::{Bytes, Iova, PageShift},
    layout::{Candidate, Layouts, WindowChoice},
};

use crate::{
    exit::{Exit, Failure, raise_limit},
    grant::{self, PageGroup, Terms},
    job::{Job, LeasePlan},
    policy::wit,
};

/// A lease that a policy admitted and that is yet to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedLease {
    /// Its window's place in the layout.
    pub(super) window: usize,
    pub(super) size: Bytes,
    pub(super) terms: Terms,
}

/// Refuses a demand that no layout can satisfy, whatever a policy says.
pub(super) fn check_holdable(
    job: &Job,
    layouts: &Layouts<'_>,
    candidates: &[Candidate],
    groups: &[PageGroup],
    demand: &wit::Demand,
) -> Result<(), Failure> {
    for group in groups {
        let needs = group.regions.iter().map(|index| grant::need(&demand.regions[*index]));
        let needs: Vec<_> = needs.collect::<Result<_, _>>()?;
        let holds = |candidate: &Candidate| {
            let Candidate { slot, page, size, table, .. } = *candidate;
            let levels = table.levels;
            let needs = needs.clone();
            let choice = WindowChoice { slot, page, size, fallback: None, levels, needs };
            layouts.check(&[choice]).is_ok()
        };
        if !candidates.iter().any(holds) {
            return Err(unreachable(job, layouts, group)
                .unwrap_or_else(|| unholdable(layouts, candidates, group, demand)));
        }
    }
    Ok(())
}

/// The first region whose own address is where no window can be.
fn unreachable(job: &Job, layouts: &Layouts<'_>, group: &PageGroup) -> Option<Failure> {
    let regions = group.regions.iter().map(|index| &job.regions[*index]);
    let fixed = regions.filter_map(|region| Some((region, region.at?)));
    let (region, at, why) = fixed.into_iter().find_map(|(region, at)| {
        let Some(end) = at.checked_add(region.size) else {
            return Some((region, at, "it ends beyond 64 bits".to_owned()));
        };
        let mut reserved = layouts.facts.reserved.iter();
        let taken = reserved
            .find(|it| at < it.start.checked_add(it.size).unwrap_or(it.start) && it.start < end);
        if let Some(taken) = taken {
            let why = format!("{} from {} are reserved ({})", taken.size, taken.start, taken.what);
            return Some((region, at, why));
        }
        let last = end.offset_from(Iova::new(1)).map(|last| Iova::new(last.raw()));
        let beyond = last.is_some_and(|last| last > job.device_mask);
        beyond.then(|| (region, at, "the devices do not drive so many address bits".to_owned()))
    })?;
    let what =
        format!("region {}: no window can hold its {} at {at}: {why}", region.name, region.size);
    Some(Failure::new(Exit::Job, what).with("choose another `at`, or leave it to the engine"))
}

fn unholdable(
    layouts: &Layouts<'_>,
    candidates: &[Candidate],
    group: &PageGroup,
    demand: &wit::Demand,
) -> Failure {
    let sizes = group.regions.iter().map(|index| Bytes::new(demand.regions[*index].size));
    let needed = sizes.fold(Bytes::ZERO, Bytes::saturating_add);
    let largest = candidates.iter().map(|candidate| candidate.size).max();
    let largest = largest.map_or_else(
        || "there is no window that the devices can reach".to_owned(),
        |size| {
            format!("the largest that the devices can reach has {size}, reserved ranges included")
        },
    );
    let bound = layouts.facts.dynamic_tces_max.map_or_else(String::new, |tces_max| {
        format!("; a dynamic window of this partition has {tces_max} TCEs at most")
    });
    Failure::new(
        Exit::Job,
        format!(
            "no window can hold the demand of {needed} in pages of {} or less: {largest}{bound}",
            group.page
        ),
    )
    .with(
        "ask for less memory, use larger pages, widen device-mask-bits if the device can do more, \
         or raise dynamic-tces if the partition has more",
    )
}

/// Refuses a demand whose memory and smallest tables do not fit the locked-memory limit.
pub(super) fn check_limit(
    facts: &wit::ContainerFacts,
    candidates: &[Candidate],
) -> Result<(), Failure> {
    let Some(limit) = facts.locked_memory.limit.map(Bytes::new) else { return Ok(()) };
    let tables = candidates.iter().map(|candidate| candidate.table.charge).min();
    // The demand's memory is counted in already.
    let charged = Bytes::new(facts.locked_memory.charged);
    let needed = charged.saturating_add(tables.unwrap_or_default());
    if needed <= limit {
        return Ok(());
    }
    let what = format!(
        "the locked-memory limit of {limit} is too low: memory and tables of this job need {needed} at least"
    );
    Err(Failure::new(Exit::LockedMemory, what).with(raise_limit(needed)))
}

/// The window that all regions of a lease are in.
pub(super) fn window_of(lease: &LeasePlan, regions: &[Vec<usize>]) -> Result<usize, Failure> {
    let place = |index: &usize| regions.iter().position(|inside| inside.contains(index));
    let mut places = lease.regions.iter().filter_map(place);
    let first = places.next().unwrap_or_default();
    if places.any(|place| place != first) {
        let what = format!("lease {}: its regions are in two windows", lease.name);
        return Err(Failure::new(Exit::Job, what).with("make a lease for each window's regions"));
    }
    Ok(first)
}

/// How much of a window with this page a lease takes.
pub(super) fn lease_size(lease: &LeasePlan, page: PageShift) -> Result<Bytes, Failure> {
    lease.size.round_up(page).ok_or_else(|| {
        Failure::new(Exit::Job, format!("lease {}: its size does not fit 64 bits", lease.name))
    })
}

/// What of a window neither reserved ranges nor the leases planned so far take, in whole pages.
pub(super) fn unleased(
    layouts: &Layouts<'_>,
    window: &Candidate,
    planned: impl Iterator<Item = Bytes>,
) -> Bytes {
    let usable = layouts.facts.usable_within(window.start, window.size, window.page);
    usable.checked_sub(planned.fold(Bytes::ZERO, Bytes::saturating_add)).unwrap_or_default()
}
