//! What a partition's window comes as if the firmware turns out to have less: the operator's word, not a policy's.

use tce_engine::{
    addr::{Bytes, PageShift},
    layout::{LayoutRefusal, Layouts, Need, WindowChoice},
};

use crate::{
    exit::{Exit, Failure},
    job::{Job, LeasePlan, windows::Fallback},
};

use super::plan;

/// Gives the dynamic window of a layout the fallback that the job wants. The other windows are not the firmware's to
/// refuse.
///
/// # Errors
/// For a size that no window can have, or that does not hold what the window has to.
pub(super) fn add(
    job: &Job,
    layouts: &Layouts<'_>,
    choices: &mut [WindowChoice],
    regions: &[Vec<usize>],
) -> Result<(), Failure> {
    for (choice, regions) in choices.iter_mut().zip(regions) {
        if layouts.facts.is_dynamic(choice.slot, choice.page, choice.size) {
            choice.fallback = of_window(job, layouts, choice, regions)?;
        }
    }
    Ok(())
}

fn of_window(
    job: &Job,
    layouts: &Layouts<'_>,
    choice: &WindowChoice,
    regions: &[usize],
) -> Result<Option<Bytes>, Failure> {
    let leases = || job.leases.iter().filter(|lease| is_in(lease, regions));
    match job.fallback {
        Fallback::None => Ok(None),
        // What is no smaller is no fallback, and not needed.
        Fallback::Size(size) if size >= choice.size => Ok(None),
        Fallback::Size(size) => {
            let held = holds(layouts, &WindowChoice { size, ..choice.clone() }, leases());
            held.map(|()| Some(size)).map_err(|why| refused(choice, size, &why))
        }
        Fallback::Smallest => {
            let smaller = std::iter::successors(half(choice.size), |size| half(*size));
            let smaller = smaller.take_while(|size| *size >= choice.page.bytes());
            let good = smaller.take_while(|size| {
                holds(layouts, &WindowChoice { size: *size, ..choice.clone() }, leases()).is_ok()
            });
            Ok(good.last())
        }
    }
}

fn half(size: Bytes) -> Option<Bytes> {
    size.raw().checked_div(2).map(Bytes::new).filter(|half| !half.is_zero())
}

/// All regions of a lease are in one window.
fn is_in(lease: &LeasePlan, regions: &[usize]) -> bool {
    lease.regions.first().is_some_and(|first| regions.contains(first))
}

/// Whether a window holds its regions; and its leases, each in one piece.
fn holds<'a>(
    layouts: &Layouts<'_>,
    choice: &WindowChoice,
    leases: impl Iterator<Item = &'a LeasePlan>,
) -> Result<(), LayoutRefusal> {
    let needs = leases.map(|lease| need(lease, choice.page)).collect();
    for needs in [choice.needs.clone(), needs] {
        layouts.check(&[WindowChoice { needs, ..choice.clone() }])?;
    }
    Ok(())
}

fn need(lease: &LeasePlan, backing: PageShift) -> Need {
    // A size beyond 64 bits fits no window.
    let size = plan::lease_size(lease, backing).unwrap_or(Bytes::new(u64::MAX));
    Need { size, backing, at: lease.at }
}

fn refused(choice: &WindowChoice, size: Bytes, why: &LayoutRefusal) -> Failure {
    let what = format!(
        "windows: the fallback of {size} for the window of {} in slot {} cannot be: {why}",
        choice.size,
        choice.slot.number()
    );
    Failure::new(Exit::Job, what)
        .with("choose a larger `fallback`, or \"smallest\", which holds all regions and leases")
}
