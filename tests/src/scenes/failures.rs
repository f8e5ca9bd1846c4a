//! Scenes of batches that the kernel fails half-way. Every request is checked before it is made, so a kernel fails none
//! that is right: what the engine asks for is spoiled on its way.

use anyhow::{Context, Result, bail, ensure};
use tce_engine::{
    Error,
    addr::{Bytes, Iova, PageShift},
    edit::Edit,
    errno::Errno,
    error::{EditRefusal, Undone},
    facts::Slot,
    fault::Fault,
    kernel::Raw,
    lease::LeaseId,
    lingering::Unmapping,
    machine::{Backing, Machine},
    region::RegionRefusal,
    window::{Claim, Origin},
};

use super::has_huge_pages;
use crate::{
    rig::NOW,
    spoiled::Spoil,
    stage::{Memory, Stage, TceCalls},
};

/// What the kernel says to memory that is not registered, all of it or from somewhere on.
const NOT_REGISTERED: Raw = Raw::Failed(Errno::EINVAL);
/// What it says to a bus address inside a page.
const PLUS_ONE: Raw = Raw::Returned(1);

/// A batch over two windows whose calls fail one after the other: at their first TCE, in their middle, where the kernel's
/// rollback empties what it should restore, and with the +1 that is no errno. Each time everything is as it was, holes
/// included.
///
/// # Errors
/// What did not come out so.
pub fn a_batch_that_fails_half_way_changes_nothing<M: Machine>(
    stage: &mut Stage<'_, M>,
) -> Result<()> {
    let (low, high) = (stage.default_window()?, stage.second_window()?);
    let (size, two, three) = (stage.units(8), stage.units(2), stage.units(3));
    let (four, six) = (stage.units(4), stage.units(6));
    let (one, other) = (stage.memory(8)?, stage.memory(8)?);
    let cliff = stage.cliff(2)?;
    let unregistered = stage.allocate(four)?.address;
    let (lease, Claim { start: low, .. }) = stage.lease(low, size, Unmapping::Strict)?;
    let high = stage.engine.extend_lease(lease, high, None, size)?.start;
    let at = |start: Iova, offset| start.checked_add(offset).context("inside the lease");
    let hole = Claim { start: at(low, three)?, size: stage.units(1) };
    let setting = [one.map_all(low), Edit::Unmap(hole), other.map_all(high)];
    stage.apply(lease, &setting, TceCalls { map: 3, unmap: 0 })?;
    stage.load_stamp(low, one.at(Bytes::ZERO))?;

    let batch = [
        other.map(low, Bytes::ZERO, four),
        Edit::Unmap(Claim { start: at(low, six)?, size: two }),
        one.map(high, Bytes::ZERO, four),
    ];
    let memory = |address| (Spoil::Memory(address), NOT_REGISTERED);
    let misaligned = (Spoil::Misaligned, PLUS_ONE);
    for (call, (spoil, result)) in [
        (0, memory(unregistered)),
        (0, memory(cliff)),
        (0, misaligned),
        (1, misaligned),
        (2, memory(unregistered)),
        (2, memory(cliff)),
        (2, misaligned),
    ] {
        stage.saboteur.spoil((0..call).map(|_| None).chain([Some(spoil)]));
        let case = || format!("call {call} with {spoil:?}");
        is_restored(stage, lease, &batch, result).with_context(case)?;
        for (iova, memory) in [
            (low, one.at(Bytes::ZERO)),
            (at(low, two)?, one.at(two)),
            (at(low, six)?, one.at(six)),
            (high, other.at(Bytes::ZERO)),
        ] {
            stage.leads(iova, memory).with_context(case)?;
        }
        stage.leads_nowhere(hole.start, other.at(three)).with_context(case)?;
    }

    stage.apply(lease, &batch, TceCalls { map: 2, unmap: 1 }).context("when nothing is spoiled")?;
    stage.leads(low, other.at(Bytes::ZERO))?;
    stage.leads(high, one.at(Bytes::ZERO))?;
    stage.leads_nowhere(at(low, six)?, one.at(six))?;
    Ok(())
}

/// The batch fails with this, and says that all was put back.
fn is_restored<M: Machine>(
    stage: &mut Stage<'_, M>,
    lease: LeaseId,
    batch: &[Edit],
    expected: Raw,
) -> Result<()> {
    let (Fault { result, .. }, outcome) = failure(stage, lease, batch)?;
    ensure!(stage.saboteur.left() == 0, "the spoiled call was not made");
    ensure!(result == expected, "the kernel said {result:?}");
    ensure!(outcome == Undone::Restored, "the outcome is {outcome:?}");
    Ok(())
}

fn failure<M: Machine>(
    stage: &mut Stage<'_, M>,
    lease: LeaseId,
    batch: &[Edit],
) -> Result<(Fault, Undone)> {
    match stage.engine.apply(lease, batch, NOW) {
        Err(Error::Batch(failure)) => Ok((failure.fault, failure.outcome)),
        applied => bail!("the batch ended with {applied:?}"),
    }
}

/// The same with memory whose pages are too small, in a window of 2 MiB pages; plays only where there are huge pages.
///
/// # Errors
/// What did not come out so.
pub fn memory_in_too_small_pages_in_the_middle_changes_nothing<M: Machine>(
    stage: &mut Stage<'_, M>,
) -> Result<()> {
    let huge = PageShift::M2;
    if !has_huge_pages(stage.machine, huge) {
        return Ok(());
    }
    let facts = stage.engine.facts().context("a group is attached")?;
    if !facts.page_shifts.contains(&huge) {
        return Ok(());
    }
    let window = stage.window(Slot::One, huge, Origin::Created)?;
    let page = huge.bytes();
    let size = Bytes::new(page.raw() * 4);
    let range = stage.allocate_in(size, Backing::Hugetlb(huge), huge)?;
    let memory = Memory { range, region: stage.engine.register(range, huge)? };
    let range = stage.allocate_in(page, Backing::Anonymous, huge)?;
    let small = Memory { range, region: stage.engine.register(range, stage.page())? };
    let (lease, Claim { start, .. }) = stage.lease(window, size, Unmapping::Strict)?;
    stage.apply(lease, &[memory.map_all(start)], TceCalls { map: 1, unmap: 0 })?;
    stage.load_stamp(start, memory.at(Bytes::ZERO))?;

    let calls = stage.calls();
    let refused = stage.engine.apply(lease, &[small.map(start, Bytes::ZERO, page)], NOW);
    let is_region = matches!(refused, Err(Error::Edit(EditRefusal::Region { .. })));
    ensure!(is_region && stage.calls() == calls, "the engine itself said {refused:?}");

    let third = start.checked_add(Bytes::new(page.raw() * 2)).context("inside the lease")?;
    let batch = [memory.map(start, page, page), memory.map(third, Bytes::ZERO, page)];
    stage.saboteur.spoil([None, Some(Spoil::Memory(range.address))]);
    is_restored(stage, lease, &batch, NOT_REGISTERED)?;
    stage.leads(start, memory.at(Bytes::ZERO))?;
    stage.leads(third, memory.at(Bytes::new(page.raw() * 2)))?;
    stage.apply(lease, &batch, TceCalls { map: 2, unmap: 0 })?;
    stage.leads(start, memory.at(page))?;
    Ok(())
}

/// A map fails in its middle, and so does putting back what it replaced: the range is quarantined. Devices reach nothing
/// there, edits of it are refused without a call, those beside it go on, memory it may point to stays registered; a
/// revocation clears it, and then all is as if it had not been.
///
/// # Errors
/// What did not come out so.
pub fn what_cannot_be_put_back_is_quarantined<M: Machine>(stage: &mut Stage<'_, M>) -> Result<()> {
    let window = stage.default_window()?;
    let (size, unit, four, five) = (stage.units(8), stage.units(1), stage.units(4), stage.units(5));
    let (one, other) = (stage.memory(8)?, stage.memory(8)?);
    let cliff = stage.cliff(2)?;
    let (lease, Claim { start, .. }) = stage.lease(window, size, Unmapping::Strict)?;
    stage.apply(lease, &[one.map_all(start)], TceCalls { map: 1, unmap: 0 })?;
    stage.load_stamp(start, one.at(Bytes::ZERO))?;

    stage.saboteur.spoil([Some(Spoil::Memory(cliff)), Some(Spoil::Misaligned)]);
    let batch = [other.map(start, Bytes::ZERO, four)];
    let (fault, outcome) = failure(stage, lease, &batch)?;
    ensure!(fault.result == NOT_REGISTERED, "the kernel said {fault:?}");
    let Undone::Quarantined(ranges) = outcome else { bail!("the outcome is {outcome:?}") };
    let told: Vec<_> = ranges.iter().map(|it| (it.window, it.claim, it.fault.result)).collect();
    let closed = Claim { start, size: four };
    ensure!(told == [(window, closed, PLUS_ONE)], "quarantined is {ranges:?}");
    stage.leads_nowhere(start, one.at(Bytes::ZERO)).context("where it is quarantined")?;

    let inside = start.checked_add(unit).context("inside the lease")?;
    let beside = start.checked_add(five).context("inside the lease")?;
    stays_closed(stage, lease, inside, closed)?;
    stage.apply(lease, &[other.map(beside, five, unit)], TceCalls { map: 1, unmap: 0 })?;
    stage.leads(beside, other.at(five)).context("beside the quarantine")?;
    stage.apply(lease, &[one.map(beside, five, unit)], TceCalls { map: 1, unmap: 0 })?;
    for memory in [one, other] {
        let calls = stage.engine.calls().total();
        let kept = stage.engine.unregister(memory.region);
        let is_mapped = matches!(kept, Err(Error::Region(RegionRefusal::Mapped { .. })));
        ensure!(is_mapped && stage.engine.calls().total() == calls, "unregister said {kept:?}");
    }

    stage.engine.revoke(lease)?;
    stage.engine.resume_devices()?;
    stage.leads_nowhere(beside, one.at(five)).context("after the revocation")?;
    stage.engine.unregister(one.region).context("nothing points to it any more")?;
    let (lease, Claim { start: again, .. }) = stage.lease(window, size, Unmapping::Strict)?;
    ensure!(again == start, "the new lease is not where the old one was");
    stage.apply(lease, &[other.map_all(start)], TceCalls { map: 1, unmap: 0 })?;
    // The device was reset with the last lease.
    stage.load_stamp(start, other.at(Bytes::ZERO))?;
    stage.leads(start, other.at(Bytes::ZERO)).context("under a new lease")?;
    Ok(())
}

/// An edit of a quarantined range is refused, and no call is made for it.
fn stays_closed<M: Machine>(
    stage: &mut Stage<'_, M>,
    lease: LeaseId,
    start: Iova,
    closed: Claim,
) -> Result<()> {
    let calls = stage.engine.calls().total();
    let edit = Edit::Unmap(Claim { start, size: stage.units(1) });
    let refused = stage.engine.apply(lease, &[edit], NOW);
    let expected = Err(Error::Edit(EditRefusal::Quarantined { edit: 0, claim: closed }));
    ensure!(refused == expected, "an edit of the quarantined range: {refused:?}");
    ensure!(stage.engine.calls().total() == calls, "it reached the kernel");
    Ok(())
}
