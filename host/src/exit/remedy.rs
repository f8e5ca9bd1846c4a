//! What a user can do about what the engine refused or the kernel failed.

use tce_engine::{
    Error,
    error::{EditRefusal, GroupRefusal},
    fault::Fault,
    layout::LayoutRefusal,
    lease::LeaseRefusal,
    region::RegionRefusal,
    window::ClaimRefusal,
};

use super::raise_limit;

const WHOLE_PAGES: &str = "places and sizes are whole pages of the window";

pub(super) fn of(error: &Error) -> Option<String> {
    let remedy = match error {
        Error::Region(RegionRefusal::LockedMemory { needed, charged, .. })
        | Error::Layout(LayoutRefusal::LockedMemory { needed, charged, .. }) => {
            return Some(raise_limit(needed.saturating_add(*charged)));
        }
        Error::Fault(fault) => fault.remedy().or_else(|| unexplained(fault)),
        Error::Batch(failure) => failure.fault.remedy().or_else(|| unexplained(&failure.fault)),
        Error::Registration(failure) => {
            failure.fault.remedy().or_else(|| unexplained(&failure.fault))
        }
        Error::Parting(failure) => failure.fault.remedy().or_else(|| unexplained(&failure.fault)),
        Error::Group(refusal) => group(refusal),
        Error::Lease(refusal) | Error::Edit(EditRefusal::Lease { refusal, .. }) => lease(refusal),
        Error::Edit(EditRefusal::Claim { refusal, .. }) => claim(refusal),
        Error::Region(refusal) | Error::Edit(EditRefusal::Region { refusal, .. }) => {
            region(refusal)
        }
        Error::Layout(LayoutRefusal::FirmwareHasLess { .. }) => Some(
            "in the job, give [windows] a `fallback`, or tell the most TCEs in [platform] as `dynamic-tces`",
        ),
        Error::Device(_)
        | Error::Freeze(_)
        | Error::Edit(_)
        | Error::Layout(_)
        | Error::Growth(_)
        | Error::Loan(_)
        | Error::Addresses(_)
        | Error::NoBackend => None,
    };
    remedy.map(str::to_owned)
}

/// What the kernel did not expect to happen, its log may explain.
const fn unexplained(_: &Fault) -> Option<&'static str> {
    Some("the kernel's log may say why: `dmesg`; all that the run had made was taken down")
}

const fn group(refusal: &GroupRefusal) -> Option<&'static str> {
    match refusal {
        GroupRefusal::NotViable(_) => Some("`tce doctor` shows the commands that do so"),
        GroupRefusal::NoSuchBackend | GroupRefusal::NoDynamicWindows(_) => {
            Some("`tce doctor` shows what is missing")
        }
        GroupRefusal::OneGroupOnly(_) => Some("make a job for each group"),
        _ => None,
    }
}

const fn lease(refusal: &LeaseRefusal) -> Option<&'static str> {
    match refusal {
        LeaseRefusal::Outside { .. } => Some(
            "places are offsets from the lease's start: stay inside, or give it a larger `size`",
        ),
        LeaseRefusal::Access { .. } => {
            Some("give the lease this `access`, or the edit or region less")
        }
        LeaseRefusal::Quota { .. } => {
            Some("give the lease more `tces`, unmap something first, or ask the policy for more")
        }
        LeaseRefusal::Ended { .. } => Some("do this step before the lease ends"),
        LeaseRefusal::NoRoom { .. } | LeaseRefusal::Claim(_) => Some(
            "choose another `at` or a smaller `size`: other leases and reserved ranges take their part",
        ),
        _ => None,
    }
}

const fn claim(refusal: &ClaimRefusal) -> Option<&'static str> {
    match refusal {
        ClaimRefusal::Misaligned { .. } => Some(WHOLE_PAGES),
        ClaimRefusal::Empty(_) => Some("give it a `size`"),
        _ => Some(
            "places are offsets from the lease's start: stay inside, or give it a larger `size`",
        ),
    }
}

const fn region(refusal: &RegionRefusal) -> Option<&'static str> {
    match refusal {
        RegionRefusal::Outside { .. } => Some("`offset` and `size` stay inside the region"),
        RegionRefusal::PageTooLarge { .. } | RegionRefusal::NotWholePages { .. } => {
            Some(WHOLE_PAGES)
        }
        _ => None,
    }
}
