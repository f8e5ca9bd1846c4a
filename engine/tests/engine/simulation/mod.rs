//! Random operations over random faults: after each step the engine, the simulated hardware and what was wished agree.
//!
//! A run is one machine with one seed. `TCE_STEPS` says how many steps all runs of a test take together; `TCE_SEED` and
//! `TCE_PROFILE` play one run, of that many steps. A run that fails prints the line that plays it alone, no further
//! than to the step that failed.
//!
//! Parts: `run` (the run), `operations` (what a step does), `faults` (what fails), `kernel`, `watch` and `order` (what is
//! seen of the calls), `model` (what was wished), `guest` (what a guest of KVM's has set by itself), `news` (what must be
//! told), `check` (what must hold), `sights` (what must have happened), `canary` (lies that must be found).

mod canary;
mod check;
mod faults;
mod guest;
mod kernel;
mod model;
mod news;
mod operations;
mod order;
mod run;
mod sights;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tce_engine::kernel::Platform;
use tce_sim::Profile;

pub(crate) use self::run::must_make_no_call;
use self::{canary::Canary, run::Run, sights::Sights};

/// Steps of each of the two tests.
const STEPS: u64 = 100_000;
/// Steps of a run: what leaks and what ends for good leaves less and less to do on one machine.
const RUN_STEPS: u64 = 500;
const POWERNV: [&str; 5] = ["powernv8", "powernv9", "powernv9-64k", "powernv10", "powernv10-64k"];
/// `-small` is a partition whose firmware has small windows only.
const PSERIES: [&str; 4] = ["pseries", "pseries-64k", "pseries-small", "pseries-64k-small"];
/// The most TCEs of a dynamic window where the firmware has little.
const SMALL_TCES: u64 = 1 << 6;

fn profile(name: &str) -> Profile {
    let profile = Profile::named(name.trim_end_matches("-small")).expect("it is a known name");
    if name.ends_with("-small") {
        return Profile { largest_window_tces: SMALL_TCES, ..profile };
    }
    profile
}

/// What a run came to.
#[derive(Default)]
struct Played {
    /// Steps that did what they were to do.
    done: u64,
    sights: Sights,
}

fn play(name: &str, seed: u64, steps: u64, canary: Option<Canary>) -> Result<Played, Failure> {
    let mut run = Run::new(profile(name), seed, canary);
    for step in 1..=steps {
        let played = catch_unwind(AssertUnwindSafe(|| run.play_step()));
        if let Err(panic) = played {
            return Err(Failure { step, told: run.told(), panic });
        }
    }
    let played = Played { done: run.done, sights: std::mem::take(&mut run.sights) };
    let ended = catch_unwind(AssertUnwindSafe(|| run.end()));
    ended.map_err(|panic| Failure { step: steps, told: "the end".to_owned(), panic })?;
    Ok(played)
}

struct Failure {
    step: u64,
    told: String,
    panic: Box<dyn std::any::Any + Send>,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn play_or_tell(name: &str, seed: u64, steps: u64) -> Played {
    play(name, seed, steps, None).unwrap_or_else(|Failure { step, told, panic }| {
        let line = format!("TCE_PROFILE={name} TCE_SEED={seed} TCE_STEPS={step}");
        eprintln!("its last steps: {told}");
        eprintln!("replay: {line} cargo test --release -p tce-engine --test engine simulation");
        resume_unwind(panic)
    })
}

/// Plays the run that the environment names, if it is of these profiles, or all.
fn simulate(platform: Platform, profiles: &[&str]) {
    let steps = number("TCE_STEPS").unwrap_or(STEPS);
    let only = std::env::var("TCE_PROFILE").ok();
    let names = profiles.iter().filter(|name| only.as_deref().is_none_or(|it| it == **name));
    if let Some(seed) = number("TCE_SEED") {
        for name in names {
            play_or_tell(name, seed, steps);
        }
        return;
    }
    let runs = steps.div_ceil(RUN_STEPS);
    let named: Vec<&&str> = names.collect();
    let mut all = Played::default();
    for (run, name) in (0..runs).zip(named.iter().cycle()) {
        let played = play_or_tell(name, 1 + run, RUN_STEPS);
        all.done += played.done;
        all.sights.join(played.sights);
    }
    if only.is_none() && steps >= STEPS {
        println!("{platform:?}: {} of {steps} steps did something; {:?}", all.done, all.sights);
        assert!(all.done > steps / 3, "{} of {steps} steps did something", all.done);
        all.sights.assert_all(platform);
    }
}

#[test]
fn random_operations_under_random_faults_never_part_engine_and_hardware() {
    simulate(Platform::Powernv, &POWERNV);
}

#[test]
fn random_operations_under_random_faults_never_part_engine_and_hardware_in_a_partition() {
    simulate(Platform::Pseries, &PSERIES);
}
