//! The same question has the same answer and burns the same fuel, wherever and however often it is asked.

use proptest::{prelude::Strategy, prop_assert_eq};
use tce_host::policy::{Compiler, Evaluator, LoadedPolicy, Question, ask};

use crate::support::{answered, compilers, generate, plugin, questions, seeded};

/// Asks a question twice of each policy and compares everything that came of it.
fn same_everywhere(questions: impl Strategy<Value = Question>) {
    let policies: Vec<LoadedPolicy> =
        compilers().map(|compiler| plugin(compiler, "tight")).collect();
    let outcome = seeded(100).run(&questions, |question| {
        let first = policies[0].evaluate(&question);
        prop_assert_eq!(first.result.as_ref().err(), None);
        for policy in policies.iter().chain(&policies) {
            prop_assert_eq!(&policy.evaluate(&question), &first);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn page_selection_is_deterministic() {
    same_everywhere(generate::page_question().prop_map(Question::SelectPages));
}

#[test]
fn window_sizing_is_deterministic() {
    same_everywhere(generate::window_question().prop_map(Question::SizeWindows));
    same_everywhere(generate::growth_question().prop_map(Question::Grow));
}

#[test]
fn lease_policy_is_deterministic() {
    same_everywhere(generate::admit_question().prop_map(Question::Admit));
    same_everywhere(generate::renew_question().prop_map(Question::Renew));
    same_everywhere(generate::reclaim_question().prop_map(Question::Reclaim));
    same_everywhere(generate::group_loss_question().prop_map(Question::GroupLeaves));
}

#[test]
fn an_ordinary_decision_burns_a_small_part_of_its_budget() {
    let policy = plugin(Compiler::Pulley, "tight");
    let fuel = [
        ("select-pages", answered(ask(&policy, questions::page_question(vec![]))).1),
        ("size-windows", answered(ask(&policy, questions::window_question(vec![]))).1),
        ("grow", answered(ask(&policy, questions::growth_question(vec![]))).1),
        ("admit", answered(ask(&policy, questions::admit_question(vec![]))).1),
        ("renew", answered(ask(&policy, questions::renew_question(vec![]))).1),
        ("reclaim", answered(ask(&policy, questions::reclaim_question(vec![]))).1),
        ("group-leaves", answered(ask(&policy, questions::group_loss_question(vec![]))).1),
    ];
    for (function, burned) in fuel {
        println!("{function}: {burned} fuel");
        assert!(burned > 0 && burned < policy.limits().fuel / 100, "{function} burned {burned}");
    }
}
