//! The scene of replacing what is mapped while a device uses it.

use anyhow::{Context, Result, ensure};
use tce_conformance::edu::BUFFER_BYTES;
use tce_engine::{
    addr::{Bytes, Iova},
    lease::LeaseId,
    lingering::Unmapping,
    machine::Machine,
    window::Claim,
};

use crate::{
    rig::NOW,
    sample::pattern,
    stage::{Memory, Stage, TceCalls},
};

/// The bytes of a transfer: all that the device holds.
const LENGTH: usize = 4096;
/// Transfers each way. One takes a real `edu` 100 ms, in which its memory is replaced as often as can be.
const TRANSFERS: u8 = 8;
/// The most replacements under one transfer.
const REPLACEMENTS_MAX: u32 = 100_000;
/// What the device writes.
const STAMP: u8 = 99;

/// A device writes to one address and reads from it, again and again, while what is mapped there goes back and forth
/// between two pieces of memory. Each transfer meets one of them, wholly; no call ever unmaps.
///
/// # Errors
/// What did not come out so.
pub fn what_is_replaced_under_a_transfer_loses_nothing<M: Machine>(
    stage: &mut Stage<'_, M>,
) -> Result<()> {
    let mut swap = Swap::new(stage)?;
    let begun = swap.stage.calls();
    for round in 0..TRANSFERS {
        swap.is_written_to_one_of_them().with_context(|| format!("write {round}"))?;
    }
    for round in 0..TRANSFERS {
        swap.is_read_from_one_of_them(round).with_context(|| format!("read {round}"))?;
    }
    let expected = TceCalls { map: swap.replacements, unmap: 0 };
    let made = swap.stage.calls_since(begun);
    ensure!(made == expected, "{expected:?} were to be made, and {made:?} were");
    Ok(())
}

/// Two pieces of memory that take turns at one address, and one that stays at another.
struct Swap<'s, 'm, M: Machine> {
    stage: &'s mut Stage<'m, M>,
    lease: LeaseId,
    shared: Iova,
    fixed: Iova,
    mapped: Memory,
    other: Memory,
    result: Memory,
    replacements: u64,
}

impl<'s, 'm, M: Machine> Swap<'s, 'm, M> {
    fn new(stage: &'s mut Stage<'m, M>) -> Result<Self> {
        ensure!(u64::try_from(LENGTH)? == BUFFER_BYTES, "the device's buffer has another size");
        let window = stage.second_window()?;
        let (mapped, other, result) = (stage.memory(1)?, stage.memory(1)?, stage.memory(1)?);
        let size = stage.units(2);
        let (lease, Claim { start: shared, .. }) = stage.lease(window, size, Unmapping::Strict)?;
        let fixed = shared.checked_add(stage.units(1)).context("inside the lease")?;
        let edits = [mapped.map_all(shared), result.map_all(fixed)];
        stage.engine.apply(lease, &edits, NOW)?;
        let mut swap = Self { stage, lease, shared, fixed, mapped, other, result, replacements: 0 };
        swap.write(result, &pattern(STAMP))?;
        swap.stage.with_edu(|edu| edu.read_memory(fixed, BUFFER_BYTES))?;
        Ok(swap)
    }

    fn is_written_to_one_of_them(&mut self) -> Result<()> {
        let empty = [0; LENGTH];
        let both = [self.mapped, self.other];
        both.into_iter().try_for_each(|memory| self.write(memory, &empty))?;
        let shared = self.shared;
        self.stage.with_edu(|edu| edu.start_writing(shared, BUFFER_BYTES))?;
        self.replace_until_it_ends()?;
        let stamp = pattern(STAMP);
        let [one, other] = [self.read(both[0])?, self.read(both[1])?];
        let is_whole = (one == stamp && other == empty) || (one == empty && other == stamp);
        ensure!(is_whole, "what was written did not arrive in one of the two, all of it");
        Ok(())
    }

    fn is_read_from_one_of_them(&mut self, round: u8) -> Result<()> {
        let (one, other) = (pattern(2 * round), pattern(2 * round + 1));
        self.write(self.mapped, &one)?;
        self.write(self.other, &other)?;
        let (shared, fixed) = (self.shared, self.fixed);
        self.stage.with_edu(|edu| edu.start_reading(shared, BUFFER_BYTES))?;
        self.replace_until_it_ends()?;
        self.stage.with_edu(|edu| edu.write_memory(fixed, BUFFER_BYTES))?;
        let found = self.read(self.result)?;
        ensure!(found == one || found == other, "what was read is neither the one nor the other");
        Ok(())
    }

    fn replace_until_it_ends(&mut self) -> Result<()> {
        for _ in 0..REPLACEMENTS_MAX {
            let edit = self.other.map_all(self.shared);
            self.stage.engine.apply(self.lease, &[edit], NOW)?;
            std::mem::swap(&mut self.mapped, &mut self.other);
            self.replacements += 1;
            if !self.stage.with_edu(|edu| edu.is_busy())? {
                return Ok(());
            }
        }
        self.stage.with_edu(|edu| edu.wait())
    }

    fn write(&mut self, memory: Memory, bytes: &[u8; LENGTH]) -> Result<()> {
        Ok(self.stage.machine.write_memory(memory.at(Bytes::ZERO), bytes)?)
    }

    fn read(&mut self, memory: Memory) -> Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.stage.machine.read_memory(memory.at(Bytes::ZERO), &mut bytes)?;
        Ok(bytes)
    }
}
