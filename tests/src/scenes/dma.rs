//! Bytes travel through our TCEs, and do not where there are none.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    machine::Machine,
};

use crate::{
    rig::{Rig, Shape},
    sample::{EMPTY, LENGTH, LENGTH_BYTES, pattern},
};

/// Bytes go host -> device -> host through a lease; not after an unmap, not after a revocation; and again after each
/// new map.
///
/// # Errors
/// What did not come out so.
pub fn bytes_travel_exactly_where_they_are_mapped<M: Machine>(
    machine: &mut M,
    shape: Shape,
) -> Result<()> {
    let mut rig = Rig::new(machine, shape)?;
    let lease = rig.lease("driver")?;
    let start = rig.start_of(lease)?;
    rig.map(lease)?;
    travels(&mut rig, start, 1).context("through a fresh map")?;

    rig.unmap(lease)?;
    stands_still(&mut rig, start, 2).context("after an unmap")?;
    rig.map(lease)?;
    was_not_read(&mut rig, start, 2).context("after an unmap")?;
    travels(&mut rig, start, 3).context("after a new map")?;

    rig.engine.revoke(lease)?;
    // The revocation has made the device quiet; only the missing TCEs shall stop it now.
    rig.engine.resume_devices()?;
    stands_still(&mut rig, start, 4).context("after a revocation")?;
    let second = rig.lease("driver")?;
    let start = rig.start_of(second)?;
    rig.map(second)?;
    was_not_read(&mut rig, start, 4).context("after a revocation")?;
    travels(&mut rig, start, 5).context("under a new lease")?;
    rig.close()
}

/// The bytes of one transfer each way arrive.
fn travels<M: Machine>(rig: &mut Rig<'_, M>, start: Iova, seed: u8) -> Result<()> {
    ensure!(transfer(rig, start, seed)? == pattern(seed), "the bytes did not arrive");
    Ok(())
}

/// What the device would write does not arrive. That it has not read either shows when it can write again.
fn stands_still<M: Machine>(rig: &mut Rig<'_, M>, start: Iova, seed: u8) -> Result<()> {
    ensure!(transfer(rig, start, seed)? == EMPTY, "bytes arrived where nothing is mapped");
    Ok(())
}

/// Lets the device read the first TCE page from `start` and write the second one; what lies in the second one then.
fn transfer<M: Machine>(rig: &mut Rig<'_, M>, start: Iova, seed: u8) -> Result<[u8; LENGTH]> {
    prepare(rig, seed)?;
    let (source, target) = places(rig, start)?;
    rig.with_edu(|edu| {
        edu.read_memory(source, LENGTH_BYTES)?;
        edu.write_memory(target, LENGTH_BYTES)
    })?;
    arrived(rig)
}

/// The device's buffer does not hold what lay where nothing was mapped.
fn was_not_read<M: Machine>(rig: &mut Rig<'_, M>, start: Iova, seed: u8) -> Result<()> {
    let (_, target) = places(rig, start)?;
    rig.with_edu(|edu| edu.write_memory(target, LENGTH_BYTES))?;
    ensure!(arrived(rig)? != pattern(seed), "the device read what was not mapped");
    Ok(())
}

fn prepare<M: Machine>(rig: &mut Rig<'_, M>, seed: u8) -> Result<()> {
    let target = target_memory(rig)?;
    rig.machine.write_memory(rig.memory.address, &pattern::<LENGTH>(seed))?;
    Ok(rig.machine.write_memory(target, &EMPTY)?)
}

fn arrived<M: Machine>(rig: &mut Rig<'_, M>) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let target = target_memory(rig)?;
    rig.machine.read_memory(target, &mut bytes)?;
    Ok(bytes)
}

fn target_memory<M: Machine>(rig: &Rig<'_, M>) -> Result<HostAddr> {
    rig.memory.address.checked_add(page_bytes(rig)).context("memory ends at the last address")
}

fn places<M: Machine>(rig: &Rig<'_, M>, start: Iova) -> Result<(Iova, Iova)> {
    let target =
        start.checked_add(page_bytes(rig)).context("the lease ends at the last address")?;
    Ok((start, target))
}

const fn page_bytes<M: Machine>(rig: &Rig<'_, M>) -> Bytes {
    rig.page.bytes()
}
