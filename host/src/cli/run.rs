//! `tce run`.

use std::{
    fs,
    str::FromStr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tce_engine::{lease::Timestamp, machine::Machine};
use tce_sim::SimMachine;
use tce_vfio::VfioMachine;

use crate::{
    decide::{Policies, metrics},
    exit::{Exit, Failure},
    job::Job,
    journal::{self, Durability, Journal},
    report::{self, Report},
    run::{self, Clock, Options, Stopped},
};

use super::{RunArgs, backend::Backend, policy::Isolation, print_json, print_text, progress::Bar};

/// The backend where neither the command line nor the job names one.
const DEFAULT_BACKEND: &str = "sim:powernv9";

pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let mut job = Job::read(&args.job)?;
    if !args.devices.is_empty() {
        job.devices.clone_from(&args.devices);
        job.groups.clear();
    }
    let backend = args.backend.clone().or_else(|| job.backend.clone());
    let backend = backend.unwrap_or_else(|| DEFAULT_BACKEND.to_owned());
    let (mut policies, policy_compiler) = args.policies.load(usual_isolation(&backend)?)?;
    if let Some(path) = &args.journal {
        let journal = Journal::open(path, args.journal_sync.0, journal::Limits::default())?;
        policies = policies.with_journal(journal);
    }
    let options =
        Options { policies: &policies, backend, policy_compiler, clock: &SystemClock::start() };
    let report = on_backend(&job, &options);
    tell_of_policies(&policies, args)?;
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print_text(&report::render(&report))?;
    }
    Ok(report.exit())
}

/// Where there are real devices, a policy is behind a second wall.
fn usual_isolation(backend: &str) -> Result<Isolation, Failure> {
    Ok(match backend.parse()? {
        Backend::Vfio => Isolation::Worker,
        Backend::Simulated(_) => Isolation::InProcess,
    })
}

/// What an operator should know of the policies, whatever came of the run.
fn tell_of_policies(policies: &Policies, args: &RunArgs) -> Result<(), Failure> {
    if let Some(trouble) = policies.journal_trouble() {
        anstream::eprintln!("note: not every decision is in the journal: {trouble}");
    }
    for (name, _, is_ejected) in policies.tallies() {
        if let Some(ejected) = policies.ejected(&name).filter(|_| is_ejected) {
            anstream::eprintln!("note: policy {name} was ejected: {}", ejected.why);
        }
    }
    let Some(path) = &args.metrics else { return Ok(()) };
    let tallies = policies.tallies();
    let list = tallies.iter().map(|(name, tally, out)| (name.as_str(), tally.clone(), *out));
    fs::write(path, metrics(list)).map_err(|error| {
        let what = format!("cannot write metrics to {}: {error}", path.display());
        Failure::new(Exit::Unexpected, what).with("name a file in a folder that can be written")
    })
}

/// When a journal's lines are safe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sync(Durability);

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "record" => Ok(Self(Durability::Record)),
            number => number
                .parse()
                .map(|span| Self(Durability::Interval(span)))
                .map_err(|_| "write `record` or a number of milliseconds".to_owned()),
        }
    }
}

fn on_backend(job: &Job, options: &Options<'_>) -> Result<Report, Failure> {
    match options.backend.parse()? {
        Backend::Vfio => on(job, &mut VfioMachine::open()?, options),
        Backend::Simulated(profile) => on(job, &mut SimMachine::new(*profile), options),
    }
}

fn on<M: Machine>(job: &Job, machine: &mut M, options: &Options<'_>) -> Result<Report, Failure> {
    run::run(job, machine, options, &Bar::new()).map_err(|stopped| {
        let Stopped { failure, decisions } = *stopped;
        for decision in decisions.iter().filter_map(|it| it.broken.as_ref().map(|why| (it, why))) {
            anstream::eprintln!("note: policy {} is broken: {}", decision.0.asked, decision.1);
        }
        failure
    })
}

/// This machine's time. It goes on even if somebody sets it back meanwhile.
struct SystemClock {
    start: u64,
    since: Instant,
}

impl SystemClock {
    fn start() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: millis(start), since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.start.saturating_add(millis(self.since.elapsed())))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
