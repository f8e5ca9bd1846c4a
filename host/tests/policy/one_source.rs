//! The built-in policy and the component `tight` are one source: they answer alike. So do the two families of types.

use std::fmt::Debug;

use proptest::{prelude::Strategy, prop_assert_eq};
use serde::{Serialize, de::DeserializeOwned};
use tce_host::policy::{BuiltIn, Compiler, Evaluator, Question, wit};
use tce_policy_sdk::{lease_policy, page_selection, types, window_sizing};

use crate::support::{generate, plugin, questions, seeded};

fn answers_alike(questions: impl Strategy<Value = Question>) {
    let component = plugin(Compiler::default(), "tight");
    let outcome = seeded(400).run(&questions, |question| {
        let (native, guest) =
            (BuiltIn::default().evaluate(&question), component.evaluate(&question));
        prop_assert_eq!(native.result, guest.result);
        prop_assert_eq!(native.fuel, None);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn page_selection_answers_alike() {
    answers_alike(generate::page_question().prop_map(Question::SelectPages));
}

#[test]
fn window_sizing_answers_alike() {
    answers_alike(generate::window_question().prop_map(Question::SizeWindows));
    answers_alike(generate::growth_question().prop_map(Question::Grow));
}

#[test]
fn lease_policy_answers_alike() {
    answers_alike(generate::admit_question().prop_map(Question::Admit));
    answers_alike(generate::renew_question().prop_map(Question::Renew));
    answers_alike(generate::reclaim_question().prop_map(Question::Reclaim));
    answers_alike(generate::group_loss_question().prop_map(Question::GroupLeaves));
}

/// Host to SDK and back, with nothing lost and the same JSON in between.
fn round_trips<Host, Sdk>(values: impl Strategy<Value = Host>)
where
    Host: Debug + PartialEq + Serialize + DeserializeOwned,
    Sdk: Serialize + DeserializeOwned,
{
    let outcome = seeded(100).run(&values, |host| {
        let json = serde_json::to_value(&host).expect("JSON");
        let sdk: Sdk = serde_json::from_value(json.clone()).expect("the SDK's type");
        let back = serde_json::to_value(&sdk).expect("JSON");
        prop_assert_eq!(&back, &json);
        prop_assert_eq!(serde_json::from_value::<Host>(back).expect("the host's type"), host);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn every_question_round_trips_between_the_types_of_host_and_sdk() {
    round_trips::<_, page_selection::PageQuestion>(generate::page_question());
    round_trips::<_, window_sizing::WindowQuestion>(generate::window_question());
    round_trips::<_, window_sizing::GrowthQuestion>(generate::growth_question());
    round_trips::<_, lease_policy::AdmitQuestion>(generate::admit_question());
    round_trips::<_, lease_policy::RenewQuestion>(generate::renew_question());
    round_trips::<_, lease_policy::ReclaimQuestion>(generate::reclaim_question());
    round_trips::<_, lease_policy::GroupLossQuestion>(generate::group_loss_question());
}

#[test]
fn every_answer_round_trips_between_the_types_of_host_and_sdk() {
    let reasons = proptest::sample::select(vec![
        wit::RefusalReason::PageSize,
        wit::RefusalReason::Window,
        wit::RefusalReason::Memory,
        wit::RefusalReason::Quota,
        wit::RefusalReason::Settings,
        wit::RefusalReason::Other,
    ]);
    let refusals =
        reasons.prop_map(|reason| wit::Refusal { reason, detail: "\"no\"\n".to_owned() });
    round_trips::<_, types::Refusal>(refusals);
    let window = |(slot, page, size, levels, created)| wit::WindowChoice {
        slot,
        page,
        size,
        levels,
        origin: if created { wit::Origin::Created } else { wit::Origin::DefaultWindow },
        regions: vec![u32::MAX, 0],
    };
    let windows = proptest::arbitrary::any::<(u8, u8, u64, u8, bool)>().prop_map(window);
    round_trips::<_, window_sizing::WindowChoice>(windows);
    let pages = proptest::arbitrary::any::<(u8, Vec<u32>)>()
        .prop_map(|(page, regions)| wit::PageChoice { page, regions });
    round_trips::<_, types::PageChoice>(pages);
    let terms = generate::renew_question().prop_map(|question| question.lease.terms);
    round_trips::<_, types::Terms>(terms);
}

#[test]
fn a_question_in_json_reads_like_the_wit() {
    let json = serde_json::to_value(questions::page_question(vec![])).expect("JSON");
    assert_eq!(json["facts"]["page-shifts"], serde_json::json!([12, 16, 21, 30]));
    assert_eq!(json["facts"]["platform"], "powernv");
    assert_eq!(json["demand"]["regions"][0]["access"], "read-write");
    assert_eq!(json["demand"]["regions"][0]["at"], serde_json::Value::Null);
}
