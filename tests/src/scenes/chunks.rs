//! The scene of memory that is registered piece by piece.

use anyhow::{Context, Result, bail, ensure};
use tce_engine::{
    Error,
    addr::{Bytes, PageShift},
    edit::Edit,
    error::EditRefusal,
    lingering::Unmapping,
    machine::Machine,
    region::{Progress, RegionRefusal, Registration},
    window::Claim,
};

use crate::{
    rig::NOW,
    sample::LENGTH_BYTES,
    stage::{Memory, Stage, TceCalls},
};

const CHUNKS: u32 = 4;
const UNITS_OF_CHUNK: u32 = 16;

/// Memory is registered in chunks, each charged as predicted; nothing can be mapped to it before the last; then one call
/// maps it all, a transfer crosses the border of two chunks, and giving up half-way leaves nothing.
///
/// # Errors
/// What did not come out so.
pub fn memory_registered_in_chunks_is_one_to_devices<M: Machine>(
    stage: &mut Stage<'_, M>,
) -> Result<()> {
    let window = stage.default_window()?;
    let (chunk, size) = (stage.units(UNITS_OF_CHUNK), stage.units(UNITS_OF_CHUNK * CHUNKS));
    let range = stage.allocate(size)?;
    let page = stage.page();
    let (lease, Claim { start, .. }) = stage.lease(window, size, Unmapping::Strict)?;

    let before = stage.locked()?;
    let mut registration = stage.engine.register_in_chunks(range, page, chunk)?;
    let memory = Memory { range, region: registration.region() };
    is_charged(stage, &mut registration, chunk)?;
    let calls = stage.calls();
    let refused = stage.engine.apply(lease, &[memory.map(start, Bytes::ZERO, chunk)], NOW);
    let is_early = matches!(
        refused,
        Err(Error::Edit(EditRefusal::Region { refusal: RegionRefusal::Registering { .. }, .. }))
    );
    ensure!(is_early && stage.calls() == calls, "a map to half a region: {refused:?}");
    stage.engine.abandon(registration)?;
    ensure!(stage.locked()? == before, "what was given up half-way stays locked");

    let mut registration = stage.engine.register_in_chunks(range, page, chunk)?;
    for _ in 0..CHUNKS {
        is_charged(stage, &mut registration, chunk)?;
    }
    let Progress::Complete(region) = stage.engine.advance(&mut registration)? else {
        bail!("it is not complete after {CHUNKS} chunks");
    };
    let memory = Memory { range, region };
    stage.apply(lease, &[memory.map_all(start)], TceCalls { map: 1, unmap: 0 })?;
    stage.load_stamp(start, memory.at(Bytes::ZERO))?;
    let before = |offset: Bytes, size: Bytes| offset.checked_sub(size).unwrap_or_default();
    for offset in [
        before(chunk, PageShift::K4.bytes()),
        before(chunk, Bytes::new(LENGTH_BYTES / 2)),
        chunk,
        before(size, PageShift::K4.bytes()),
    ] {
        let iova = start.checked_add(offset).context("inside the lease")?;
        stage.leads(iova, memory.at(offset))?;
    }
    let unmap = Edit::Unmap(Claim { start, size });
    stage.apply(lease, &[unmap], TceCalls { map: 0, unmap: 1 })?;
    let locked = stage.locked()?;
    stage.engine.unregister(region)?;
    let released = locked.checked_sub(stage.locked()?);
    ensure!(released == Some(size), "unregistering released {released:?}");
    Ok(())
}

/// The next chunk is charged as it was predicted.
fn is_charged<M: Machine>(
    stage: &mut Stage<'_, M>,
    registration: &mut Registration,
    chunk: Bytes,
) -> Result<()> {
    let before = stage.locked()?;
    stage.engine.advance(registration)?;
    let charged = stage.locked()?.checked_sub(before);
    ensure!(charged == Some(chunk), "a chunk of {chunk} is charged {charged:?}");
    let noted = stage.engine.charges().last().copied().context("a charge was noted")?;
    ensure!((noted.predicted, noted.charged) == (chunk, chunk), "what was noted is {noted:?}");
    Ok(())
}
