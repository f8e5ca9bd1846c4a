//! The scene of windows that come and go by choice.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Error,
    addr::{Bytes, PageShift},
    facts::Slot,
    fault::Operation,
    kernel::Platform,
    layout::{LayoutRefusal, WindowChoice},
    lingering::Unmapping,
    machine::Machine,
    window::{Claim, Origin, WindowId},
};

use crate::stage::{Memory, Stage, TceCalls};

/// The default window is removed and charged no more; a window in its place is made, the second one beside it is removed and made again, and so is the first one where the platform can; devices find what is mapped in
/// those that stay, and what went is charged no more.
///
/// # Errors
/// What did not come out so.
pub fn windows_come_and_go_by_choice<M: Machine>(stage: &mut Stage<'_, M>) -> Result<()> {
    let memory = stage.memory(4)?;
    stage.engine.remove_default_window()?;
    let charged = stage.charged()?;
    ensure!(charged == memory.range.size, "without any window {charged} are charged");
    let made = created(stage);
    let refused = stage.second_window().map_err(|error| error.downcast::<Error>().ok());
    let expected = Err(Some(Error::Layout(LayoutRefusal::FirstSlotEmpty)));
    ensure!(refused == expected && created(stage) == made, "beside no window: {refused:?}");

    let first = stage.window(Slot::Zero, PageShift::K4, Origin::Created)?;
    let with_first = stage.locked()?;
    let low = occupy(stage, first, memory)?;
    stage.load_stamp(low.start, memory.at(Bytes::ZERO))?;
    stage.leads(low.start, memory.at(Bytes::ZERO)).context("in the first window")?;

    let mut last = None;
    for round in ["made", "made again"] {
        let second = stage.second_window()?;
        ensure!(last.is_none_or(|last| second.generation > last), "a generation was used twice");
        last = Some(second.generation);
        let high = occupy(stage, second, memory)?;
        stage.leads(high.start, memory.at(Bytes::ZERO)).context(round)?;
        vacate(stage, second)?;
        stage.leads_nowhere(high.start, memory.at(Bytes::ZERO)).context("it is gone")?;
        stage.leads(low.start, memory.at(Bytes::ZERO)).context("in the window that stays")?;
        ensure!(stage.locked()? == with_first, "the window that went is charged still");
    }

    let second = stage.second_window()?;
    let high = occupy(stage, second, memory)?;
    vacate(stage, first)?;
    stage.leads(high.start, memory.at(Bytes::ZERO)).context("when the first one has gone")?;
    the_first_one_comes_back_or_not(stage, memory)?;
    stage.leads(high.start, memory.at(Bytes::ZERO)).context("at the end")?;
    Ok(())
}

/// On powernv a window in slot 0 can be made beside one in slot 1. A partition makes none beside its dynamic one, and
/// the engine does not try.
fn the_first_one_comes_back_or_not<M: Machine>(
    stage: &mut Stage<'_, M>,
    memory: Memory,
) -> Result<()> {
    if stage.engine.system().platform == Platform::Powernv {
        let first = stage.window(Slot::Zero, PageShift::K4, Origin::Created)?;
        let low = occupy(stage, first, memory)?;
        return stage.leads(low.start, memory.at(Bytes::ZERO)).context("in the first one anew");
    }
    let (made, locked) = (created(stage), stage.locked()?);
    let facts = stage.engine.facts().context("a group is attached")?;
    let choice = WindowChoice {
        slot: Slot::Zero,
        page: PageShift::K4,
        size: facts.default_window,
        fallback: None,
        levels: 1,
        needs: Vec::new(),
    };
    let refused = stage.engine.grant_layout(&[choice]).map(|_| ());
    let expected = Err(Error::Layout(LayoutRefusal::BesideDynamic));
    ensure!(refused == expected, "a window beside a dynamic one: {refused:?}");
    ensure!(created(stage) == made && stage.locked()? == locked, "it was asked for all the same");
    Ok(())
}

/// The calls that were made for windows so far.
fn created<M: Machine>(stage: &Stage<'_, M>) -> u64 {
    stage.engine.calls().of(Operation::Create)
}

/// Leases the start of a window and maps the memory there.
fn occupy<M: Machine>(stage: &mut Stage<'_, M>, window: WindowId, memory: Memory) -> Result<Claim> {
    let (lease, claim) = stage.lease(window, memory.range.size, Unmapping::Strict)?;
    stage.apply(lease, &[memory.map_all(claim.start)], TceCalls { map: 1, unmap: 0 })?;
    Ok(claim)
}

/// Removes a window with its lease. The devices go on.
fn vacate<M: Machine>(stage: &mut Stage<'_, M>, window: WindowId) -> Result<()> {
    let leased = stage.engine.leases().live().filter(|(_, lease)| lease.part(window).is_some());
    let leases: Vec<_> = leased.map(|(id, _)| id).collect();
    let refused = stage.engine.remove_window(window);
    let is_refused = matches!(refused, Err(Error::Layout(LayoutRefusal::Leased { .. })));
    ensure!(is_refused, "a leased window was to be removed: {refused:?}");
    for lease in leases {
        stage.engine.revoke(lease)?;
    }
    stage.engine.remove_window(window)?;
    Ok(stage.engine.resume_devices()?)
}
