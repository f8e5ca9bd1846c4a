//! Answers of policies in words, for people.

use tce_engine::addr::{Bytes, PageShift};

use crate::{
    job::{GroupPlan, Job, Step},
    policy::wit,
    question::engine_access,
};

/// A step, by what it does under which lease.
pub(super) fn step(job: &Job, step: &Step) -> String {
    let what = match step {
        Step::MapAll { .. } => "map-all",
        Step::UnmapAll { .. } => "unmap-all",
        Step::Batch { .. } => "batch",
        Step::Ring { .. } => "ring",
        Step::Revoke { .. } => "revoke",
        Step::Lease { .. } => "lease",
        Step::Renew { .. } => "renew",
        Step::Grow { .. } => "grow",
        Step::Leave(_) => "leave",
    };
    match (step, step.lease()) {
        (Step::Leave(GroupPlan::Number(group)), _) => format!("{what}, group {group}"),
        (Step::Leave(GroupPlan::Of(device)), _) => format!("{what}, group of {device}"),
        (_, Some(lease)) => format!("{what}, lease {}", job.leases[lease].name),
        (_, None) => what.to_owned(),
    }
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
    let pinned = answer.pinned_max.map(|max| format!(", {} of memory", Bytes::new(max)));
    let pace = answer.edits_per_second.map(|max| format!(", {max} edits per second"));
    let quotas = [pinned, pace].into_iter().flatten().collect::<String>();
    format!("{access}, at most {} TCEs{quotas}{until}", answer.tces_max)
}

pub(super) fn candidate(answer: &wit::Candidate) -> String {
    let wit::Candidate { slot, size, levels, .. } = *answer;
    let (size, page) = (Bytes::new(size), page(answer.page));
    let plural = if levels == 1 { "" } else { "s" };
    format!("slot {slot}: {size} in {page} pages, {levels} level{plural}")
}

/// Leases that shall end, by their names.
pub(super) fn ending(names: &[String]) -> String {
    if names.is_empty() {
        "none shall end".to_owned()
    } else {
        format!("{} shall end", names.join(", "))
    }
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
