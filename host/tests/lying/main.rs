//! A policy that lies, in the simulation: real jobs, whose every question is answered with what is valid, almost valid or
//! absurd. What the engine does stays right.
//!
//! `TCE_LYING_RUNS=20000` tries more of them, `TCE_LYING_SEED=17` that one alone.

mod jobs;
mod liar;
mod lies;
mod watched;

use std::{
    collections::BTreeMap,
    env,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tce_engine::lease::Timestamp;
use tce_host::{
    decide::{EjectionRule, Member, Policies},
    exit::Exit,
    policy::Evaluator,
    report::{DecisionEntry, Outcome, Report},
    run::{Clock, Options, Silent, Stopped, run},
};
use tce_sim::SimMachine;
use tce_trace::event::Event;

use jobs::Case;
use liar::{Liar, NAME, Parrot, Told, Truth};
use watched::Watched;

/// How many runs there are in the usual test run.
const RUNS: u64 = 2_000;

/// A clock that goes on by so much each time somebody looks at it.
struct Ticking {
    now: AtomicU64,
    step: u64,
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.fetch_add(self.step, Ordering::Relaxed))
    }
}

/// What came of a run.
struct Ran {
    decisions: Vec<DecisionEntry>,
    /// `None` if it came to its end.
    stopped: Option<(Exit, String)>,
    /// The kernel calls.
    events: Vec<Event>,
}

fn run_with(case: &Case, policy: Box<dyn Evaluator>) -> Ran {
    let mut machine = Watched::new(SimMachine::new(case.profile.clone()));
    let member = Member::new(policy.into()).expect("it tells of no settings");
    let never = EjectionRule { failures: 0, ..EjectionRule::default() };
    let policies = Policies::of(vec![member]).expect("one policy").with_ejection(never);
    let clock = Ticking { now: AtomicU64::new(1_000_000), step: case.step_ms };
    let options = Options {
        policies: &policies,
        backend: "sim".to_owned(),
        policy_compiler: "none".to_owned(),
        clock: &clock,
    };
    let result: Result<Report, Box<Stopped>> = run(&case.job, &mut machine, &options, &Silent);
    let events = machine.at_the_end();
    match result {
        Ok(report) => {
            assert_eq!(report.locked.left_behind, 0, "left behind");
            Ran { decisions: report.decisions, stopped: None, events }
        }
        Err(stopped) => {
            let Stopped { failure, decisions } = *stopped;
            Ran { decisions, stopped: Some((failure.exit, failure.what)), events }
        }
    }
}

/// Which answers were carried out: an answer that passes, and no other.
fn check_verdicts(told: &[Told], decisions: &[DecisionEntry]) {
    assert_eq!(told.len(), decisions.len(), "a decision for each answer");
    for (told, entry) in told.iter().zip(decisions) {
        assert_eq!(entry.asked, NAME);
        let was_rejected = entry.broken.is_some();
        match told.truth {
            Truth::True => assert!(!was_rejected, "{told:?} is right, and {entry:?}"),
            Truth::Lie => assert!(was_rejected, "{told:?} is a lie, and {entry:?}"),
            Truth::Perhaps => {}
        }
        assert_eq!(entry.decided_by == NAME, !was_rejected, "{entry:?}");
        let refused = told.is_refusal() && !was_rejected;
        assert!(!refused || entry.outcome == Outcome::Denied, "{told:?}: {entry:?}");
    }
}

/// A lying policy may make a run fail, and not in a way that says that somebody else was wrong.
fn check_end(ran: &Ran) {
    if let Some((exit, what)) = &ran.stopped {
        // The machine: a device that cannot be reset keeps a second holder out.
        let allowed = [Exit::Denied, Exit::Job, Exit::LockedMemory, Exit::Machine];
        assert!(allowed.contains(exit), "{exit:?}: {what}");
    }
}

/// One run, and the same with a policy that breaks where this one lied.
fn one(seed: u64, tally: &mut BTreeMap<String, u64>) {
    let _repeat = Repeat(seed);
    let case = Case::of(seed);
    let liar = Liar::new(seed);
    let told = liar.told();
    let ran = run_with(&case, Box::new(liar));
    let told = told.lock().expect("nobody panicked");
    check_verdicts(&told, &ran.decisions);
    check_end(&ran);

    let rejected: Vec<bool> = ran.decisions.iter().map(|entry| entry.broken.is_some()).collect();
    let answers = told.iter().zip(&rejected).map(|(told, rejected)| told.unless(*rejected));
    let parrot = run_with(&case, Box::new(Parrot::new(answers.collect())));
    assert_eq!(parrot.events, ran.events, "a rejected answer reached the kernel");
    assert_eq!(parrot.stopped, ran.stopped);

    for (told, entry) in told.iter().zip(&ran.decisions) {
        let verdict = if entry.broken.is_some() { "rejected" } else { "accepted" };
        *tally.entry(format!("{}: {} {verdict}", told.function, told.what)).or_default() += 1;
    }
    let end = ran.stopped.map_or_else(|| "done".to_owned(), |(exit, _)| format!("{exit:?}"));
    *tally.entry(format!("run: {end}")).or_default() += 1;
}

/// Says which seed it was if a run fails.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if thread::panicking() {
            let seed = self.0;
            eprintln!(
                "seed {seed} failed; alone: TCE_LYING_SEED={seed} cargo test --release -p tce-host --test lying"
            );
        }
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().ok().unwrap_or_else(|| panic!("{name}={value} is no number")))
}

#[test]
fn whatever_a_policy_answers_the_engine_stays_right() {
    let alone: Option<u64> = setting("TCE_LYING_SEED");
    let seeds = alone.map_or(0..setting("TCE_LYING_RUNS").unwrap_or(RUNS), |it| it..it + 1);
    let mut tally = BTreeMap::new();
    for seed in seeds.clone() {
        one(seed, &mut tally);
    }
    println!("runs {seeds:?}: {tally:#?}");
    if alone.is_none() {
        // Each question was answered with a lie and with the truth; otherwise this shows nothing.
        for function in tce_host::policy::Function::ALL {
            for verdict in ["rejected", "accepted"] {
                let counted = tally.iter().filter(|(what, _)| {
                    what.starts_with(&format!("{function}: ")) && what.ends_with(verdict)
                });
                let count: u64 = counted.map(|(_, count)| count).sum();
                assert!(count >= 10, "{function} {verdict}: {count}");
            }
        }
        assert!(tally.get("run: done").is_some_and(|done| *done >= seeds.end / 4));
    }
}

#[test]
fn a_run_without_lies_is_as_with_the_built_in_policy() {
    for seed in 0..100 {
        let case = Case::of(seed);
        let honest = run_with(&case, Box::new(Liar::honest()));
        let built_in = run_with(&case, Box::new(Parrot::new(Vec::new())));
        assert_eq!(honest.events, built_in.events, "seed {seed}");
        assert_eq!(honest.stopped, built_in.stopped, "seed {seed}");
    }
}

/// What is shared with a policy that the run owns.
type Shared<T> = Arc<std::sync::Mutex<T>>;
