//! The scene of an unmap that is put off.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Error,
    addr::Bytes,
    edit::Edit,
    lease::Timestamp,
    lingering::{Deferral, Unmapping},
    machine::Machine,
    region::RegionRefusal,
    window::Claim,
};

use crate::{
    rig::NOW,
    stage::{Stage, TceCalls},
};

const DELAY_MAX: u64 = 1000;
/// Twice as many as the scene unmaps, with the smallest TCE page in the largest system page.
const TCES_MAX: u64 = 64;

/// What is unmapped later is reached until it is flushed, and its memory stays registered until then; the flush is one
/// call for several unmaps.
///
/// # Errors
/// What did not come out so.
pub fn what_is_unmapped_later_is_reached_until_it_is_flushed<M: Machine>(
    stage: &mut Stage<'_, M>,
) -> Result<()> {
    let window = stage.default_window()?;
    let (given_up, kept) = (stage.memory(2)?, stage.memory(2)?);
    let (size, unit, two) = (stage.units(4), stage.units(1), stage.units(2));
    let deferral = Deferral::new(TCES_MAX, DELAY_MAX).context("good bounds")?;
    let (lease, Claim { start, .. }) = stage.lease(window, size, Unmapping::Deferred(deferral))?;
    let at = |offset| start.checked_add(offset).context("inside the lease");
    let (second, third) = (at(unit)?, at(two)?);
    let edits = [given_up.map_all(start), kept.map_all(third)];
    stage.apply(lease, &edits, TceCalls { map: 2, unmap: 0 })?;
    stage.load_stamp(start, given_up.at(Bytes::ZERO))?;

    for start in [second, start] {
        let edit = Edit::Unmap(Claim { start, size: unit });
        stage.apply(lease, &[edit], TceCalls::default()).context("an unmap that is put off")?;
    }
    stage.leads(start, given_up.at(Bytes::ZERO)).context("before the flush")?;
    stage.leads(second, given_up.at(unit)).context("before the flush")?;
    let calls = stage.engine.calls().total();
    let refused = stage.engine.unregister(given_up.region);
    let is_mapped = matches!(refused, Err(Error::Region(RegionRefusal::Mapped { .. })));
    ensure!(is_mapped, "before the flush unregister said {refused:?}");
    stage.engine.flush_due(NOW)?;
    ensure!(stage.engine.calls().total() == calls, "something was done before it was due");

    let Timestamp(now) = NOW;
    let due = Timestamp(now + DELAY_MAX);
    ensure!(stage.engine.next_due() == Some(due), "it is due {:?}", stage.engine.next_due());
    let before = stage.calls();
    stage.engine.flush_due(due)?;
    let made = stage.calls_since(before);
    ensure!(made == TceCalls { map: 0, unmap: 1 }, "the flush took {made:?}");
    stage.leads_nowhere(start, given_up.at(Bytes::ZERO)).context("after the flush")?;
    stage.leads_nowhere(second, given_up.at(unit)).context("after the flush")?;
    stage.leads(third, kept.at(Bytes::ZERO)).context("what was not unmapped")?;

    let locked = stage.locked()?;
    stage.engine.unregister(given_up.region)?;
    let released = locked.checked_sub(stage.locked()?);
    ensure!(released == Some(given_up.range.size), "unregistering released {released:?}");
    Ok(())
}
