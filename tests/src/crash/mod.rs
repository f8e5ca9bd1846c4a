//! Death at any instant: a process is killed at work, and nothing of it may remain.
//!
//! Two kinds of processes are killed in turn. One is [`busy`] with the engine, on any machine, and tells which phase of its
//! work it is in ([`phase`]). The other is `tce run` of a [long job](long_job). [`kills`] kills them again and again on a
//! real kernel, and compares what the machine holds ([`held`]) with what it held before.

mod aftermath;
pub mod busy;
mod doomed;
pub mod held;
pub mod kills;
pub mod long_job;
pub mod phase;
mod runs;
mod victim;

use std::path::Path;

use anyhow::{Context, Result};
use tce_vfio::VfioMachine;

use self::phase::Board;
pub use self::victim::BUSY;

/// The seed of the kills' instants where none is given.
const SEED: u64 = 5;

/// `tce-lab kills`: so many kills, as the words of the command say.
///
/// # Errors
/// If a word is no number, or as [`kills::run`].
pub fn kill(count: &str, seed: Option<&str>) -> Result<()> {
    let count = count.parse().with_context(|| format!("{count} is no number of kills"))?;
    let seed = seed.map_or(Ok(SEED), number)?;
    kills::run(&mut VfioMachine::open()?, count, seed).map(drop)
}

/// `tce-lab busy`: the process that is killed.
///
/// # Errors
/// If the seed is no number or there is no board, or as [`kills::be_busy`].
pub fn be_busy(seed: &str, board: &str) -> Result<()> {
    let board = Board::open(Path::new(board)).with_context(|| board.to_owned())?;
    kills::be_busy(&mut VfioMachine::open()?, number(seed)?, &board)
}

fn number(seed: &str) -> Result<u64> {
    seed.parse().with_context(|| format!("{seed} is no seed"))
}
