//! What is expected of an answer: the answer itself, or properties of it. A closed set, each with one meaning.

use std::fmt;

use serde::Deserialize;
use tce_policy_sdk::text;

use crate::{
    author::{diff, judge},
    policy::{
        Answer, Evaluation, Function,
        wit::{Access, Refusal, RefusalReason},
    },
};

use super::{Invalid, Scenario, property::Property};

/// `[expect]` as it stands in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct ExpectFile {
    answer: Option<Answer>,
    refused: Option<RefusalReason>,
    detail: Option<String>,
    bad_settings: Option<Vec<String>>,
    count: Option<usize>,
    page: Option<Page>,
    slots: Option<Vec<u8>>,
    #[serde(deserialize_with = "text::maybe_number")]
    size_min: Option<u64>,
    #[serde(deserialize_with = "text::maybe_number")]
    size_max: Option<u64>,
    levels_max: Option<u8>,
    #[serde(deserialize_with = "text::maybe_number")]
    table_max: Option<u64>,
    #[serde(deserialize_with = "text::maybe_number")]
    charge_max: Option<u64>,
    access: Option<Access>,
    #[serde(deserialize_with = "text::maybe_number")]
    tces_max: Option<u64>,
    #[serde(deserialize_with = "text::maybe_number")]
    pinned_max: Option<u64>,
    lasts_max: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Page(#[serde(deserialize_with = "text::page")] u8);

/// What is expected. Anything but a refusal must also be acceptable to the engine.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// Exactly this answer.
    Answer(Answer),
    /// A no, for this reason, with these words in its detail.
    Refused {
        /// The reason.
        reason: RefusalReason,
        /// Words of the detail.
        detail: Option<String>,
    },
    /// The policy says of the settings with these keys that they cannot be. The question is not asked.
    BadSettings(Vec<String>),
    /// An acceptable answer with all of these properties.
    Properties(Vec<Property>),
}

/// Why an answer is not as expected: one or several lines for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ExpectFile {
    /// What is meant, if the keys go with each other and with the question.
    pub(super) fn check(self, function: Function) -> Result<Expectation, Invalid> {
        let properties = self.properties();
        if let Some((key, _)) = properties.iter().find(|(_, it)| !it.is_of(function)) {
            let problem = format!("an answer to {function} has no such property");
            return Err(Invalid::new(&format!("expect.{key}"), problem));
        }
        let alone = |is_whole: bool| match is_whole && !properties.is_empty() {
            true => Err(Invalid::new("expect", "answer, refused and bad-settings stand alone")),
            false => Ok(()),
        };
        let Self { answer, refused, detail, bad_settings, .. } = self;
        let wholes = [answer.is_some(), refused.is_some(), bad_settings.is_some()];
        if wholes.iter().filter(|it| **it).count() > 1 {
            alone(true)?;
            return Err(Invalid::new("expect", "answer, refused and bad-settings stand alone"));
        }
        alone(wholes.contains(&true))?;
        if detail.is_some() && refused.is_none() {
            return Err(Invalid::new("expect.detail", "it goes with `refused`"));
        }
        Ok(match (answer, refused, bad_settings) {
            (Some(answer), ..) => Expectation::Answer(answer),
            (_, Some(reason), _) => Expectation::Refused { reason, detail },
            (.., Some(keys)) => Expectation::BadSettings(keys),
            _ => Expectation::Properties(properties.into_iter().map(|(_, it)| it).collect()),
        })
    }

    fn properties(&self) -> Vec<(&'static str, Property)> {
        let all = [
            ("count", self.count.map(Property::Count)),
            ("page", self.page.map(|page| Property::Page(page.0))),
            ("slots", self.slots.clone().map(Property::Slots)),
            ("size-min", self.size_min.map(Property::SizeMin)),
            ("size-max", self.size_max.map(Property::SizeMax)),
            ("levels-max", self.levels_max.map(Property::LevelsMax)),
            ("table-max", self.table_max.map(Property::TableMax)),
            ("charge-max", self.charge_max.map(Property::ChargeMax)),
            ("access", self.access.map(Property::Access)),
            ("tces-max", self.tces_max.map(Property::TcesMax)),
            ("pinned-max", self.pinned_max.map(Property::PinnedMax)),
            ("lasts-max", self.lasts_max.map(Property::LastsMax)),
        ];
        all.into_iter().filter_map(|(key, it)| Some((key, it?))).collect()
    }
}

impl Scenario {
    /// What is wrong with an evaluation: nothing if it is as expected.
    #[must_use]
    pub fn problems(&self, evaluation: &Evaluation) -> Vec<Problem> {
        let mut problems = match &evaluation.result {
            Err(broken) => vec![Problem(format!("the policy broke: {broken}"))],
            Ok(answer) => self.problems_of(answer),
        };
        if let (Some(max), Some(fuel)) = (self.fuel_max, evaluation.fuel)
            && fuel > max
        {
            problems.push(Problem(format!("it took {fuel} fuel, and {max} is the most")));
        }
        problems
    }

    fn problems_of(&self, answer: &Answer) -> Vec<Problem> {
        if let Err(rejection) = judge::judge(&self.question, answer) {
            return vec![Problem(format!(
                "the engine does not accept the answer: {rejection}\n{}",
                diff::shown(answer)
            ))];
        }
        match (&self.expect, answer) {
            (Expectation::Answer(expected), answer) if expected == answer => Vec::new(),
            (Expectation::Answer(expected), answer) => vec![Problem(format!(
                "the answer is another one (- expected, + answered):\n{}",
                diff::between(expected, answer)
            ))],
            (Expectation::Refused { reason, detail }, Answer::Refused(refusal)) => {
                refused(*reason, detail.as_deref(), refusal)
            }
            (Expectation::Refused { reason, .. }, answer) => vec![Problem(format!(
                "it should refuse ({}), and answers:\n{}",
                diff::word(reason),
                diff::shown(answer)
            ))],
            (Expectation::Properties(_), Answer::Refused(refusal)) => vec![Problem(format!(
                "it refuses ({}): {}",
                diff::word(&refusal.reason),
                refusal.detail
            ))],
            (Expectation::Properties(properties), answer) => {
                let wrong = properties.iter().filter_map(|it| it.wrong(&self.question, answer));
                wrong.map(Problem).collect()
            }
            (Expectation::BadSettings(keys), _) => {
                vec![Problem(format!("nothing is said against the settings {}", keys.join(", ")))]
            }
        }
    }
}

fn refused(reason: RefusalReason, detail: Option<&str>, refusal: &Refusal) -> Vec<Problem> {
    let mut problems = Vec::new();
    if refusal.reason != reason {
        problems.push(Problem(format!(
            "it refuses for the reason `{}`, not `{}`: {}",
            diff::word(&refusal.reason),
            diff::word(&reason),
            refusal.detail
        )));
    }
    if let Some(words) = detail.filter(|words| !refusal.detail.contains(words)) {
        problems.push(Problem(format!("its detail is not about {words:?}: {}", refusal.detail)));
    }
    problems
}
