//! The busy process, seen from the one that kills it.

use std::{
    env, fs,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    doomed::{Doomed, was_killed},
    phase::{Board, Phase, Progress},
};

/// The word that makes `tce-lab` the process that is killed, before its seed and its board.
pub const BUSY: &str = "busy";
/// The longest that a process may take to reach a phase.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked.
const GLANCE: Duration = Duration::from_micros(100);

/// The process, and what it tells of itself.
pub(super) struct Victim {
    process: Doomed,
    board: BoardFile,
}

/// The board, as long as the one that kills needs it.
struct BoardFile {
    board: Board,
    path: PathBuf,
}

impl Victim {
    pub(super) fn start(seed: u64) -> Result<Self> {
        let path = env::temp_dir().join("board");
        let _ = fs::remove_file(&path);
        let board = BoardFile { board: Board::create(&path)?, path };
        let mut command = Command::new(env::current_exe()?);
        command.arg(BUSY).arg(seed.to_string()).arg(&board.path);
        let process = Doomed::start(&mut command)?;
        process.give_way()?;
        Ok(Self { process, board })
    }

    /// Waits until it begins the phase, not before so many others.
    pub(super) fn wait_for(&mut self, wanted: Phase, phases_before: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(Progress { phases, phase }) = self.board.board.read()?
                && phases > phases_before
                && phase == wanted
            {
                return Ok(());
            }
            if let Some(status) = self.process.end()? {
                bail!("the busy process ended by itself: {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "the busy process never came to {wanted}");
            sleep(GLANCE);
        }
    }

    /// Kills it; how far it had come.
    pub(super) fn kill(self) -> Result<Progress> {
        let status = self.process.kill()?;
        ensure!(was_killed(status), "the busy process was not killed: {status}");
        self.board.board.read()?.context("it had not begun")
    }
}

impl Drop for BoardFile {
    fn drop(&mut self) {
        // If it is not there, that is well.
        let _ = fs::remove_file(&self.path);
    }
}
