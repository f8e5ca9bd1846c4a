//! `tce run` of a long job, killed somewhere on its way.
//!
//! Nothing but the time tells from outside how far a run has come, and whether it has memory locked.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tce_engine::{
    addr::{Bytes, PageShift},
    machine::{Backing, Machine as _, MemoryRequest},
};
use tce_host::report::Report;
use tce_vfio::VfioMachine;

use super::{
    doomed::{Doomed, was_killed},
    long_job::{Means, long_job},
};
use crate::rig::seats_in_one_container;

/// Runs that nobody disturbs: the first is slower than all later ones.
const UNDISTURBED: u32 = 2;
/// How often a run that was over too soon is started again, and how much of the time is waited then.
const TRIES_MAX: u32 = 5;
const EARLIER: f64 = 0.9;

/// What is known of such runs.
pub(super) struct Runs {
    means: Means,
    file: PathBuf,
    /// How long one takes that nobody disturbs.
    length: Duration,
}

/// Where a run was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// After so many hundredths of the time that a whole run takes.
    pub(super) hundredths: u64,
    /// KiB that it had locked.
    pub(super) locked_kib: u64,
}

impl Runs {
    /// Runs such jobs to their end first, which must leave nothing.
    ///
    /// # Errors
    /// If they do not come to a clean end.
    pub(super) fn new(machine: &mut VfioMachine, dice: &mut Rng) -> Result<Self> {
        let seats = seats_in_one_container(machine);
        let devices = seats.into_iter().map(|seat| seat.address).collect();
        let means = Means { devices, has_huge_pages: has_huge_pages(machine) };
        let file = env::temp_dir().join("long.toml");
        let mut runs = Self { means, file, length: Duration::MAX };
        for _ in 0..UNDISTURBED {
            let took = runs.undisturbed(dice)?;
            runs.length = runs.length.min(took);
        }
        println!("tce run, undisturbed: {:.1?}", runs.length);
        Ok(runs)
    }

    fn undisturbed(&self, dice: &mut Rng) -> Result<Duration> {
        let begun = Instant::now();
        let output = self.command(dice)?.output().context("running tce")?;
        let took = begun.elapsed();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tce run of a long job: {}\n{errors}", output.status);
        let report: Report = serde_json::from_slice(&output.stdout).context("the report")?;
        ensure!(report.is_clean(), "something was left behind: {:?}", report.locked);
        Ok(took)
    }

    /// Starts a run and kills it after this part of its time.
    ///
    /// # Errors
    /// If it ends with an error, or is over too soon again and again.
    pub(super) fn kill_one(&self, mut part: f64, dice: &mut Rng) -> Result<Place> {
        for _ in 0..TRIES_MAX {
            let mut command = self.command(dice)?;
            let begun = Instant::now();
            let run = Doomed::start(command.stdout(Stdio::null()))?;
            sleep(self.length.mul_f64(part).saturating_sub(begun.elapsed()));
            let (locked_kib, came) = (run.locked_kib(), begun.elapsed());
            let end = run.kill()?;
            if was_killed(end) {
                return Ok(Place { hundredths: hundredths(came, self.length), locked_kib });
            }
            ensure!(end.success(), "a run that was to be killed ended by itself: {end}");
            part *= EARLIER;
        }
        bail!("{TRIES_MAX} runs were over before they could be killed")
    }

    /// The command, for a job of its own.
    fn command(&self, dice: &mut Rng) -> Result<Command> {
        fs::write(&self.file, long_job(&self.means, dice)).context("writing a long job")?;
        let mut tce = Command::new("/bin/tce");
        tce.arg("run").arg(&self.file).args(["--backend", "vfio", "--json"]);
        Ok(tce)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        // If it is not there, that is well.
        let _ = fs::remove_file(&self.file);
    }
}

fn has_huge_pages(machine: &mut VfioMachine) -> bool {
    let (size, align) = (Bytes::mib(8), PageShift::M2);
    let request = MemoryRequest { size, backing: Backing::Hugetlb(PageShift::M2), align };
    machine.allocate(&request).is_ok_and(|memory| machine.free(memory).is_ok())
}

fn hundredths(part: Duration, whole: Duration) -> u64 {
    let hundredths = part.as_micros() * 100 / whole.as_micros().max(1);
    u64::try_from(hundredths).unwrap_or(u64::MAX)
}
