//! A policy in Python: an interpreter inside a component, slow, and as safe and deterministic as any other.

use tce_host::policy::{
    Evaluator, Limits, LoadedPolicy, Question, Runtime, ask,
    wit::{RefusalReason, Setting},
};

use crate::support::{answered, compilers, plugin_file, questions};

#[test]
#[ignore = "built by `cargo xtask plugins --lang python`, and compiling it takes half a minute"]
fn a_policy_in_python_answers_alike_on_every_compiler_and_within_its_budget() {
    let policies: Vec<LoadedPolicy> = compilers()
        .map(|compiler| {
            let runtime = Runtime::new(compiler).expect("an available compiler");
            LoadedPolicy::from_file(&runtime, &plugin_file("python/fair-share-py"), Limits::large())
                .unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    let holders = |text: &str| vec![Setting { key: "holders".to_owned(), value: text.to_owned() }];
    let admit = |settings| ask(&policies[0], questions::admit_question(settings));
    let (terms, fuel) = answered(admit(vec![]));
    println!("admit: {fuel} fuel");
    assert_eq!(terms.expect("terms").tces_max, 8);
    let refusal = answered(admit(holders("4096"))).0.expect_err("half a MiB for each");
    assert_eq!(refusal.reason, RefusalReason::Quota);
    assert!(refusal.detail.starts_with("vm-8 has 0 bytes and asks for 1048576"), "{refusal:?}");
    let refusal = answered(admit(holders("few"))).0.expect_err("no number");
    assert_eq!(refusal.reason, RefusalReason::Settings);
    for question in [
        Question::Admit(questions::admit_question(vec![])),
        Question::Admit(questions::admit_question(holders("4096"))),
        Question::Renew(questions::renew_question(vec![])),
        Question::Reclaim(questions::reclaim_question(vec![])),
        Question::GroupLeaves(questions::group_loss_question(vec![])),
    ] {
        let first = policies[0].evaluate(&question);
        assert!(first.result.is_ok(), "{first:?}");
        assert!(first.fuel < Some(Limits::large().fuel / 4), "{:?}", first.fuel);
        for policy in policies.iter().chain(&policies) {
            assert_eq!(policy.evaluate(&question), first);
        }
    }
}
