//! The scene of a lease that moves to a larger window while its device goes on.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Error,
    addr::{Bytes, Iova},
    edit::Edit,
    error::EditRefusal,
    growth::{Addresses, GrowthRequest},
    lingering::Unmapping,
    machine::Machine,
    window::Claim,
};

use crate::{
    rig::NOW,
    stage::{Stage, TceCalls},
};

/// A device goes on at the old addresses while a second window is made and filled, finds every edit at both, goes on at
/// the new addresses while the old ones are given up and the old window goes, and finds nothing at the old ones then.
///
/// # Errors
/// What did not come out so.
pub fn a_lease_grows_under_a_running_device<M: Machine>(stage: &mut Stage<'_, M>) -> Result<()> {
    let default = stage.default_window()?;
    let (size, unit, three) = (stage.units(4), stage.units(1), stage.units(3));
    let (memory, other) = (stage.memory(4)?, stage.memory(1)?);
    let (lease, Claim { start: old, .. }) = stage.lease(default, size, Unmapping::Strict)?;
    stage.apply(lease, &[memory.map_all(old)], TceCalls { map: 1, unmap: 0 })?;
    let (first, second) = (memory.at(Bytes::ZERO), memory.at(unit));
    stage.load_stamp(old, first)?;

    stage.start_writing(old, first)?;
    let window = stage.second_window()?;
    let request = GrowthRequest {
        window,
        at: None,
        size: stage.units(8),
        device_mask: Iova::new(u64::MAX),
        addresses: Addresses::Movable,
    };
    let growth = stage.engine.begin_growth(lease, &request, NOW)?;
    stage.has_landed(first).context("while the new window was made and filled")?;

    let new = growth.moved(old).context("the old start has a new place")?;
    let at = |start: Iova, offset| start.checked_add(offset).context("inside the lease");
    stage.leads(new, first).context("at the new address")?;
    stage.leads(at(new, three)?, memory.at(three)).context("at the new address")?;
    stage.start_writing(old, first)?;
    let edit = other.map_all(at(old, unit)?);
    stage.apply(lease, &[edit], TceCalls { map: 2, unmap: 0 })?;
    stage.has_landed(first).context("while an edit was made in both windows")?;
    for start in [old, new] {
        stage.leads(at(start, unit)?, other.at(Bytes::ZERO)).context("an edit in both windows")?;
    }
    let calls = stage.calls();
    let refused = stage.engine.apply(lease, &[memory.map(new, unit, unit)], NOW);
    let is_image = matches!(refused, Err(Error::Edit(EditRefusal::InImage { .. })));
    ensure!(is_image && stage.calls() == calls, "an edit of the new range: {refused:?}");

    stage.start_writing(new, first)?;
    stage.engine.finish_growth(lease)?;
    stage.has_landed(first).context("while the old range was given up")?;
    stage.leads_nowhere(old, first).context("at the old address")?;
    let calls = stage.calls();
    let refused = stage.engine.apply(lease, &[memory.map(old, Bytes::ZERO, unit)], NOW);
    let is_refused = matches!(refused, Err(Error::Edit(_)));
    ensure!(is_refused && stage.calls() == calls, "an edit at the old address: {refused:?}");

    stage.start_writing(new, first)?;
    stage.engine.remove_window(default)?;
    stage.has_landed(first).context("while the old window went")?;
    let claim = Claim { start: at(new, size)?, size: unit };
    let edits =
        [memory.map(claim.start, unit, unit), Edit::Unmap(Claim { start: new, size: unit })];
    stage.apply(lease, &edits, TceCalls { map: 1, unmap: 1 })?;
    stage.leads(claim.start, second).context("where there was no room before")?;
    stage.leads_nowhere(new, first)?;
    Ok(())
}
