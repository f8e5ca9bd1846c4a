//! A process that is to be killed.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
};

use anyhow::{Context, Result, ensure};

use super::held::locked_by;

/// The signal that no process can put off.
const SIGKILL: i32 = 9;

/// The process. It is killed at the latest when this is dropped.
pub(super) struct Doomed(Child);

impl Doomed {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().context("starting the process to kill")?))
    }

    /// Lets it give way: there is one processor, and whoever waits for what it does has to see that in time.
    pub(super) fn give_way(&self) -> Result<()> {
        let mut renice = Command::new("renice");
        renice.args(["-n", "19", "-p"]).arg(self.0.id().to_string());
        let status = renice.status().context("running renice")?;
        ensure!(status.success(), "renice: {status}");
        Ok(())
    }

    /// How it ended, if it did so by itself.
    pub(super) fn end(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// KiB that it has locked.
    pub(super) fn locked_kib(&self) -> u64 {
        locked_by(self.0.id())
    }

    /// Kills it; how it ended, which is by that unless it was over already.
    pub(super) fn kill(mut self) -> Result<ExitStatus> {
        self.0.kill()?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // One that is dead already cannot be killed, and that is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this is the end of a process that was killed.
pub(super) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(SIGKILL)
}
