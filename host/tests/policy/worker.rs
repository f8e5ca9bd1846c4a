//! A policy in a process of its own answers as it does here, has nothing, and may die at any time.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tce_engine::lease::Timestamp;
use tce_host::{
    decide::{Decided, EjectionRule, Member, Policies, Verdict},
    policy::{
        Broken, Compilation, Compiler, Evaluator, Limits, LoadError, Program, Question, Runtime,
        WorkerPolicy, ask, wit::PageChoice,
    },
};

use crate::support::{
    compilers, plugin, plugin_file,
    questions::{admit_question, misbehave, page_question, window_question},
};

fn runtime(compiler: Compiler, program: Program) -> Runtime {
    Runtime::new(compiler).expect("available").compiling_by(Compilation::new(program))
}

fn program() -> Program {
    Program::at(PathBuf::from(env!("CARGO_BIN_EXE_tce")))
}

fn worker_within(compiler: Compiler, name: &str, limits: Limits) -> WorkerPolicy {
    WorkerPolicy::from_file(&runtime(compiler, program()), &plugin_file(name), limits)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn worker(name: &str) -> WorkerPolicy {
    worker_within(Compiler::default(), name, Limits::default())
}

fn kill(id: u32) {
    let status = Command::new("kill").args(["-KILL", &id.to_string()]).status().expect("kill");
    assert!(status.success());
}

#[test]
fn a_worker_answers_as_this_process_does_down_to_the_fuel() {
    for compiler in compilers() {
        for name in ["tight", "hostile"] {
            let (here, there) =
                (plugin(compiler, name), worker_within(compiler, name, Limits::default()));
            assert_eq!(there.identity(), here.identity());
            assert_eq!(there.interfaces(), here.interfaces());
            assert_eq!(there.describe_settings(), here.describe_settings());
            let settings = misbehave("nonsense");
            assert_eq!(there.validate_settings(&settings), here.validate_settings(&settings));
            for question in [
                Question::SelectPages(page_question(vec![])),
                Question::SizeWindows(window_question(vec![])),
                Question::Admit(admit_question(vec![])),
            ] {
                assert_eq!(there.answers(question.function()), here.answers(question.function()));
                assert_eq!(there.evaluate(&question), here.evaluate(&question), "{name}");
            }
        }
    }
}

#[test]
fn each_misbehaviour_has_the_name_that_it_has_here_and_the_worker_lives() {
    let (here, there) = (plugin(Compiler::default(), "hostile"), worker("hostile"));
    let id = there.process_id();
    for how in ["trap", "loop", "eat-memory", "recurse", "huge-list", "huge-refusal", "refuse"] {
        let question = Question::SelectPages(page_question(misbehave(how)));
        assert_eq!(there.evaluate(&question), here.evaluate(&question), "{how}");
    }
    assert_eq!(there.process_id(), id);
}

#[test]
fn whenever_a_worker_is_killed_each_question_is_answered_or_told_to_be_lost() {
    let policy = worker("tight");
    let question = Question::SelectPages(page_question(vec![]));
    let expected = policy.evaluate(&question);
    let (mut answered, mut lost) = (0, 0);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_each(&policy, 100));
        while !killer.is_finished() {
            match policy.evaluate(&question) {
                same if same == expected => answered += 1,
                other => {
                    assert!(matches!(other.result, Err(Broken::WorkerDied { .. })), "{other:?}");
                    lost += 1;
                }
            }
        }
    });
    assert!(answered > 0 && lost > 0, "{answered} answered, {lost} lost");
    // After the last death it may have to wait.
    let until = Instant::now() + Duration::from_secs(60);
    while policy.evaluate(&question) != expected {
        assert!(Instant::now() < until, "it comes back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills processes of a policy one after the other, as soon as each is seen.
fn kill_each(policy: &WorkerPolicy, times: usize) {
    let mut killed = Vec::new();
    while killed.len() < times {
        match policy.process_id().filter(|id| killed.last() != Some(id)) {
            Some(id) => {
                kill(id);
                killed.push(id);
            }
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

#[test]
fn every_decision_is_made_while_its_worker_is_killed_again_and_again() {
    let policy = Arc::new(worker("tight"));
    let member = Member::new(policy.clone()).expect("it has settings to tell");
    let rule = EjectionRule { failures: 0, ..EjectionRule::default() };
    let policies = Policies::of(vec![member]).expect("one").with_ejection(rule);
    let (mut by_policy, mut built_in) = (0, 0);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_each(&policy, 100));
        while !killer.is_finished() {
            let decided = decide_pages(&policies, Timestamp(by_policy + built_in));
            assert!(matches!(decided.verdict, Ok(Verdict::Granted(_))));
            match decided.entry.decided_by.as_str() {
                "tight" => by_policy += 1,
                "built-in" => built_in += 1,
                other => panic!("{other}"),
            }
        }
    });
    assert!(by_policy > 0 && built_in > 0, "{by_policy} by the policy, {built_in} built in");
    let (_, tally, is_ejected) = policies.tallies().remove(0);
    assert_eq!((tally.asked(), is_ejected), (by_policy + built_in, false));
}

fn decide_pages(policies: &Policies, now: Timestamp) -> Decided<()> {
    let words = |answer: &Vec<PageChoice>| format!("{answer:?}");
    let check = |asked: &_, answer: &Vec<_>| tce_host::grant::pages(asked, answer).map(drop);
    policies.decide("pages", now, page_question(vec![]), check, words)
}

#[test]
fn a_worker_that_is_dead_when_it_is_asked_costs_no_decision() {
    let policy = worker("tight");
    let question = Question::SelectPages(page_question(vec![]));
    let expected = policy.evaluate(&question);
    let id = policy.process_id().expect("a process");
    kill(id);
    let status = PathBuf::from(format!("/proc/{id}/stat"));
    while fs::read_to_string(&status).is_ok_and(|text| !text.contains(") Z ")) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(policy.evaluate(&question), expected);
    assert_ne!(policy.process_id(), Some(id));
}

#[test]
fn a_worker_that_is_late_is_killed_and_the_next_one_answers() {
    let decision_time = Duration::from_millis(300);
    let limits = Limits { fuel: u64::MAX, decision_time, ..Limits::default() };
    let policy = worker_within(Compiler::default(), "hostile", limits);
    let id = policy.process_id();
    let late = ask(&policy, page_question(misbehave("loop")));
    assert_eq!(late.result, Err(Broken::Timeout { millis: 300 }));
    assert!(ask(&policy, page_question(vec![])).result.is_ok());
    assert_ne!(policy.process_id(), id);
}

#[test]
fn a_worker_has_no_descriptors_capabilities_or_privileges() {
    let policy = worker("tight");
    let of = |what: &str| format!("/proc/{}/{what}", policy.process_id().expect("a process"));
    let status = fs::read_to_string(of("status")).expect("a process of ours");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(field("Threads:"), "1");
    // Only the system's administrator may look on: the process hides its memory.
    let Ok(folder) = fs::read_dir(of("fd")) else { return };
    let open: Vec<PathBuf> = folder
        .map(|entry| fs::read_link(entry.expect("an entry").path()).expect("a link"))
        .collect();
    let sockets = open.iter().filter(|it| it.to_string_lossy().starts_with("socket:")).count();
    let nowhere = open.iter().filter(|it| it.as_os_str() == "/dev/null").count();
    // The data of the component's memory.
    let memory = open.iter().filter(|it| it.to_string_lossy().starts_with("/memfd:")).count();
    assert_eq!((sockets, nowhere, open.len()), (2, 2, 4 + memory), "{open:?}");
    let environment = fs::read(of("environ")).unwrap_or_default();
    assert!(environment.is_empty());
}

#[test]
fn what_a_worker_must_not_do_is_denied() {
    let output = Command::new(env!("CARGO_BIN_EXE_tce"))
        .args([Program::COMMAND, "--examine"])
        .output()
        .expect("tce starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().count(), 10, "{text}");
    for line in text.lines() {
        assert!(line.ends_with(": Operation not permitted"), "{line}");
    }
}

#[test]
fn what_is_no_policy_is_told_as_it_is_here() {
    let load = |bytes: &[u8]| {
        let runtime = runtime(Compiler::default(), program());
        WorkerPolicy::from_bytes(&runtime, "none", bytes, Limits::default())
    };
    assert!(matches!(load(b"no component"), Err(LoadError::NotAComponent { .. })));
    let little = Limits { memory_bytes: 1 << 16, ..Limits::default() };
    let starts = WorkerPolicy::from_file(
        &runtime(Compiler::default(), program()),
        &plugin_file("tight"),
        little,
    );
    assert!(matches!(starts, Err(LoadError::DoesNotStart(_))), "{starts:?}");
}

#[test]
fn a_program_that_is_no_worker_is_told() {
    let load = |program| {
        let runtime = runtime(Compiler::default(), program);
        WorkerPolicy::from_file(&runtime, &plugin_file("tight"), Limits::default())
    };
    let ends = Program::with_arguments("/bin/true".into(), vec![]);
    let error = load(ends).expect_err("no worker").to_string();
    assert!(error.contains("died when it compiled it"), "{error}");
    let error = load(Program::at("/nowhere/tce".into())).expect_err("no worker").to_string();
    assert!(error.contains("does not start"), "{error}");
    let without = Runtime::new(Compiler::default()).expect("available");
    let none = WorkerPolicy::from_file(&without, &plugin_file("tight"), Limits::default());
    assert!(none.expect_err("no program").to_string().contains("has no program"));
}
