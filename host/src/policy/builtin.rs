//! The reference policy as native code: what answers when nobody else does.

use serde::{Serialize, de::DeserializeOwned};
use tce_policy_sdk::{
    lease_policy::LeasePolicy, page_selection::PageSelection, window_sizing::WindowSizing,
};
use tight::Tight;

use super::{
    evaluator::{Answer, Broken, Evaluation, Evaluator},
    interface::Interface,
    wit::{
        AdmitQuestion, GroupLossQuestion, LeaseId, PageChoice, PageQuestion, ReclaimQuestion,
        RenewQuestion, Terms, WindowChoice, WindowQuestion,
    },
};

/// The policy `tight`, without a sandbox and without a meter.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl Evaluator for BuiltIn {
    fn name(&self) -> &'static str {
        "built-in"
    }

    fn implements(&self, _interface: Interface) -> bool {
        true
    }

    fn select_pages(&self, question: &PageQuestion) -> Evaluation<Answer<Vec<PageChoice>>> {
        ask(question, Tight::select_pages).with_short_detail()
    }

    fn size_windows(&self, question: &WindowQuestion) -> Evaluation<Answer<Vec<WindowChoice>>> {
        ask(question, Tight::size_windows).with_short_detail()
    }

    fn admit(&self, question: &AdmitQuestion) -> Evaluation<Answer<Terms>> {
        ask(question, Tight::admit).with_short_detail()
    }

    fn renew(&self, question: &RenewQuestion) -> Evaluation<Answer<Terms>> {
        ask(question, Tight::renew).with_short_detail()
    }

    fn reclaim(&self, question: &ReclaimQuestion) -> Evaluation<Vec<LeaseId>> {
        ask(question, Tight::reclaim)
    }

    fn group_leaves(&self, question: &GroupLossQuestion) -> Evaluation<Vec<LeaseId>> {
        ask(question, Tight::group_leaves)
    }
}

/// Asks a function that speaks the SDK's types.
fn ask<Q, SdkQ, SdkA, A>(question: &Q, function: impl FnOnce(SdkQ) -> SdkA) -> Evaluation<A>
where
    Q: Serialize,
    SdkQ: DeserializeOwned,
    SdkA: Serialize,
    A: DeserializeOwned,
{
    let result = convert(question).and_then(|question| convert(&function(question)));
    Evaluation { result, fuel: None }
}

/// The same value in the other crate's type. Both types come from one WIT file, so that this works for every value.
fn convert<From: Serialize, To: DeserializeOwned>(from: &From) -> Result<To, Broken> {
    serde_json::to_value(from)
        .and_then(serde_json::from_value)
        .map_err(|error| Broken::Malformed { what: error.to_string() })
}
