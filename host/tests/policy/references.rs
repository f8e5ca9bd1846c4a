//! The reference policies beside `tight`: the same answers and the same fuel on both compilers, and never broken.

use proptest::{prelude::Strategy, prop_assert, prop_assert_eq};
use tce_host::policy::{Compiler, Evaluator, Function, LoadedPolicy, Question, ask};

use crate::support::{compilers, generate, plugin, questions, seeded};

/// Those in Rust, and what they decide.
const POLICIES: [(&str, &[Function]); 5] = [
    ("qemu-like", &[Function::SelectPages, Function::SizeWindows, Function::Grow]),
    ("dpdk-like", &[Function::SelectPages, Function::SizeWindows, Function::Grow]),
    ("headroom", &[Function::SizeWindows, Function::Grow]),
    ("tenant-quota", &[Function::Admit, Function::Renew, Function::Reclaim, Function::GroupLeaves]),
    (
        "strict-isolation",
        &[
            Function::SelectPages,
            Function::Admit,
            Function::Renew,
            Function::Reclaim,
            Function::GroupLeaves,
        ],
    ),
];

fn all(name: &str) -> Vec<LoadedPolicy> {
    compilers().map(|compiler| plugin(compiler, name)).collect()
}

/// Asks each policy on each compiler, twice: the same answer, the same fuel, and never a failure.
fn same_everywhere(questions: impl Strategy<Value = Question>) {
    let policies: Vec<Vec<LoadedPolicy>> = POLICIES.map(|(name, _)| all(name)).into();
    let outcome = seeded(60).run(&questions, |question| {
        for same in policies.iter().filter(|same| same[0].answers(question.function())) {
            let first = same[0].evaluate(&question);
            prop_assert_eq!(first.result.as_ref().err(), None, "{}", same[0].name());
            for policy in same.iter().chain(same) {
                prop_assert_eq!(&policy.evaluate(&question), &first, "{}", same[0].name());
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_reference_policies_are_deterministic() {
    same_everywhere(generate::page_question().prop_map(Question::SelectPages));
    same_everywhere(generate::window_question().prop_map(Question::SizeWindows));
    same_everywhere(generate::growth_question().prop_map(Question::Grow));
    same_everywhere(generate::admit_question().prop_map(Question::Admit));
    same_everywhere(generate::renew_question().prop_map(Question::Renew));
    same_everywhere(generate::reclaim_question().prop_map(Question::Reclaim));
    same_everywhere(generate::group_loss_question().prop_map(Question::GroupLeaves));
}

#[test]
fn an_ordinary_decision_of_a_reference_policy_burns_a_small_part_of_its_budget() {
    for (name, functions) in POLICIES {
        let policy = plugin(Compiler::Pulley, name);
        let answered = Function::ALL.into_iter().filter(|function| policy.answers(*function));
        assert_eq!(answered.collect::<Vec<_>>(), functions, "{name}");
        for question in questions::ordinary().iter().filter(|each| policy.answers(each.function()))
        {
            let evaluation = policy.evaluate(question);
            assert!(evaluation.result.is_ok(), "{name} {}: {evaluation:?}", question.function());
            let burned = evaluation.fuel.expect("a component is metered");
            println!("{name} {}: {burned} fuel", question.function());
            let most = policy.limits().fuel / 100;
            assert!((1..most).contains(&burned), "{name} {} burned {burned}", question.function());
        }
    }
}

#[test]
fn every_reference_policy_describes_its_settings_and_takes_its_own_defaults() {
    for (name, _) in POLICIES {
        let policy = plugin(Compiler::Pulley, name);
        let described = policy.describe_settings().expect("no failure").expect("settings");
        assert!(!described.is_empty(), "{name}");
        let defaults = described.iter().filter_map(|each| {
            let (key, value) = (each.key.clone(), each.default.clone()?);
            Some(tce_host::policy::wit::Setting { key, value })
        });
        let problems = policy.validate_settings(&defaults.collect::<Vec<_>>()).expect("no failure");
        assert!(problems.is_empty(), "{name}: {problems:?}");
        let nonsense = described.iter().map(|each| tce_host::policy::wit::Setting {
            key: each.key.clone(),
            value: "?".into(),
        });
        let problems = policy.validate_settings(&nonsense.collect::<Vec<_>>()).expect("no failure");
        assert_eq!(problems.len(), described.len(), "{name}: {problems:?}");
    }
}

/// Answers, refusals and their words.
fn answers_as_tight(questions: impl Strategy<Value = Question>) {
    let (rust, c) = (plugin(Compiler::default(), "tight"), all("tight-c"));
    let outcome = seeded(400).run(&questions, |question| {
        let expected = rust.evaluate(&question).result;
        let first = c[0].evaluate(&question);
        prop_assert_eq!(&first.result, &expected);
        for policy in &c {
            prop_assert_eq!(&policy.evaluate(&question), &first);
        }
        // Two windows of many candidates each are many pairs.
        prop_assert!(first.fuel < Some(c[0].limits().fuel / 10));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Many windows that are alike in what is compared first, so that what is compared last decides.
fn crowded() -> impl Strategy<Value = Question> {
    generate::window_question().prop_map(|mut question| {
        let page = question.pages.first().map_or(16, |choice| choice.page);
        for each in &mut question.candidates {
            each.page = page;
            each.size = [1 << 50, 1 << 51][usize::from(each.size > 1 << 20)];
            each.charge %= 3;
        }
        for region in &mut question.demand.regions {
            (region.size, region.at) = (region.size % (1 << 40), None);
        }
        question.demand.growth %= 1 << 40;
        question.facts.locked_memory.limit = None;
        Question::SizeWindows(question)
    })
}

/// The same for growth.
fn crowded_growth() -> impl Strategy<Value = Question> {
    generate::growth_question().prop_map(|mut question| {
        for each in &mut question.candidates {
            each.size = [1 << 50, 1 << 51][usize::from(each.size > 1 << 20)];
            each.charge %= 3;
        }
        question.facts.locked_memory.limit = None;
        Question::Grow(question)
    })
}

#[test]
fn in_c_tight_answers_as_in_rust() {
    answers_as_tight(crowded());
    answers_as_tight(crowded_growth());
    answers_as_tight(generate::page_question().prop_map(Question::SelectPages));
    answers_as_tight(generate::window_question().prop_map(Question::SizeWindows));
    answers_as_tight(generate::growth_question().prop_map(Question::Grow));
    answers_as_tight(generate::admit_question().prop_map(Question::Admit));
    answers_as_tight(generate::renew_question().prop_map(Question::Renew));
    answers_as_tight(generate::reclaim_question().prop_map(Question::Reclaim));
    answers_as_tight(generate::group_loss_question().prop_map(Question::GroupLeaves));
}

#[test]
fn in_c_tight_has_the_settings_that_it_has_in_rust() {
    let (rust, c) = (plugin(Compiler::default(), "tight"), plugin(Compiler::default(), "tight-c"));
    assert_eq!(c.describe_settings().expect("no failure"), rust.describe_settings().expect("none"));
    let setting = |key: &str, value: &str| tce_host::policy::wit::Setting {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    for value in [
        "64K",
        " 16 ",
        "+16",
        "016",
        "64",
        "64KiB",
        "0x1_0000",
        "3K",
        "",
        "K",
        "-1",
        "1_6",
        "2 MB",
        "16E",
        "0",
        "99999999999G",
    ] {
        for settings in [
            vec![setting("page-max", value)],
            vec![setting("page-max", value), setting("page-max", "64K")],
            vec![setting("page", value), setting("page", value)],
        ] {
            let problems =
                |policy: &LoadedPolicy| policy.validate_settings(&settings).expect("no failure");
            assert_eq!(problems(&c), problems(&rust), "{value}");
            let question = questions::page_question(settings.clone());
            let [of_c, of_rust] = [&c, &rust].map(|policy| ask(policy, question.clone()).result);
            assert_eq!(of_c, of_rust, "{value}");
        }
    }
}
