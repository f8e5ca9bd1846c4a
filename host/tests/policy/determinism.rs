//! The same question has the same answer and burns the same fuel, wherever and however often it is asked.

use std::fmt::Debug;

use proptest::{prelude::Strategy, prop_assert_eq};
use tce_host::policy::{Compiler, Evaluation, Evaluator, LoadedPolicy};

use crate::support::{answered, compilers, generate, plugin, questions, seeded};

/// Asks a question twice of each policy and compares everything that came of it.
fn same_everywhere<Q: Debug, A: Debug + PartialEq>(
    questions: impl Strategy<Value = Q>,
    ask: impl Fn(&LoadedPolicy, &Q) -> Evaluation<A>,
) {
    let policies: Vec<LoadedPolicy> =
        compilers().map(|compiler| plugin(compiler, "tight")).collect();
    let outcome = seeded(100).run(&questions, |question| {
        let first = ask(&policies[0], &question);
        prop_assert_eq!(first.result.as_ref().err(), None);
        for policy in policies.iter().chain(&policies) {
            prop_assert_eq!(&ask(policy, &question), &first);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn page_selection_is_deterministic() {
    same_everywhere(generate::page_question(), |policy, question| policy.select_pages(question));
}

#[test]
fn window_sizing_is_deterministic() {
    same_everywhere(generate::window_question(), |policy, question| policy.size_windows(question));
}

#[test]
fn lease_policy_is_deterministic() {
    same_everywhere(generate::admit_question(), |policy, question| policy.admit(question));
    same_everywhere(generate::renew_question(), |policy, question| policy.renew(question));
    same_everywhere(generate::reclaim_question(), |policy, question| policy.reclaim(question));
    same_everywhere(generate::group_loss_question(), |policy, question| {
        policy.group_leaves(question)
    });
}

#[test]
fn an_ordinary_decision_burns_a_small_part_of_its_budget() {
    let policy = plugin(Compiler::Pulley, "tight");
    let fuel = [
        ("select-pages", answered(policy.select_pages(&questions::page_question(vec![]))).1),
        ("size-windows", answered(policy.size_windows(&questions::window_question(vec![]))).1),
        ("admit", answered(policy.admit(&questions::admit_question(vec![]))).1),
        ("renew", answered(policy.renew(&questions::renew_question(vec![]))).1),
        ("reclaim", answered(policy.reclaim(&questions::reclaim_question(vec![]))).1),
        ("group-leaves", answered(policy.group_leaves(&questions::group_loss_question(vec![]))).1),
    ];
    for (function, burned) in fuel {
        println!("{function}: {burned} fuel");
        assert!(burned > 0 && burned < policy.limits().fuel / 100, "{function} burned {burned}");
    }
}
