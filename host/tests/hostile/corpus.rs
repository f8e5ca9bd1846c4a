//! The corpus in `plugins/hostile/corpus`: what comes of each of its components, on both compilers.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use tce_host::policy::{
    Answer, Broken, Evaluation, Evaluator, Limits, LoadError, LoadedPolicy, Question, Runtime,
    wit::PageChoice,
};

use crate::{
    questions::page_question,
    support::{Neighbour, assembled, corpus, framed, runtimes, text},
};

mod table;

use table::{FRAMED, SETTINGS, WHOLE};

/// How long a decision may take on a busy machine. Burning the whole budget takes some 20 ms on an idle one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What comes of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// Its answer: page 16 for the regions 1 and 2.
    Answer,
    /// Another answer, which a test of its own looks at.
    OtherAnswer,
    /// It breaks: the kind, and a part of what is said of it.
    Broken(&'static str, &'static str),
    /// It is not loaded: how the error is called, and a part of what is said of it.
    NotLoaded(&'static str, &'static str),
}

/// The kind of a breakage, as reports and journals name it.
fn kind(broken: &Broken) -> String {
    let value = serde_json::to_value(broken).expect("JSON");
    value["kind"].as_str().expect("a kind").to_owned()
}

fn load(runtime: &Runtime, name: &str, bytes: &[u8]) -> Result<LoadedPolicy, LoadError> {
    LoadedPolicy::from_bytes(runtime, name, bytes, Limits::default())
}

fn ask(policy: &LoadedPolicy) -> Evaluation {
    policy.evaluate(&Question::SelectPages(page_question(vec![])))
}

/// A framed component that loads, asked once.
fn evaluation(runtime: &Runtime, name: &str) -> Evaluation {
    ask(&load(runtime, name, &framed(name, &text("framed", name))).expect(name))
}

/// Loads it, asks it, holds what came of it against what should, and says it in words.
fn outcome(runtime: &Runtime, name: &str, bytes: &[u8], expected: Expected) -> String {
    let started = Instant::now();
    let policy = match load(runtime, name, bytes) {
        Ok(policy) => policy,
        Err(error) => {
            let (Expected::NotLoaded(which, says), debug) = (expected, format!("{error:?}")) else {
                panic!("{name} is not loaded: {error}")
            };
            let message = error.to_string();
            assert!(debug.starts_with(which), "{name}: {which} expected, and not {debug}");
            assert!(message.contains(says), "{name}: {message}");
            assert!(!message.contains(|it: char| it.is_control() || !it.is_ascii()), "{message:?}");
            return message;
        }
    };
    let evaluation = ask(&policy);
    let took = started.elapsed();
    assert!(took < PATIENCE, "{name} took {took:?}");
    assert!(evaluation.fuel <= Some(Limits::default().fuel), "{name}: {:?}", evaluation.fuel);
    match (expected, &evaluation.result) {
        (Expected::Answer, Ok(Answer::Pages(pages))) => {
            assert_eq!(*pages, [PageChoice { page: 16, regions: vec![1, 2] }], "{name}");
        }
        (Expected::OtherAnswer, Ok(_)) => {}
        (Expected::Broken(which, says), Err(broken)) => {
            assert_eq!(kind(broken), which, "{name}: {broken}");
            assert!(broken.to_string().contains(says), "{name}: {broken}");
        }
        (_, result) => panic!("{name}: {expected:?}, and not {result:?}"),
    }
    format!("{evaluation:?}")
}

/// Every component of a folder, on every compiler: the same comes of it, and the neighbour is right after it.
fn run(folder: &str, table: &[(&str, Expected)], component: impl Fn(&str) -> Vec<u8>) {
    let runtimes: Vec<(Runtime, Neighbour)> = runtimes()
        .into_iter()
        .map(|runtime| (runtime.clone(), Neighbour::beside(&runtime)))
        .collect();
    let one = |name: &str, expected: Expected| {
        let bytes = component(name);
        let mut outcomes = BTreeSet::new();
        for (runtime, neighbour) in &runtimes {
            outcomes.insert(outcome(runtime, name, &bytes, expected));
            neighbour.is_right(name);
        }
        assert_eq!(outcomes.len(), 1, "{folder}/{name} depends on the compiler: {outcomes:#?}");
    };
    // All of them, so that one failure hides no other.
    let fails = |(name, expected): &&(&str, Expected)| {
        catch_unwind(AssertUnwindSafe(|| one(name, *expected))).is_err()
    };
    let failed: Vec<&str> = table.iter().filter(fails).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn each_core_module_of_the_corpus_is_contained_and_named() {
    run("framed", &FRAMED, |name| framed(name, &text("framed", name)));
}

#[test]
fn each_component_of_the_corpus_is_refused_and_named() {
    run("whole", &WHOLE, |name| assembled(name, &text("whole", name)));
}

#[test]
fn the_corpus_and_its_tables_list_the_same() {
    for (folder, table) in [("framed", &FRAMED[..]), ("whole", &WHOLE[..])] {
        let files = fs::read_dir(corpus(folder)).expect("the corpus");
        let files: BTreeSet<String> = files
            .map(|file| file.expect("a file").path())
            .map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        let listed = table.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(listed.collect::<BTreeSet<_>>(), files, "{folder}");
    }
}

#[test]
fn settings_that_cannot_be_told_break_only_what_asks_for_them() {
    for runtime in runtimes() {
        for (name, describes, validates) in SETTINGS {
            let bytes = framed(name, &text("framed", name));
            let policy = load(&runtime, name, &bytes).expect(name);
            let described = policy.describe_settings().map_err(|broken| kind(&broken));
            let described = described.map(|all| all.expect("it has settings").len());
            assert_eq!(described, describes.map_err(str::to_owned), "{name}");
            let validated = policy.validate_settings(&[]).map_err(|broken| kind(&broken));
            assert_eq!(validated.map(|all| all.len()), validates.map_err(str::to_owned), "{name}");
            assert!(ask(&policy).result.is_ok(), "{name}");
        }
    }
}

#[test]
fn of_a_flood_of_lines_a_few_are_kept_and_the_others_counted() {
    for runtime in runtimes() {
        let log = evaluation(&runtime, "log-flood").log;
        assert_eq!((log.lines.len(), log.dropped), (32, 50_000 - 32));
        let log = evaluation(&runtime, "log-line-long").log;
        assert_eq!((log.lines.len(), log.lines[0].text.len(), log.dropped), (1, 1_000, 0));
        let log = evaluation(&runtime, "log-flood-of-long-lines").log;
        assert!(log.lines.iter().all(|line| line.text.len() <= 1_000));
    }
}

#[test]
fn what_a_policy_says_cannot_command_a_terminal() {
    for runtime in runtimes() {
        let Ok(Answer::Refused(refusal)) = evaluation(&runtime, "text-of-terminal-codes").result
        else {
            panic!("a refusal")
        };
        assert!(refusal.detail.ends_with("fine!"), "{:?}", refusal.detail);
        assert!(!refusal.detail.contains(char::is_control), "{:?}", refusal.detail);
        let log = evaluation(&runtime, "log-line-of-terminal-codes").log;
        assert_eq!(log.lines[0].text, "a\u{fffd}\u{fffd}\u{fffd}[31mb!");
    }
}

#[test]
fn the_bits_of_what_is_no_number_are_the_same_everywhere() {
    for runtime in runtimes() {
        let Ok(Answer::Pages(pages)) = evaluation(&runtime, "nan-bits").result else {
            panic!("an answer")
        };
        const NAN: u32 = 0x7fc0_0000;
        assert_eq!(pages[0].regions, [NAN, NAN, NAN, NAN, NAN, 0, 0x7ff8_0000, NAN]);
    }
}
