//! Runs through the library, on a simulated machine that can be looked at afterwards.

use std::path::Path;

use tce_engine::lease::Timestamp;
use tce_host::{
    decide::Policies,
    exit::Exit,
    job::Job,
    policy::{Compiler, Limits, LoadedPolicy, Runtime},
    report::Report,
    run::{self, Clock, Options, Silent, Stopped},
};
use tce_sim::SimMachine;

use super::plugin;

/// What came of a run.
pub(crate) struct Ran(pub(crate) Result<Report, Box<Stopped>>);

/// Runs a job on a machine with the named plugins. Whatever comes of it, nothing may be left on the machine.
#[track_caller]
pub(crate) fn run_on(machine: &SimMachine, job: &str, plugins: &[&str]) -> Ran {
    run_at(machine, job, plugins, &Timestamp(0))
}

/// The same by a clock.
#[track_caller]
pub(crate) fn run_at(machine: &SimMachine, job: &str, plugins: &[&str], clock: &dyn Clock) -> Ran {
    let job = Job::new(toml::from_str(job).expect("a job")).expect("a job that makes sense");
    let runtime = Runtime::new(Compiler::default()).expect("the default compiler");
    let load = |name: &&str| {
        LoadedPolicy::from_file(&runtime, Path::new(&plugin(name)), Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let policies = Policies::new(plugins.iter().map(load).collect());
    let options = Options {
        policies: &policies.expect("one policy for each point"),
        backend: "sim".to_owned(),
        policy_compiler: "default".to_owned(),
        clock,
    };
    let result = run::run(&job, &mut machine.clone(), &options, &Silent);
    let left = machine.left_behind();
    let why = result.as_ref().err().map(|stopped| stopped.failure.to_string());
    assert!(left.is_nothing(), "left behind after {why:?}: {left:#?}");
    assert_eq!(machine.host_corruption(), None, "after {why:?}");
    Ran(result)
}

impl Ran {
    /// It was stopped like this, with an error with these words and a remedy with those.
    #[track_caller]
    pub(crate) fn refused(self, exit: Exit, says: &[&str], help: &str) -> Box<Stopped> {
        let Err(stopped) = self.0 else { panic!("it ran") };
        let failure = &stopped.failure;
        assert_eq!(failure.exit, exit, "{failure}");
        for words in says {
            assert!(failure.what.contains(words), "{words:?} in {failure}");
        }
        let remedy = failure.remedy.as_deref().unwrap_or_default();
        assert!(remedy.contains(help), "{help:?} in {remedy:?} of {failure}");
        stopped
    }
}
