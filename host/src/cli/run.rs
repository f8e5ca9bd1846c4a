//! `tce run`.

use std::time::{SystemTime, UNIX_EPOCH};

use tce_engine::{lease::Timestamp, machine::Machine};
use tce_sim::{Profile, SimMachine};
use tce_vfio::VfioMachine;

use crate::{
    decide::Policies,
    exit::{Exit, Failure},
    job::Job,
    report::{self, Report},
    run::{self, Options, Stopped},
};

use super::{RunArgs, policy, print_json, print_text, progress::Bar};

/// The backend where neither the command line nor the job names one.
const DEFAULT_BACKEND: &str = "sim:powernv9";

pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let mut job = Job::read(&args.job)?;
    if !args.devices.is_empty() {
        job.devices.clone_from(&args.devices);
        job.groups.clear();
    }
    let runtime = policy::runtime(args.policy_compiler.map(Into::into))?;
    let components = args.policies.iter().map(|file| policy::load(&runtime, file));
    let policies = Policies::new(components.collect::<Result<_, _>>()?)?;
    let backend = args.backend.clone().or_else(|| job.backend.clone());
    let options = Options {
        policies: &policies,
        backend: backend.unwrap_or_else(|| DEFAULT_BACKEND.to_owned()),
        policy_compiler: runtime.compiler().to_string(),
        now: now(),
    };
    let report = on_backend(&job, &options)?;
    if args.json {
        print_json(&report)?;
    } else {
        print_text(&report::render(&report))?;
    }
    Ok(exit_of(&report))
}

fn on_backend(job: &Job, options: &Options<'_>) -> Result<Report, Failure> {
    let backend = options.backend.as_str();
    let profile = match backend {
        "vfio" => {
            let mut machine = VfioMachine::open()?;
            return on(job, &mut machine, options);
        }
        "sim" => "powernv9",
        _ => backend.strip_prefix("sim:").unwrap_or_default(),
    };
    let Some(profile) = Profile::named(profile) else {
        let names = Profile::NAMES.join(", ");
        return Err(Failure::new(Exit::Usage, format!("there is no backend {backend:?}"))
            .with(format!("say vfio, or sim: and one of {names}")));
    };
    on(job, &mut SimMachine::new(profile), options)
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

fn exit_of(report: &Report) -> Exit {
    if !report.is_clean() {
        Exit::LeftBehind
    } else if report.had_broken_policy() {
        Exit::PolicyBroken
    } else {
        Exit::Done
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
