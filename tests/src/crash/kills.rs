//! Kills processes again and again, and looks for what remains of them: one that is busy with the engine, and every
//! second time `tce run` of a long job ([`runs`](super::runs)).
//!
//! The instants are random, but not blindly so. Of the busy process a phase that takes a millisecond would hardly ever be
//! met: each kill has a phase that it waits for, and comes at a random instant of the time that the phase takes. What
//! counts is the phase that it fell in. The kills of runs are spread over the time that a whole run takes.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tce_vfio::VfioMachine;

use super::{
    aftermath::{groups_are_free, look, next_start, settle},
    busy,
    held::{Exact, Held},
    phase::{Board, Phase, Progress},
    runs::{Place, Runs},
    victim::Victim,
};

/// Phases that the process passes before a kill waits for its own: up to the second round.
const PHASES_BEFORE_MAX: u64 = 9;
/// Kills that may come on top, for phases that none fell in.
const FURTHER_KILLS_MAX: u32 = 30;

/// What the kills came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    fell_in: BTreeMap<Phase, u32>,
    runs: u32,
    /// Runs that had memory locked.
    runs_with_memory: u32,
}

impl Tally {
    fn count(&self, phase: Phase) -> u32 {
        self.fell_in.get(&phase).copied().unwrap_or(0)
    }

    fn kills(&self) -> u32 {
        self.fell_in.values().sum::<u32>() + self.runs
    }

    fn missing(&self) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| self.count(*phase) == 0)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = Phase::ALL.map(|phase| format!("{phase} {}", self.count(phase)));
        let Self { runs, runs_with_memory, .. } = self;
        write!(f, "{} kills; of the busy process while {}; ", self.kills(), counts.join(", "))?;
        write!(f, "of tce run {runs}, {runs_with_memory} of them with memory locked")
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
    let runs = Runs::new(machine, &mut dice)?;
    next_start(machine)?;
    let before = Held::now(machine)?;
    a_living_process_is_seen(machine, &before, &mut dice)?;
    let mut killer = Killer { machine, lengths, runs, before, dice, tally: Tally::default() };
    killer.kill_all(kills)?;
    let tally = killer.tally;
    println!("{tally}");
    Ok(tally)
}

/// Who kills, and what is known by then.
struct Killer<'m> {
    machine: &'m VfioMachine,
    lengths: Lengths,
    runs: Runs,
    before: Held,
    dice: Rng,
    tally: Tally,
}

impl Killer<'_> {
    fn kill_all(&mut self, kills: u32) -> Result<()> {
        let runs = kills / 2;
        let mut phases = Phase::ALL.into_iter().cycle();
        for number in 0..kills {
            match number % 2 {
                1 => self.kill_run(number / 2, runs)?,
                _ => phases.next().map_or(Ok(()), |wanted| self.kill_busy(wanted))?,
            }
        }
        for _ in 0..FURTHER_KILLS_MAX {
            let Some(wanted) = self.tally.missing() else { break };
            // They came too late for it.
            self.lengths.entry(wanted).and_modify(|length| *length /= 2);
            self.kill_busy(wanted)?;
        }
        if let Some(missed) = self.tally.missing() {
            bail!("no kill fell in the phase \"{missed}\": {}", self.tally);
        }
        ensure!(
            runs == 0 || self.tally.runs_with_memory > 0,
            "no run was killed while it had memory locked: {}",
            self.tally
        );
        Ok(())
    }

    /// Kills the busy process in a phase, or soon after it.
    fn kill_busy(&mut self, wanted: Phase) -> Result<()> {
        let mut victim = Victim::start(self.dice.u64(..))?;
        let phases_before = self.dice.u64(0..=PHASES_BEFORE_MAX);
        victim.wait_for(wanted, phases_before)?;
        let length = self.lengths.get(&wanted).copied().unwrap_or_default();
        sleep(length.mul_f64(self.dice.f64()));
        let Progress { phases, phase } = victim.kill()?;
        *self.tally.fell_in.entry(phase).or_default() += 1;
        self.look(&format!("while {phase}, the {phases}. phase"))
    }

    /// Kills `tce run` in one of so many parts of its time.
    fn kill_run(&mut self, part: u32, parts: u32) -> Result<()> {
        let at = (f64::from(part) + self.dice.f64()) / f64::from(parts);
        let Place { hundredths, locked_kib } = self.runs.kill_one(at, &mut self.dice)?;
        self.tally.runs += 1;
        self.tally.runs_with_memory += u32::from(locked_kib > 0);
        self.look(&format!("tce run at {hundredths}% of its time, {locked_kib} KiB locked"))
    }

    /// What must be true after a kill.
    fn look(&self, how: &str) -> Result<()> {
        let place = format!("kill {}, {how}", self.tally.kills());
        let settled = look(self.machine, &self.before).context(place.clone())?;
        println!("{place}: all was given back after {settled:.1?}");
        Ok(())
    }
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
