//! The reference policy as native code: what answers when nobody else does.

use serde::{Serialize, de::DeserializeOwned};
use tce_policy_sdk::{
    lease_policy::LeasePolicy, page_selection::PageSelection, settings::Settings,
    window_sizing::WindowSizing,
};
use tight::Tight;

use super::{
    evaluator::{Broken, Evaluation, Evaluator, Identity},
    question::{Answer, Function, Question},
    wit::{Setting, SettingDescription, SettingProblem},
};

/// The policy `tight`, without a sandbox and without a meter.
#[derive(Clone, Debug)]
pub struct BuiltIn(Identity);

impl Default for BuiltIn {
    fn default() -> Self {
        Self(Identity { name: "built-in".to_owned(), sha256: None })
    }
}

impl Evaluator for BuiltIn {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn answers(&self, _function: Function) -> bool {
        true
    }

    fn describe_settings(&self) -> Result<Option<Vec<SettingDescription>>, Broken> {
        convert(&Tight::describe_settings()).map(Some)
    }

    fn validate_settings(&self, settings: &[Setting]) -> Result<Vec<SettingProblem>, Broken> {
        let settings: Vec<tce_policy_sdk::types::Setting> = convert(&settings)?;
        convert(&tce_policy_sdk::settings::problems::<Tight>(&settings))
    }

    fn evaluate(&self, question: &Question) -> Evaluation {
        Evaluation::unmetered(match question {
            Question::SelectPages(it) => ask(it, Tight::select_pages, Answer::Pages),
            Question::SizeWindows(it) => ask(it, Tight::size_windows, Answer::Windows),
            Question::Grow(it) => ask(it, Tight::grow, Answer::Window),
            Question::Admit(it) => ask(it, Tight::admit, Answer::Terms),
            Question::Renew(it) => ask(it, Tight::renew, Answer::Terms),
            Question::Reclaim(it) => ask(it, |it| Ok(Tight::reclaim(it)), Answer::Leases),
            Question::GroupLeaves(it) => ask(it, |it| Ok(Tight::group_leaves(it)), Answer::Leases),
        })
    }
}

/// Asks a function that speaks the SDK's types.
fn ask<Q, SdkQ, SdkA, A>(
    question: &Q,
    function: impl FnOnce(SdkQ) -> Result<SdkA, tce_policy_sdk::types::Refusal>,
    case: impl FnOnce(A) -> Answer,
) -> Result<Answer, Broken>
where
    Q: Serialize,
    SdkQ: DeserializeOwned,
    SdkA: Serialize,
    A: DeserializeOwned,
{
    match function(convert(question)?) {
        Ok(answer) => convert(&answer).map(case),
        Err(refusal) => convert(&refusal).map(Answer::Refused),
    }
}

/// The same value in the other crate's type. Both types come from one WIT file, so that this works for every value.
fn convert<From: Serialize, To: DeserializeOwned>(from: &From) -> Result<To, Broken> {
    serde_json::to_value(from)
        .and_then(serde_json::from_value)
        .map_err(|error| Broken::Malformed { what: error.to_string() })
}
