//! Kills a busy process again and again, and looks for what remains of it.
//!
//! The instants are random, but not blindly so: a phase that takes a millisecond would hardly ever be met. Each kill has
//! a phase that it waits for, and comes at a random instant of the time that the phase takes. What counts is the phase
//! that it fell in.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tce_engine::{
    kernel::{GroupNumber, Kernel as _},
    machine::Machine as _,
};
use tce_host::report::Report;
use tce_vfio::VfioMachine;

use super::{
    busy,
    held::{Exact, Held},
    phase::{Board, Phase, Progress},
};
use crate::{jobs::Places, rig::seats};

/// The word that makes `tce-lab` the process that is killed, before its seed and its board.
pub const BUSY: &str = "busy";
/// The signal that no process can put off.
const SIGKILL: i32 = 9;
/// The longest that a process may take to reach a phase.
const PATIENCE: Duration = Duration::from_secs(60);
/// The kernel frees pins after a grace period, and fetches its counts together now and then.
const SETTLING_MAX: Duration = Duration::from_secs(10);
/// How often is looked.
const GLANCE: Duration = Duration::from_micros(100);
/// Phases that the process passes before a kill waits for its own: up to the second round.
const PHASES_BEFORE_MAX: u64 = 9;
/// Kills that may come on top, for phases that none fell in.
const FURTHER_KILLS_MAX: u32 = 30;
/// The job of the next start.
const NEXT_JOB: &str = "smoke.toml";

/// What the kills came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    fell_in: BTreeMap<Phase, u32>,
}

impl Tally {
    fn count(&self, phase: Phase) -> u32 {
        self.fell_in.get(&phase).copied().unwrap_or(0)
    }

    fn kills(&self) -> u32 {
        self.fell_in.values().sum()
    }

    fn missing(&self) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| self.count(*phase) == 0)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = Phase::ALL.map(|phase| format!("{phase} {}", self.count(phase)));
        write!(f, "{} kills fell in: {}", self.kills(), counts.join(", "))
    }
}

/// Kills so many times, and more often if some phase was not met, and says what each came to.
///
/// # Errors
/// The first thing that remains of a process, or if the next start fails.
pub fn run(machine: &mut VfioMachine, kills: u32, seed: u64) -> Result<Tally> {
    println!("kills at random instants, seed {seed}");
    let mut dice = Rng::with_seed(seed);
    let lengths = lengths(machine, &mut dice)?;
    next_start(machine)?;
    let before = Held::now(machine)?;
    a_living_process_is_seen(machine, &before, &mut dice)?;
    let mut tally = Tally::default();
    for wanted in Phase::ALL.into_iter().cycle().take(usize::try_from(kills)?) {
        kill_and_look(machine, &lengths, wanted, &before, &mut dice, &mut tally)?;
    }
    let mut lengths = lengths;
    for _ in 0..FURTHER_KILLS_MAX {
        let Some(wanted) = tally.missing() else { break };
        // They came too late for it.
        lengths.entry(wanted).and_modify(|length| *length /= 2);
        kill_and_look(machine, &lengths, wanted, &before, &mut dice, &mut tally)?;
    }
    if let Some(missed) = tally.missing() {
        bail!("no kill fell in the phase \"{missed}\": {tally}");
    }
    println!("{tally}");
    Ok(tally)
}

/// How long phases take here.
type Lengths = BTreeMap<Phase, Duration>;

/// Rounds that nobody disturbs. The first of them is slower than all later ones.
const UNDISTURBED: u32 = 3;

/// The shortest that each phase took.
fn lengths(machine: &mut VfioMachine, dice: &mut Rng) -> Result<Lengths> {
    let mut lengths = Lengths::new();
    let mut begun: Option<(Phase, Instant)> = None;
    let mut note = |next: Option<Phase>| {
        if let Some((phase, at)) = begun.take() {
            let took = at.elapsed();
            lengths.entry(phase).and_modify(|least| *least = took.min(*least)).or_insert(took);
        }
        begun = next.map(|phase| (phase, Instant::now()));
    };
    for _ in 0..UNDISTURBED {
        busy::round(machine, dice, &mut |phase| {
            note(Some(phase));
            Ok(())
        })?;
        note(None);
    }
    let told: Vec<String> =
        lengths.iter().map(|(phase, time)| format!("{phase} {time:.1?}")).collect();
    println!("undisturbed: {}", told.join(", "));
    Ok(lengths)
}

/// One kill, and what must be true after it.
fn kill_and_look(
    machine: &mut VfioMachine,
    lengths: &Lengths,
    wanted: Phase,
    before: &Held,
    dice: &mut Rng,
    tally: &mut Tally,
) -> Result<()> {
    let mut victim = Victim::start(dice.u64(..))?;
    let phases_before = dice.u64(0..=PHASES_BEFORE_MAX);
    victim.wait_for(wanted, phases_before)?;
    let length = lengths.get(&wanted).copied().unwrap_or_default();
    sleep(length.mul_f64(dice.f64()));
    let Progress { phases, phase } = victim.kill()?;
    *tally.fell_in.entry(phase).or_default() += 1;
    let number = tally.kills();
    let place = format!("kill {number}, while {phase}, the {phases}. phase");
    groups_are_free(machine).context(place.clone())?;
    let settled = settle(machine, before).context(place.clone())?;
    next_start(machine).with_context(|| format!("{place}: the next start"))?;
    settle(machine, before).with_context(|| format!("{place}: after the next start"))?;
    println!("{place}: all was given back after {settled:.1?}");
    Ok(())
}

/// What is looked for after a death is there as long as the process lives; or else nothing would ever be found.
fn a_living_process_is_seen(machine: &VfioMachine, before: &Held, dice: &mut Rng) -> Result<()> {
    let mut victim = Victim::start(dice.u64(..))?;
    victim.wait_for(Phase::Map, 0)?;
    let now = Held::now(machine)?;
    let Exact { pinned_pages, locked_kib, .. } = now.exact;
    ensure!(pinned_pages > before.exact.pinned_pages, "pinned memory is not seen: {now:?}");
    ensure!(locked_kib > before.exact.locked_kib, "locked memory is not seen: {now:?}");
    ensure!(now.is_no_more_than(before).is_err(), "a living process is not seen: {now:?}");
    ensure!(groups_are_free(machine).is_err(), "a group that is taken seems to be free");
    victim.kill()?;
    println!("a living process: {pinned_pages} pages pinned, {locked_kib} KiB locked");
    settle(machine, before).map(drop).context("after a first process was killed")
}

/// A busy process. It is killed at the latest when it is dropped.
struct Victim {
    process: Child,
    board: Board,
    path: PathBuf,
}

impl Victim {
    fn start(seed: u64) -> Result<Self> {
        let path = env::temp_dir().join("board");
        let _ = fs::remove_file(&path);
        let board = Board::create(&path)?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(BUSY).arg(seed.to_string()).arg(&path);
        let process = command.spawn().context("starting the busy process")?;
        let victim = Self { process, board, path };
        victim.give_way()?;
        Ok(victim)
    }

    /// There is one processor, and whoever waits for a phase has to get it before the phase is over.
    fn give_way(&self) -> Result<()> {
        let mut renice = Command::new("renice");
        renice.args(["-n", "19", "-p"]).arg(self.process.id().to_string());
        let status = renice.status().context("running renice")?;
        ensure!(status.success(), "renice: {status}");
        Ok(())
    }

    /// Waits until it begins the phase, not before so many others.
    fn wait_for(&mut self, wanted: Phase, phases_before: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(Progress { phases, phase }) = self.board.read()?
                && phases > phases_before
                && phase == wanted
            {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the busy process ended by itself: {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "the busy process never came to {wanted}");
            sleep(GLANCE);
        }
    }

    /// Kills it; how far it had come.
    fn kill(mut self) -> Result<Progress> {
        self.process.kill()?;
        let status: ExitStatus = self.process.wait()?;
        ensure!(status.signal() == Some(SIGKILL), "the busy process was not killed: {status}");
        self.board.read()?.context("it had not begun")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // One that is dead already cannot be killed, and that is well.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.path);
    }
}

/// Each group can be opened at once: a dead process's descriptors are closed before others learn of its death.
fn groups_are_free(machine: &VfioMachine) -> Result<()> {
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
fn settle(machine: &VfioMachine, before: &Held) -> Result<Duration> {
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
fn next_start(machine: &VfioMachine) -> Result<()> {
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

/// The busy process itself: rounds without end, each phase told on the board.
///
/// # Errors
/// Whatever fails; nothing should.
pub fn be_busy(machine: &mut VfioMachine, seed: u64, board: &Board) -> Result<()> {
    let mut dice = Rng::with_seed(seed);
    let mut phases = 0;
    loop {
        busy::round(machine, &mut dice, &mut |phase| {
            phases += 1;
            Ok(board.write(Progress { phases, phase })?)
        })?;
    }
}
