//! Each way to misbehave is told by its name, and the next decision is as if nothing had been.

use std::time::Duration;

use tce_host::policy::{
    Asked, Broken, Limits, LoadedPolicy, Runtime, ask,
    limits::{
        ANSWER_BYTES_MAX, DETAIL_BYTES_MAX, FUEL_MAX, MEMORY_BYTES_MAX, WASM_STACK_BYTES_MAX,
    },
    wit::{Origin, PageChoice, RefusalReason},
};

use crate::support::{
    answered, compilers, patched, plugin, plugin_file,
    questions::{
        admit_question, group_loss_question, misbehave, page_question, reclaim_question,
        renew_question, window_question,
    },
};

fn pages(policy: &LoadedPolicy, how: &str) -> Asked<Vec<PageChoice>> {
    ask(policy, page_question(misbehave(how)))
}

/// What each behaviour that gives no answer is.
fn expected(how: &str) -> Broken {
    match how {
        "trap" => Broken::Trap { what: "wasm `unreachable` instruction executed".into() },
        "loop" => Broken::OutOfFuel { budget: FUEL_MAX },
        "eat-memory" => Broken::OutOfMemory { limit: MEMORY_BYTES_MAX },
        "recurse" => Broken::OutOfStack { limit: WASM_STACK_BYTES_MAX },
        "huge-list" | "huge-refusal" => Broken::TooMuchData { limit: ANSWER_BYTES_MAX },
        other => panic!("{other} gives an answer"),
    }
}

#[test]
fn each_misbehaviour_has_its_own_name_and_the_next_decision_works() {
    for compiler in compilers() {
        let policy = plugin(compiler, "hostile");
        let honest = answered(ask(&policy, page_question(vec![])));
        for how in ["trap", "loop", "eat-memory", "recurse", "huge-list", "huge-refusal"] {
            let evaluation = pages(&policy, how);
            assert_eq!(evaluation.result, Err(expected(how)), "{how} on {compiler}");
            assert_eq!(evaluation.fuel, Some(FUEL_MAX), "{how} on {compiler}");
            let next = answered(ask(&policy, page_question(vec![])));
            assert_eq!(next, honest, "after {how} on {compiler}");
        }
    }
}

#[test]
fn every_function_of_every_interface_is_contained() {
    for compiler in compilers() {
        let policy = plugin(compiler, "hostile");
        for how in ["trap", "loop", "eat-memory", "recurse", "huge-list"] {
            let settings = || misbehave(how);
            let broken = Some(expected(how));
            let windows = ask(&policy, window_question(settings()));
            assert_eq!(windows.result.err(), broken, "{how}");
            assert_eq!(ask(&policy, reclaim_question(settings())).result.err(), broken, "{how}");
            let group_leaves = ask(&policy, group_loss_question(settings()));
            assert_eq!(group_leaves.result.err(), broken, "{how}");
            // The terms of a lease cannot be huge.
            if how != "huge-list" {
                assert_eq!(ask(&policy, admit_question(settings())).result.err(), broken, "{how}");
                assert_eq!(ask(&policy, renew_question(settings())).result.err(), broken, "{how}");
            }
        }
    }
}

#[test]
fn a_refusal_is_an_answer() {
    for compiler in compilers() {
        let policy = plugin(compiler, "hostile");
        let (answer, fuel) = answered(pages(&policy, "refuse"));
        let refusal = answer.expect_err("a refusal");
        assert_eq!(refusal.reason, RefusalReason::Other);
        assert_eq!(refusal.detail, "the setting behaviour says to refuse");
        assert!(fuel < FUEL_MAX);
    }
}

#[test]
fn the_detail_of_a_refusal_is_cut_between_characters() {
    for compiler in compilers() {
        let policy = plugin(compiler, "hostile");
        let (answer, _) = answered(pages(&policy, "long-refusal"));
        let detail = answer.expect_err("a refusal").detail;
        assert_eq!(detail.len(), 999);
        assert!(detail.len() <= DETAIL_BYTES_MAX && detail.chars().all(|each| each == '\u{20ac}'));
    }
}

#[test]
fn an_answer_that_is_no_text_is_malformed() {
    for compiler in compilers() {
        let runtime = Runtime::new(compiler).expect("an available compiler");
        let bytes = patched("hostile", "says to refuse", &[0xff; 14]);
        let policy = LoadedPolicy::from_bytes(&runtime, "garbled", &bytes, Limits::default());
        let evaluation = pages(&policy.expect("a policy"), "refuse");
        assert!(
            matches!(&evaluation.result, Err(Broken::Malformed { what }) if what.contains("utf-8")),
            "{evaluation:?}"
        );
    }
}

#[test]
fn nonsense_is_passed_on_for_others_to_judge() {
    for compiler in compilers() {
        let policy = plugin(compiler, "hostile");
        let pages = |how| answered(pages(&policy, how)).0.expect("pages");
        assert_eq!(pages("unknown-page")[0].page, 63);
        assert_eq!(pages("largest-page")[0].page, 30);
        assert_eq!(pages("region-twice")[0].regions, [1, 2, 1]);
        assert_eq!(pages("region-missing")[0].regions, [1]);
        assert_eq!(pages("unknown-region")[0].regions, [1, 2, 4_000_000_007]);
        assert_eq!(pages("empty"), []);
        let windows =
            |how| answered(ask(&policy, window_question(misbehave(how)))).0.expect("windows");
        assert_eq!(windows("no-candidate")[0].size, (2 << 30) + 1);
        assert_eq!(windows("wrong-origin")[0].origin, Origin::DefaultWindow);
        assert_eq!(windows("same-slot").len(), 2);
        let terms = |how| answered(ask(&policy, admit_question(misbehave(how)))).0.expect("terms");
        assert_eq!((terms("too-much").tces_max, terms("too-much").expires), (u64::MAX, None));
        assert_eq!((terms("nothing").tces_max, terms("nothing").expires), (0, Some(0)));
        let reclaimed = ask(&policy, reclaim_question(misbehave("unknown-lease")));
        assert_eq!(answered(reclaimed).0.expect("leases"), [4_000_000_007; 2]);
    }
}

#[test]
fn a_misbehaviour_can_be_limited_to_one_function() {
    let policy = plugin(Default::default(), "hostile");
    let mut settings = misbehave("trap");
    let only = tce_host::policy::wit::Setting { key: "only".into(), value: "admit".into() };
    settings.push(only);
    assert!(ask(&policy, page_question(settings.clone())).result.is_ok());
    assert!(ask(&policy, admit_question(settings)).result.is_err());
}

#[test]
fn limits_are_per_policy() {
    for compiler in compilers() {
        let runtime = Runtime::new(compiler).expect("an available compiler");
        let tight = |limits| LoadedPolicy::from_file(&runtime, &plugin_file("tight"), limits);
        let little_fuel =
            tight(Limits { fuel: 100, ..Limits::default() }).expect("starting takes less");
        let evaluation = ask(&little_fuel, page_question(vec![]));
        assert_eq!(evaluation.result, Err(Broken::OutOfFuel { budget: 100 }));
        assert_eq!(evaluation.fuel, Some(100));
        let little_data = tight(Limits { answer_bytes: 8, ..Limits::default() }).expect("a policy");
        let evaluation = ask(&little_data, page_question(vec![]));
        assert_eq!(evaluation.result, Err(Broken::TooMuchData { limit: 8 }));
        let no_memory = tight(Limits { memory_bytes: 1 << 16, ..Limits::default() });
        assert!(no_memory.is_err_and(|error| error.to_string().starts_with("it does not start")));
        let no_table = tight(Limits { table_elements: 1, ..Limits::default() });
        assert!(
            no_table.is_err_and(|error| error.to_string().contains("table limit of 1 element"))
        );
    }
}

#[test]
fn what_has_fuel_without_end_is_ended_by_the_clock() {
    for compiler in compilers() {
        let runtime = Runtime::new(compiler).expect("an available compiler");
        let decision_time = Duration::from_millis(100);
        let limits = Limits { fuel: u64::MAX, decision_time, ..Limits::default() };
        let policy = LoadedPolicy::from_file(&runtime, &plugin_file("hostile"), limits);
        let policy = policy.expect("a policy");
        for _ in 0..2 {
            assert_eq!(pages(&policy, "loop").result, Err(Broken::Timeout { millis: 100 }));
            assert!(ask(&policy, page_question(vec![])).result.is_ok());
        }
    }
}
