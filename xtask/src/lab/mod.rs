//! The POWER lab: boots a real kernel with the real backend in an emulated machine, runs one command in
//! it as root, and returns that command's exit code.

mod boot;
mod chatter;
mod console;
mod cpio;
mod fdt;
mod image;
pub(crate) mod machine;
mod quote;
mod received;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use crate::setup::cache::{self, Cache};
use crate::setup::kernel::{self, Kernel, Pages, Release};
use crate::setup::qemu::Qemu;
use crate::workspace::Workspace;
use crate::{run, say};
pub(crate) use boot::Show;
use boot::{Booted, End, Watch};
use console::Report;
use machine::Machine;

/// The exit code when the command was not done in time.
const TIME_LIMIT: u8 = 124;
/// The exit code when the lab itself failed: no boot, a panic, a damaged file.
const LAB_FAILED: u8 = 125;
/// The exit code when the command succeeded but the kernel complained meanwhile.
const KERNEL_COMPLAINED: u8 = 97;

/// A panic ends the machine at once.
const KERNEL_ARGUMENTS: [&str; 2] = ["-append", "console=hvc0 quiet panic=-1"];

/// The lab suite.
pub(crate) const SUITE: &str = "/bin/tce-lab";

/// Which machine with which kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Set {
    pub(crate) machine: Machine,
    pub(crate) release: Release,
    pub(crate) pages: Pages,
}

impl Set {
    /// Short, for names of files and steps.
    pub(crate) fn name(self) -> String {
        format!("{}-{}-{}", self.machine.name(), self.pages.name(), self.release.name())
    }

    /// The options of `cargo xtask lab` that choose it.
    pub(crate) fn options(self) -> String {
        format!(
            "--machine {} --kernel {} --pages {}",
            self.machine.name(),
            self.release.name(),
            self.pages.name()
        )
    }
}

/// What to run, where, and for how long at most.
pub(crate) struct Order {
    pub(crate) set: Set,
    pub(crate) command: Vec<String>,
    pub(crate) limit: Duration,
    pub(crate) show: Show,
}

/// One run, with the name that tells its marks on the console from any other's.
struct Run {
    name: String,
    set: Set,
    command: Vec<String>,
}

/// Runs a command in the lab with what is built, and returns its exit code.
pub(crate) fn run(workspace: &Workspace, cache: &Cache, order: Order) -> Result<u8> {
    let Order { set, command, limit, show } = order;
    if is_suite(&command) {
        needs_suite(workspace)?;
    }
    let qemu = Qemu::provide(cache)?;
    let kernel = Kernel::provide(cache, set.release, set.pages)?;
    let busybox = kernel::busybox(cache)?;
    let folder = workspace.target().join("lab");
    fs::create_dir_all(&folder)?;
    let lock = folder.join(format!("{}.lock", set.name()));
    let _lock = cache::lock(&lock, "runs the same machine in this checkout")?;
    let scratch = folder.join(format!("boot-{}", set.name()));
    fs::create_dir_all(&scratch)?;
    let _removed = Removed(scratch.clone());
    let lab = Run { name: run_name(), set, command };
    let initrd = scratch.join("initrd");
    let parts = image::Parts { busybox: &busybox, kernel: &kernel };
    image::write(&initrd, workspace, &parts, &lab)?;
    let boot = Boot { qemu: &qemu, set, kernel: &kernel.image(), initrd: &initrd };
    let mut emulator = boot.command(&scratch)?;
    let log = folder.join(format!("console-{}.log", set.name()));
    say::note(format!("booting {} (at most {} s)", set.name(), limit.as_secs()));
    let started = Instant::now();
    let watch = Watch { run: &lab.name, limit, show, log: &log };
    let booted = boot::boot(&mut emulator, &watch)?;
    save_files(&booted.report, &folder.join("out").join(set.name()))?;
    let code = verdict(&booted, &log, limit);
    let took = say::seconds(started.elapsed());
    say::note(format!("{} ended with exit code {code} after {took}", set.name()));
    Ok(code)
}

/// Removes a folder that is of no use after the run.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What is left is overwritten or ignored later.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a command is the lab suite, with arguments or without.
pub(crate) fn is_suite(command: &[String]) -> bool {
    command.first().is_some_and(|program| run::file_name(Path::new(program)) == "tce-lab")
}

fn needs_suite(workspace: &Workspace) -> Result<()> {
    let missing = crate::power::programs(workspace).into_iter().find(|file| !file.is_file());
    if let Some(program) = missing {
        bail!("{} is not built; run without --no-build", program.display());
    }
    Ok(())
}

/// What the emulator boots.
struct Boot<'a> {
    qemu: &'a Qemu,
    set: Set,
    kernel: &'a Path,
    initrd: &'a Path,
}

impl Boot<'_> {
    fn command(&self, scratch: &Path) -> Result<Command> {
        let mut command = self.machine()?;
        match self.completed_tree(scratch) {
            // The tree holds the kernel's arguments.
            Some(tree) => command.arg("-dtb").arg(tree),
            None => command.args(KERNEL_ARGUMENTS),
        };
        command.args(["-serial", "stdio", "-monitor", "none"]);
        Ok(command)
    }

    /// A better device tree than the emulator's own, where one is needed and can be had.
    fn completed_tree(&self, scratch: &Path) -> Option<PathBuf> {
        if !self.set.machine.has_incomplete_tree() {
            return None;
        }
        let mut command = self.machine().ok()?;
        command.args(KERNEL_ARGUMENTS);
        tree::completed(command, scratch)
            .inspect_err(|error| say::note(format!("no hugepages in this machine: {error:#}")))
            .ok()
    }

    fn machine(&self) -> Result<Command> {
        // The kernel ends the emulator when xtask is gone, however xtask ended.
        let wrapper: &[&str] = match run::in_path("setpriv") {
            Some(_) => &["setpriv", "--pdeathsig", "KILL"],
            None => &[],
        };
        let mut command = self.qemu.command(wrapper)?;
        self.set.machine.set(&mut command);
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initrd);
        Ok(command)
    }
}

fn save_files(report: &Report, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for file in &report.files {
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.data)?;
        say::note(format!("{} bytes from the lab: {}", file.data.len(), path.display()));
    }
    Ok(())
}

/// Says what went wrong, if anything, and which exit code that is.
fn verdict(booted: &Booted, log: &Path, limit: Duration) -> u8 {
    let report = &booted.report;
    let trouble = |what: &str| {
        say::note(format!("{what}; the end of the console:\n{}", booted.tail));
        say::note(format!("the whole console: {}", log.display()));
    };
    if !report.kernel.is_empty() {
        say::note("the kernel complained since the command was started:");
        for line in &report.kernel {
            eprintln!("    {line}");
        }
    }
    for problem in &report.damaged {
        say::note(format!("a file did not come out of the lab: {problem}"));
    }
    match (&booted.end, report.exit) {
        (End::TimeLimit, _) => {
            trouble(&format!("not done after {} s", limit.as_secs()));
            TIME_LIMIT
        }
        (End::Off, None) => {
            trouble(if report.started {
                "the machine stopped before the command ended"
            } else {
                "the machine stopped before the command was started"
            });
            LAB_FAILED
        }
        (End::Off, Some(0)) if !report.kernel.is_empty() => KERNEL_COMPLAINED,
        (End::Off, Some(0)) if !report.done || !report.damaged.is_empty() => {
            trouble("the lab did not tell everything");
            LAB_FAILED
        }
        (End::Off, Some(code)) => code,
    }
}

fn run_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), since.as_nanos())
}
