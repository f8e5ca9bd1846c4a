//! Components that `wasm-smith` makes from seeds. Whatever comes of one: no panic, no hang, no more memory than there may
//! be, the same on every compiler.
//!
//! `TCE_SMITH_SEEDS=10000` tries more of them, `TCE_SMITH_SEED=17` that one alone.

use std::{
    collections::BTreeMap,
    env, fs,
    panic::resume_unwind,
    str::FromStr,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tce_host::policy::{
    Broken, Digest, Evaluation, Evaluator, Limits, LoadedPolicy, Question, Runtime,
};

use crate::{
    questions,
    support::{Neighbour, runtimes},
};

mod forge;

use forge::Forge;

/// How many seeds are tried in the usual test run.
const SEEDS: u64 = 500;

/// No component takes this long to be loaded and asked everything, on both compilers of a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most resident memory of the process: the tests beside this one have a component of 50 MB twice in theirs.
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

/// What burning a budget may take: there are thousands of components, with seven questions each.
const FUEL: u64 = 200_000;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().ok().unwrap_or_else(|| panic!("{name}={value} is no number")))
}

/// The most memory that was resident, so far.
fn resident_bytes_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// How a question ended, for counting.
fn ending(evaluation: &Evaluation) -> &'static str {
    match &evaluation.result {
        Ok(_) => "answer",
        Err(Broken::Trap { .. }) => "trap",
        Err(Broken::OutOfFuel { .. }) => "out of fuel",
        Err(Broken::OutOfStack { .. }) => "out of stack",
        Err(Broken::OutOfMemory { .. }) => "out of memory",
        Err(Broken::Malformed { .. }) => "malformed",
        Err(Broken::TooMuchData { .. }) => "too much data",
        Err(Broken::NotImplemented { .. }) => "not implemented",
        Err(Broken::Instantiation { .. } | Broken::Timeout { .. } | Broken::WorkerDied { .. }) => {
            "other"
        }
    }
}

/// What came of a component: why it is no policy, or what it said to each question.
#[derive(Debug, PartialEq)]
enum Fate {
    Refused { which: String, message: String },
    Asked(Vec<Evaluation>),
}

impl Fate {
    fn of(runtime: &Runtime, component: &[u8], questions: &[Question]) -> Self {
        let limits = Limits { fuel: FUEL, ..Limits::default() };
        let policy = match LoadedPolicy::from_bytes(runtime, "forged", component, limits) {
            Ok(policy) => policy,
            Err(error) => {
                let which = format!("{error:?}");
                let which = which.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
                return Self::Refused { which, message: error.to_string() };
            }
        };
        let asked: Vec<Evaluation> = questions.iter().map(|it| policy.evaluate(it)).collect();
        for evaluation in &asked {
            assert!(evaluation.fuel <= Some(FUEL), "{:?} fuel", evaluation.fuel);
        }
        // A fresh store each time: what a question left in it is not there when the next one is asked.
        let again: Vec<Evaluation> = questions.iter().map(|it| policy.evaluate(it)).collect();
        assert_eq!(again, asked, "asked twice");
        Self::Asked(asked)
    }

    fn endings(&self) -> Vec<String> {
        match self {
            Self::Refused { which, .. } => vec![format!("not loaded: {which}")],
            Self::Asked(asked) => asked.iter().map(|it| ending(it).to_owned()).collect(),
        }
    }

    /// How deep calls can go is the one thing that depends on the compiler: its frames are what fills the stack.
    fn touched_the_stack(&self) -> bool {
        self.endings().iter().any(|it| it == "out of stack" || it.contains("DoesNotStart"))
    }
}

/// Says which seed it was if the work on it panics.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "seed {0} failed; alone: TCE_SMITH_SEED={0} cargo test --release -p tce-host --test hostile smith",
                self.0
            );
        }
    }
}

struct Trial {
    forge: Forge,
    neighbours: Vec<(Runtime, Neighbour)>,
    questions: Vec<Question>,
    endings: BTreeMap<String, u64>,
    /// Whether to say all that came of a component.
    tells: bool,
}

impl Trial {
    fn new(tells: bool) -> Self {
        let neighbours = runtimes().into_iter().map(|it| (it.clone(), Neighbour::beside(&it)));
        Self {
            forge: Forge::new(),
            neighbours: neighbours.collect(),
            questions: questions::ordinary().to_vec(),
            endings: BTreeMap::new(),
            tells,
        }
    }

    fn one(&mut self, seed: u64) {
        let _repeat = Repeat(seed);
        let component = self.forge.component(seed);
        let mut fates = Vec::new();
        for (runtime, neighbour) in &self.neighbours {
            fates.push(Fate::of(runtime, &component, &self.questions));
            neighbour.is_right("a forged component");
        }
        if self.tells {
            println!("{fates:#?}");
        }
        for ending in fates[0].endings() {
            *self.endings.entry(ending).or_default() += 1;
        }
        if !fates.iter().any(Fate::touched_the_stack) {
            assert!(fates.iter().all(|it| *it == fates[0]), "the compilers differ: {fates:#?}");
        }
        let resident = resident_bytes_max();
        assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
    }
}

#[test]
fn what_wasm_smith_makes_neither_panics_nor_hangs_nor_takes_too_much() {
    let alone: Option<u64> = setting("TCE_SMITH_SEED");
    let seeds = alone.map_or(0..setting("TCE_SMITH_SEEDS").unwrap_or(SEEDS), |it| it..it + 1);
    let (begins, begun) = mpsc::channel();
    let all = seeds.clone();
    let worker = thread::spawn(move || {
        let mut trial = Trial::new(alone.is_some());
        for seed in all {
            begins.send(seed).expect("somebody waits");
            trial.one(seed);
        }
        trial.endings
    });
    let mut last = None;
    loop {
        match begun.recv_timeout(PATIENCE) {
            Ok(seed) => last = Some(seed),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("seed {last:?} has no end"),
        }
    }
    let endings = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
    println!("seeds {seeds:?}, {} MiB resident at most: {endings:#?}", resident_bytes_max() >> 20);
    if alone.is_none() {
        // Otherwise all of them ended at the door, and this test shows nothing.
        for needed in ["answer", "trap", "out of fuel", "malformed", "not loaded: Compile"] {
            assert!(endings.get(needed).is_some_and(|count| *count >= 5), "{needed}: {endings:#?}");
        }
    }
}

#[test]
fn a_seed_makes_the_same_component_each_time() {
    let forge = Forge::new();
    for seed in 0..8 {
        assert_eq!(
            Digest::of(&forge.component(seed)),
            Digest::of(&Forge::new().component(seed)),
            "{seed}"
        );
    }
}
