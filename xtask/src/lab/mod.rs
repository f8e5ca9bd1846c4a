//! The POWER lab: boots a real kernel with the real backend in an emulated machine, runs one command in
//! it as root, and returns that command's exit code.

mod boot;
mod chatter;
mod console;
mod cpio;
mod fdt;
pub(crate) mod fittings;
mod image;
pub(crate) mod machine;
mod quote;
mod received;
mod tree;
mod verdict;

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
use boot::Watch;
use console::Report;
use fittings::Fittings;
use machine::Machine;
use verdict::verdict;

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
    /// In a word what the run is for, if it is not the usual. It keeps its console and its files apart
    /// from those of other runs of the same machine, which may go on at the same time.
    pub(crate) purpose: Option<&'static str>,
    pub(crate) fittings: Fittings,
    pub(crate) command: Vec<String>,
    pub(crate) limit: Duration,
    pub(crate) show: Show,
    /// Functions of the kernel whose warnings are no failure: the run is known to provoke them.
    pub(crate) tolerated: &'static [&'static str],
}

/// How a run ended.
pub(crate) struct Ended {
    /// The command's exit code, or one of the lab's.
    pub(crate) code: u8,
    /// What the kernel complained about meanwhile.
    pub(crate) kernel: Vec<String>,
    /// What the command printed, if the order was to show nothing.
    pub(crate) output: String,
}

impl Order {
    /// The usual machine of a set.
    pub(crate) fn usual(set: Set, command: Vec<String>, limit: Duration, show: Show) -> Self {
        let fittings = Fittings::of(set.machine);
        Self { set, purpose: None, fittings, command, limit, show, tolerated: &[] }
    }

    /// For names of files and for messages.
    fn label(&self) -> String {
        match self.purpose {
            Some(purpose) => format!("{}-{purpose}", self.set.name()),
            None => self.set.name(),
        }
    }

    /// Where files that come out of the lab are saved, instead of those of the run before.
    pub(crate) fn out(&self, workspace: &Workspace) -> PathBuf {
        workspace.target().join("lab/out").join(self.label())
    }
}

/// One run, with the name that tells its marks on the console from any other's.
struct Run {
    name: String,
    set: Set,
    fittings: Fittings,
    command: Vec<String>,
}

/// Runs a command in the lab with what is built, and returns its exit code.
pub(crate) fn run(workspace: &Workspace, cache: &Cache, order: Order) -> Result<u8> {
    Ok(run_and_tell(workspace, cache, order)?.code)
}

/// Runs a command in the lab with what is built.
pub(crate) fn run_and_tell(workspace: &Workspace, cache: &Cache, order: Order) -> Result<Ended> {
    if is_suite(&order.command) {
        needs_suite(workspace)?;
    }
    let (label, out) = (order.label(), order.out(workspace));
    let Order { set, purpose: _, fittings, command, limit, show, tolerated } = order;
    let qemu = Qemu::provide(cache)?;
    let kernel = Kernel::provide(cache, set.release, set.pages)?;
    let busybox = kernel::busybox(cache)?;
    let folder = workspace.target().join("lab");
    fs::create_dir_all(&folder)?;
    let lock = folder.join(format!("{label}.lock"));
    let _lock = cache::lock(&lock, "runs the same machine in this checkout")?;
    let scratch = folder.join(format!("boot-{label}"));
    fs::create_dir_all(&scratch)?;
    let _removed = Removed(scratch.clone());
    let lab = Run { name: run_name(), set, fittings, command };
    let initrd = scratch.join("initrd");
    let parts = image::Parts { busybox: &busybox, kernel: &kernel };
    image::write(&initrd, workspace, &parts, &lab)?;
    let boot = Boot { qemu: &qemu, lab: &lab, kernel: &kernel.image(), initrd: &initrd };
    let mut emulator = boot.command(&scratch)?;
    let log = folder.join(format!("console-{label}.log"));
    say::note(format!("booting {label} (at most {} s)", limit.as_secs()));
    let started = Instant::now();
    let watch = Watch { run: &lab.name, limit, show, log: &log };
    let booted = boot::boot(&mut emulator, &watch)?;
    save_files(&booted.report, &out)?;
    let code = verdict(&booted, &log, limit, tolerated);
    let took = say::seconds(started.elapsed());
    say::note(format!("{label} ended with exit code {code} after {took}"));
    Ok(Ended { code, kernel: booted.report.kernel, output: booted.output })
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
    lab: &'a Run,
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
        if !self.lab.set.machine.has_incomplete_tree() {
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
        self.lab.set.machine.set(&mut command, &self.lab.fittings)?;
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

fn run_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), since.as_nanos())
}
