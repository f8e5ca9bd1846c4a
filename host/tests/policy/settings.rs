//! Settings are for the components that the operator named; the built-in policy has them where there is none.

use tce_engine::lease::Timestamp;
use tce_host::{
    decide::{Policies, Verdict},
    policy::{
        Compiler, Limits, LoadedPolicy, Runtime,
        wit::{PageChoice, Setting, Terms},
    },
    report::DecisionEntry,
};

use crate::support::{
    patched, plugin,
    questions::{admit_question, misbehave, page_question},
};

/// A setting under which `tight` refuses every page.
fn tiny_pages() -> Vec<Setting> {
    vec![Setting { key: "page-max".to_owned(), value: "1".to_owned() }]
}

/// The pages, or the detail of a refusal.
fn pages(
    policies: &Policies,
    settings: Vec<Setting>,
) -> (Result<Vec<PageChoice>, String>, DecisionEntry) {
    let decided = policies.decide(
        "pages",
        Timestamp(0),
        page_question(settings),
        |_, answer| Ok(answer.clone()),
        |answer| format!("{} choices", answer.len()),
    );
    let answer = match decided.verdict.expect("a verdict") {
        Verdict::Granted(answer) => Ok(answer),
        Verdict::Denied(refusal) => Err(refusal.detail),
    };
    (answer, decided.entry)
}

fn policies(components: Vec<LoadedPolicy>) -> Policies {
    Policies::new(components).expect("one for each point")
}

#[test]
fn alone_the_built_in_policy_obeys_settings() {
    let alone = policies(vec![]);
    let (answer, entry) = pages(&alone, tiny_pages());
    let detail = answer.expect_err("no page is so small");
    assert!(detail.starts_with("the setting page-max allows"), "{detail}");
    assert_eq!((entry.asked.as_str(), entry.decided_by.as_str()), ("built-in", "built-in"));
}

#[test]
fn a_component_obeys_settings() {
    let tight = policies(vec![plugin(Compiler::default(), "tight")]);
    let (answer, entry) = pages(&tight, tiny_pages());
    assert!(answer.is_err());
    assert_eq!((entry.decided_by.as_str(), entry.broken), ("tight", None));
}

#[test]
fn in_place_of_a_broken_component_the_built_in_policy_sees_no_settings() {
    let hostile = policies(vec![plugin(Compiler::default(), "hostile")]);
    for how in ["trap", "loop"] {
        let (answer, entry) = pages(&hostile, [misbehave(how), tiny_pages()].concat());
        assert_eq!(answer.expect("no setting forbids it")[0].page, 16, "{how}");
        assert_eq!((entry.asked.as_str(), entry.decided_by.as_str()), ("hostile", "built-in"));
        assert!(entry.broken.is_some(), "{how}");
    }
}

#[test]
fn for_a_point_that_components_leave_open_the_built_in_policy_sees_no_settings() {
    let runtime = Runtime::new(Compiler::default()).expect("an available compiler");
    let load = |hidden: &str, by: &str| {
        let bytes = patched("tight", hidden, by.as_bytes());
        LoadedPolicy::from_bytes(&runtime, "partial", &bytes, Limits::default()).expect("a policy")
    };
    let leaves_pages = policies(vec![load("page-selection@", "page-selectiom@")]);
    let (answer, entry) = pages(&leaves_pages, tiny_pages());
    assert_eq!(answer.expect("no setting forbids it")[0].page, 16);
    assert_eq!((entry.decided_by.as_str(), entry.broken), ("built-in", None));
    // What is checked is the answer to the question that was put.
    let leaves_leases = policies(vec![load("lease-policy@", "lease-polity@")]);
    let mut seen = None;
    let decided = leaves_leases.decide(
        "lease",
        Timestamp(0),
        admit_question(tiny_pages()),
        |question, _: &Terms| {
            seen = Some(question.settings.clone());
            Ok(())
        },
        |_| String::new(),
    );
    assert!(matches!(decided.verdict, Ok(Verdict::Granted(()))));
    assert_eq!(seen, Some(vec![]));
}
