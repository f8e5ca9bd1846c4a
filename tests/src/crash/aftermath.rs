//! What must be true after a process has died.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tce_engine::{
    kernel::{GroupNumber, Kernel as _},
    machine::Machine as _,
};
use tce_host::report::Report;
use tce_vfio::VfioMachine;

use super::held::Held;
use crate::{jobs::Places, rig::seats};

/// The kernel frees pins after a grace period, and fetches its counts together now and then.
const SETTLING_MAX: Duration = Duration::from_secs(10);
/// The job of the next start.
const NEXT_JOB: &str = "smoke.toml";

/// Groups are free, the machine holds no more than before, and the next start works; how long the second took.
///
/// # Errors
/// What is not so.
pub(super) fn look(machine: &VfioMachine, before: &Held) -> Result<Duration> {
    groups_are_free(machine)?;
    let settled = settle(machine, before)?;
    next_start(machine).context("the next start")?;
    settle(machine, before).context("after the next start")?;
    Ok(settled)
}

/// Each group can be opened at once: a dead process's descriptors are closed before others learn of its death.
pub(super) fn groups_are_free(machine: &VfioMachine) -> Result<()> {
    let mut kernel = machine.kernel();
    let groups: Vec<GroupNumber> = seats(machine).into_iter().map(|seat| seat.group).collect();
    ensure!(!groups.is_empty(), "no group has a device for VFIO any more");
    for group in groups {
        let failed = |errno| anyhow::anyhow!("group {group} is not free: {errno}");
        let descriptor = kernel.open_group(group).map_err(failed)?;
        kernel.close(descriptor.fd()).map_err(failed)?;
    }
    Ok(())
}

/// Waits until the machine holds no more than before; how long that took.
pub(super) fn settle(machine: &VfioMachine, before: &Held) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        match Held::now(machine)?.is_no_more_than(before) {
            Ok(()) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > SETTLING_MAX => return Err(error),
            Err(_) => sleep(Duration::from_millis(50)),
        }
    }
}

/// The next start: a job that does all there is to do, by the command itself.
pub(super) fn next_start(machine: &VfioMachine) -> Result<()> {
    let seat = seats(machine).into_iter().next().context("there is no edu device for VFIO")?;
    let job = Places::lab().jobs.join(NEXT_JOB);
    let mut tce = Command::new("/bin/tce");
    tce.arg("run").arg(&job).args(["--backend", "vfio", "--device", &seat.address, "--json"]);
    let output = tce.output().context("running tce")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tce run {}: {}\n{errors}", job.display(), output.status);
    let report: Report = serde_json::from_slice(&output.stdout).context("the report")?;
    ensure!(report.is_clean(), "something was left behind: {:?}", report.locked);
    Ok(())
}
