//! Recorded decisions that a policy is held against: the same answer, and the same fuel.
//!
//! They stand in JSON Lines, each line a [`Golden`].

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    evaluator::{Broken, Evaluator},
    question::{Answer, Function, Question},
};

/// One recorded decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Golden {
    /// What was asked.
    pub question: Question,
    /// What was answered.
    pub answer: Answer,
    /// What that took.
    pub fuel: u64,
}

/// How a policy differs from what was recorded of it.
#[derive(Debug, Error)]
pub enum Difference {
    /// The record cannot be read.
    #[error("line {line} is no recorded decision: {why}")]
    Unreadable {
        /// Where it stands.
        line: usize,
        /// What is wrong with it.
        why: serde_json::Error,
    },
    /// There is no answer any more.
    #[error("line {line}, {function}: it has no answer: {broken}")]
    Broken {
        /// Where the decision stands.
        line: usize,
        /// What was asked.
        function: Function,
        /// Why.
        broken: Broken,
    },
    /// The answer is another one.
    #[error("line {line}, {function}: it answers {given:?}, and {recorded:?} is recorded")]
    Answer {
        /// Where the decision stands.
        line: usize,
        /// What was asked.
        function: Function,
        /// What it answers now.
        given: Box<Answer>,
        /// What it answered.
        recorded: Box<Answer>,
    },
    /// The answer takes another amount of fuel.
    #[error("line {line}, {function}: it takes {given:?} fuel, and {recorded} are recorded")]
    Fuel {
        /// Where the decision stands.
        line: usize,
        /// What was asked.
        function: Function,
        /// What it takes now; `None` where nothing is metered.
        given: Option<u64>,
        /// What it took.
        recorded: u64,
    },
}

impl Golden {
    /// Asks a policy and records what comes of it.
    ///
    /// # Errors
    /// It broke, and that is nothing to hold others against.
    pub fn record(policy: &(impl Evaluator + ?Sized), question: Question) -> Result<Self, Broken> {
        let evaluation = policy.evaluate(&question);
        let fuel = evaluation.fuel.unwrap_or(0);
        evaluation.result.map(|answer| Self { question, answer, fuel })
    }

    /// Asks a policy each recorded question: how many there were.
    ///
    /// # Errors
    /// The first difference.
    pub fn hold(policy: &(impl Evaluator + ?Sized), recorded: &str) -> Result<usize, Difference> {
        let mut count = 0;
        for (index, text) in recorded.lines().enumerate() {
            let line = index + 1;
            let golden: Self =
                serde_json::from_str(text).map_err(|why| Difference::Unreadable { line, why })?;
            golden.check(policy, line)?;
            count += 1;
        }
        Ok(count)
    }

    fn check(self, policy: &(impl Evaluator + ?Sized), line: usize) -> Result<(), Difference> {
        let Self { question, answer, fuel: recorded } = self;
        let function = question.function();
        let evaluation = policy.evaluate(&question);
        let given = match evaluation.result {
            Ok(given) => given,
            Err(broken) => return Err(Difference::Broken { line, function, broken }),
        };
        if given != answer {
            let (given, recorded) = (Box::new(given), Box::new(answer));
            return Err(Difference::Answer { line, function, given, recorded });
        }
        if evaluation.fuel != Some(recorded) {
            let given = evaluation.fuel;
            return Err(Difference::Fuel { line, function, given, recorded });
        }
        Ok(())
    }
}
