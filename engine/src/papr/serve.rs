//! Hypercalls on an engine.

use super::{Answer, Buses, Failure, GuestMemory, GuestTce, Hypercall, Request, Wanted};
use crate::{
    Engine,
    edit::Edit,
    error::Error,
    kernel::Kernel,
    lease::{LeaseId, LeaseRefusal, Timestamp},
    region::RegionRefusal,
    table::Target,
    window::{Claim, WindowId},
};

impl Buses {
    /// Does what a guest asks for, all of it or nothing, with one plan.
    ///
    /// # Errors
    /// [`Failure`], whose [`Failure::code`] is the guest's.
    pub fn serve<K: Kernel>(
        &self,
        engine: &mut Engine<K>,
        memory: &impl GuestMemory,
        call: &Hypercall,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let Request { lease, window, wanted } = self.translate(call, memory)?;
        check_part(engine, lease, window)?;
        match wanted {
            Wanted::Edits(edits) => Ok(Answer::Applied(engine.apply(lease, &edits, now)?)),
            Wanted::Reading(page) => {
                // What could not be edited now is not known either: the lease ended, or the range is quarantined.
                engine.plan(lease, &[Edit::Unmap(page)], now)?;
                Ok(match target_at(engine, window, page)? {
                    Some(target) => tce_of(engine, memory, target)?,
                    None => Answer::Tce(GuestTce::default()),
                })
            }
        }
    }
}

/// The lease may have given up its range of the bus's window since the bus was added.
fn check_part<K: Kernel>(
    engine: &Engine<K>,
    lease: LeaseId,
    window: WindowId,
) -> Result<(), Error> {
    let part = engine.leases().active(lease)?.part(window);
    Ok(part.map(drop).ok_or(LeaseRefusal::NoWindow(window))?)
}

/// What the first TCE of a guest's page points to. The others of it follow: they were set together.
fn target_at<K: Kernel>(
    engine: &Engine<K>,
    window: WindowId,
    page: Claim,
) -> Result<Option<Target>, Error> {
    let mut windows = engine.windows();
    let state = windows.find(|state| state.window().id == window);
    let state = state.ok_or(LeaseRefusal::NoWindow(window))?;
    let run = state.window().admit(page, &[]).map_err(LeaseRefusal::from)?;
    let mapped = state.table().within(run.first(), run.first() + 1).next();
    Ok(mapped.map(|mapped| mapped.target))
}

/// The TCE for a target, as the guest would have written it.
fn tce_of<K: Kernel>(
    engine: &Engine<K>,
    memory: &impl GuestMemory,
    target: Target,
) -> Result<Answer, Error> {
    let regions = engine.regions().ok_or(Error::NoBackend)?;
    let start = regions.get(target.region)?.range.address;
    let offset = target.address.offset_from(start).ok_or(RegionRefusal::Gone(target.region))?;
    Ok(match memory.guest_address(target.region, offset) {
        Some(address) => Answer::Tce(GuestTce::of_page(address, target.access)),
        None => Answer::ForeignTce(GuestTce::of_foreign_page(target.access)),
    })
}
