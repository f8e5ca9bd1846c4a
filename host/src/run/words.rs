//! Answers of policies in words, for people.

use tce_engine::addr::{Bytes, PageShift};

use crate::{
    job::{Job, Step},
    policy::wit,
    question::engine_access,
};

/// A step, by what it does under which lease.
pub(super) fn step(job: &Job, step: &Step) -> String {
    let (what, lease) = match *step {
        Step::MapAll { lease } => ("map-all", lease),
        Step::UnmapAll { lease } => ("unmap-all", lease),
        Step::Batch { lease, .. } => ("batch", lease),
        Step::Ring { lease, .. } => ("ring", lease),
        Step::Revoke { lease } => ("revoke", lease),
    };
    format!("{what}, lease {}", job.leases[lease].name)
}

pub(super) fn pages(job: &Job, answer: &[wit::PageChoice]) -> String {
    let choices =
        answer.iter().map(|it| format!("{} for {}", page(it.page), names(job, &it.regions)));
    choices.collect::<Vec<_>>().join("; ")
}

pub(super) fn windows(job: &Job, answer: &[wit::WindowChoice]) -> String {
    let windows = answer.iter().map(|it| {
        format!(
            "slot {}: {} in {} pages, {} level{} for {}",
            it.slot,
            Bytes::new(it.size),
            page(it.page),
            it.levels,
            if it.levels == 1 { "" } else { "s" },
            names(job, &it.regions)
        )
    });
    windows.collect::<Vec<_>>().join("; ")
}

pub(super) fn terms(answer: &wit::Terms) -> String {
    let access = engine_access(answer.access);
    let until = answer.expires.map(|at| format!(", until {at}")).unwrap_or_default();
    format!("{access}, at most {} TCEs{until}", answer.tces_max)
}

fn page(shift: u8) -> String {
    PageShift::new(shift).map_or_else(|| format!("shift {shift}"), |page| page.to_string())
}

/// The regions' names, a few of many.
fn names(job: &Job, ids: &[u32]) -> String {
    const SHOWN_MAX: usize = 4;
    let name = |id: &u32| {
        let region = usize::try_from(*id).ok().and_then(|index| job.regions.get(index));
        region.map_or_else(|| format!("region {id}"), |region| region.name.clone())
    };
    let shown: Vec<String> = ids.iter().take(SHOWN_MAX).map(name).collect();
    match ids.len().checked_sub(SHOWN_MAX) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}
