//! Decisions are made in places that are used again: nothing of one is in the next, and there is one for each.

use std::thread;

use tce_host::policy::{
    Answer, Broken, Evaluator, Limits, LoadError, LoadedPolicy, Question, Runtime,
    limits::{MEMORIES_MAX, MEMORY_BYTES_LARGE},
};

use crate::{
    questions::page_question,
    support::{framed, honest_with, runtimes, text},
};

/// More than there are places, so that some have to wait.
const THREADS: usize = 48;
const DECISIONS: usize = 40;

fn load(runtime: &Runtime, component: &[u8], limits: Limits) -> Result<LoadedPolicy, LoadError> {
    LoadedPolicy::from_bytes(runtime, "test", component, limits)
}

fn ask(policy: &LoadedPolicy) -> Result<usize, Broken> {
    let evaluation = policy.evaluate(&Question::SelectPages(page_question(vec![])));
    evaluation.result.map(|answer| match answer {
        Answer::Pages(pages) => pages.len(),
        other => panic!("{other:?}"),
    })
}

#[test]
fn nothing_of_a_decision_is_left_for_the_next_one_of_the_same_policy_or_of_another() {
    let traces = text("framed", "leaves-traces");
    let other = traces.replace("\"kept\"", "\"kept and more\"");
    let mark = "(call $mark (i32.const 0xc000))";
    let finds_its_own = traces.replace(mark, &mark.repeat(2));
    for runtime in runtimes() {
        let finder = load(&runtime, &framed("finder", &finds_its_own), Limits::default());
        assert!(matches!(ask(&finder.expect("a policy")), Err(Broken::Trap { .. })));
        let policies = [&traces, &other].map(|text| {
            load(&runtime, &framed("traces", text), Limits::default()).expect("a policy")
        });
        for _ in 0..DECISIONS {
            for policy in &policies {
                assert_eq!(ask(policy), Ok(1));
            }
        }
    }
}

#[test]
fn more_decisions_at_the_same_time_than_there_are_places_wait() {
    let traces = framed("traces", &text("framed", "leaves-traces"));
    for runtime in runtimes() {
        let policy = load(&runtime, &traces, Limits::default()).expect("a policy");
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..DECISIONS).for_each(|_| assert_eq!(ask(&policy), Ok(1))));
            }
        });
    }
}

#[test]
fn what_there_is_no_room_for_whatever_the_limits_is_named() {
    let instances = |count: usize, inside: &str| {
        format!("(core module $m {inside}) {}", "(core instance (instantiate $m))".repeat(count))
    };
    let memories = usize::try_from(MEMORIES_MAX).expect("few");
    let globals = "(global i32 (i32.const 0))".repeat(600_000);
    for (beside, says) in [
        (
            instances(memories, "(memory 1)"),
            "the component transitively contains 6 Wasm linear memories",
        ),
        (instances(64, ""), "core module instances"),
        (instances(1, "(memory 1025)"), "minimum byte size of 67174400"),
        (instances(1, "(table 20001 funcref)"), "20001"),
        (instances(1, &globals), "exceeds the configured maximum of 8388608 bytes"),
    ] {
        for runtime in runtimes() {
            match load(&runtime, &honest_with(&beside), Limits::large()) {
                Err(error @ LoadError::Demands { .. }) => {
                    let message = error.to_string();
                    assert!(
                        message.starts_with("it needs more than any policy may have"),
                        "{message}"
                    );
                    assert!(message.contains(says), "{message}");
                    assert!(!message.contains("pool") && !message.contains('\\'), "{message}");
                }
                other => panic!("{says}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_limit_beyond_what_there_is_room_for_is_that() {
    let limits = Limits { memory_bytes: usize::MAX, ..Limits::default() };
    let bomb = framed("bomb", &text("framed", "memory-bomb"));
    for runtime in runtimes() {
        let policy = load(&runtime, &bomb, limits).expect("a policy");
        assert_eq!(policy.limits().memory_bytes, MEMORY_BYTES_LARGE);
        assert_eq!(ask(&policy), Err(Broken::OutOfMemory { limit: MEMORY_BYTES_LARGE }));
    }
}
