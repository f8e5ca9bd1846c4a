//! Whether what came of a script is what must.

use serde::Serialize;

use super::{Check, Expected, Script};
use crate::{
    outcome::Outcome,
    sequence::Sequence,
    subject::{Subject, SubjectError},
};

/// What a check says of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It behaves as asserted.
    Passed,
    /// It does not.
    Failed {
        /// The step that came out otherwise, from 1 on.
        step: usize,
        /// The step.
        call: String,
        /// What must have come of it.
        expected: String,
        /// What came of it.
        got: String,
    },
    /// The script could not be played to its end.
    Interrupted {
        /// Why.
        why: String,
    },
    /// It was not played.
    Skipped {
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// Whether the machine behaves otherwise than asserted, as far as is known.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Interrupted { .. })
    }
}

impl Script {
    /// The steps alone, to be played.
    #[must_use]
    pub fn sequence(&self, check: &Check) -> Sequence {
        Sequence {
            name: check.name.to_owned(),
            locked_limit: self.locked_limit,
            steps: self.acts.iter().map(|act| act.step.clone()).collect(),
        }
    }
}

/// Judges a script by its outcomes.
#[must_use]
pub fn judge(script: &Script, outcomes: &[Outcome]) -> Verdict {
    let mut before = None;
    for (index, act) in script.acts.iter().enumerate() {
        let outcome = outcomes.get(index);
        if !outcome.is_some_and(|outcome| act.expected.is_met(outcome, before)) {
            return Verdict::Failed {
                step: index + 1,
                call: act.step.to_string(),
                expected: act.expected.to_string(),
                got: got(outcome, before, &act.expected),
            };
        }
        before = outcome.map(|outcome| outcome.locked);
    }
    Verdict::Passed
}

fn got(outcome: Option<&Outcome>, before: Option<u64>, expected: &Expected) -> String {
    let Some(outcome) = outcome else { return "nothing: the process ended".to_owned() };
    let difference = i128::from(outcome.locked) - i128::from(before.unwrap_or(outcome.locked));
    match difference {
        _ if expected.charge == super::Charge::Any => outcome.answer.to_string(),
        0 => format!("{}, locked memory as before", outcome.answer),
        bytes => format!("{}, locked memory {:+} KiB", outcome.answer, bytes / 1024),
    }
}

/// Plays a script in a process of its own, and judges it.
pub(super) fn play(check: &Check, script: &Script, subject: &mut impl Subject) -> Verdict {
    match subject.play(&script.sequence(check)) {
        Ok(outcomes) => judge(script, &outcomes),
        Err(error @ SubjectError::Child { .. }) => {
            Verdict::Interrupted { why: format!("the process that took the steps died {error}") }
        }
        Err(error) => Verdict::Interrupted { why: error.to_string() },
    }
}
