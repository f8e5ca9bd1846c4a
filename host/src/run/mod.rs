//! A run: a job, a machine, policies; from attaching the first group to taking the last thing down.

mod attach;
mod clock;
mod fallback;
mod grow;
mod leave;
mod live;
mod memory;
mod outcome;
mod plan;
mod script;
mod session;
mod terms;
mod windows;
mod words;
mod work;

use tce_engine::{Engine, addr::Bytes, machine::Machine};

pub use self::clock::Clock;

use crate::{
    decide::Policies,
    exit::{Exit, Failure},
    job::Job,
    question,
    report::{DecisionEntry, Report},
};

/// What a run is told beside its job.
pub struct Options<'a> {
    /// The policies.
    pub policies: &'a Policies,
    /// The backend's name, for the report.
    pub backend: String,
    /// How policies are executed, for the report.
    pub policy_compiler: String,
    /// What time it is. Leases with a duration end so much after the run's start, and put-off unmaps are made in time.
    pub clock: &'a dyn Clock,
}

/// Who wants to know how far a run is.
pub trait Progress {
    /// The script is about to begin; it has so many batches.
    fn begin(&self, batches: u64);
    /// One batch more is done.
    fn advance(&self);
    /// The script is over.
    fn end(&self);
}

/// Nobody wants to know.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _batches: u64) {}
    fn advance(&self) {}
    fn end(&self) {}
}

/// A run that came to no report, with the decisions that were made on the way.
#[derive(Debug)]
pub struct Stopped {
    /// Why.
    pub failure: Failure,
    /// What was decided until then.
    pub decisions: Vec<DecisionEntry>,
}

/// Runs a job. Whatever happens, everything is taken down again.
///
/// # Errors
/// What stopped it.
pub fn run<M: Machine>(
    job: &Job,
    machine: &mut M,
    options: &Options<'_>,
    progress: &dyn Progress,
) -> Result<Report, Box<Stopped>> {
    // A misspelt setting is found before anything is attached.
    let settings = question::settings(&job.settings);
    if let Err(error) = options.policies.check_settings(&settings) {
        return Err(Box::new(Stopped { failure: error.into(), decisions: Vec::new() }));
    }
    let mut memory = memory::Memory::default();
    let result = with_engine(job, machine, &mut memory, options, progress);
    let freed = memory.free(machine);
    let (report, decisions) = result?;
    match freed {
        Ok(()) => Ok(report),
        Err(error) => Err(Box::new(Stopped { failure: error.into(), decisions })),
    }
}

fn with_engine<M: Machine>(
    job: &Job,
    machine: &mut M,
    memory: &mut memory::Memory,
    options: &Options<'_>,
    progress: &dyn Progress,
) -> Result<(Report, Vec<DecisionEntry>), Box<Stopped>> {
    let stop = |failure, decisions| Box::new(Stopped { failure, decisions });
    let mut engine =
        Engine::open(machine.kernel()).map_err(|error| stop(error.into(), Vec::new()))?;
    engine = engine.with_limits(job.limits.clone());
    let mut decisions = Vec::new();
    let started = options.clock.now();
    let mut session =
        session::Session { job, engine: &mut engine, machine, memory, options, started };
    let result = session.go(&mut decisions, progress);
    // Also after a failure: nothing may be left behind.
    let closed = engine.close();
    match (result, closed) {
        (Ok(outcome), Ok(closed)) => {
            let report = outcome.report(job, options, decisions.clone(), &closed);
            Ok((report, decisions))
        }
        (Ok(_), Err(error)) => Err(stop(error.into(), decisions)),
        (Err(failure), Ok(closed)) => {
            let left = closed.locked.saturating_add(closed.pinned);
            let failure = if left.is_zero() { failure } else { with_leftovers(failure, left) };
            Err(stop(failure, decisions))
        }
        (Err(failure), Err(error)) => {
            let what = format!("{failure}; and taking down failed: {error}");
            Err(stop(Failure { what, ..failure }, decisions))
        }
    }
}

fn with_leftovers(failure: Failure, left: Bytes) -> Failure {
    let what = format!("{failure}; {left} stay locked that the kernel did not give back");
    Failure { what, exit: Exit::LeftBehind, ..failure }
}
