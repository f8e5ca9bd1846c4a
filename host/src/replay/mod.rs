//! A journal's questions, asked of another policy: what would have been decided otherwise, and what that costs.

mod cost;
mod text;

use std::path::Path;

use serde::Serialize;
use thiserror::Error;

pub use self::{cost::Cost, text::render};

use crate::{
    author::judge::judge,
    grant::Rejection,
    journal::{self, Entry, JournalError, Outcome, Record},
    policy::{Answer, Evaluation, Evaluator, Function, Identity},
};

/// The version of the document.
pub const FORMAT: &str = "tce-policy-replay/1";

/// Differences that are listed; the rest is counted.
pub const DIFFERENCES_MAX: usize = 1_000;

/// What a replay found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Replay {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The policy that was asked.
    pub policy: Identity,
    /// Decisions in the journal.
    pub decisions: u64,
    /// Those that the policy does not decide.
    pub skipped: u64,
    /// Those that it would have decided alike.
    pub same: u64,
    /// Those that it would have decided otherwise.
    pub different: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// What was decided, of those that the policy was asked.
    pub then: Cost,
    /// What the policy would have decided.
    pub now: Cost,
}

/// A decision that would have been another.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Which of the journal's decisions, from 1.
    pub number: u64,
    /// When it was made, in milliseconds since the epoch.
    pub at: u64,
    /// What was asked.
    pub function: Function,
    /// What it was about.
    pub about: String,
    /// What was decided.
    pub then: Said,
    /// What the policy says.
    pub now: Said,
}

/// One side of a difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// An answer that can be carried out, a refusal included.
    Answer(Answer),
    /// None that could be: why.
    Failure(String),
}

/// Why there is no replay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Asks a policy every question of a journal that it answers, as it was asked then: settings and earlier answers in the
/// question included.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(path: &Path, policy: &dyn Evaluator) -> Result<Replay, ReplayError> {
    let mut replay = Replay {
        format: FORMAT,
        policy: policy.identity().clone(),
        decisions: 0,
        skipped: 0,
        same: 0,
        different: 0,
        differences: Vec::new(),
        then: Cost::default(),
        now: Cost::default(),
    };
    journal::read(path, |entry| {
        if let Entry::Decision(record) = entry {
            replay.add(&record, policy);
        }
        Ok::<_, ReplayError>(())
    })?;
    Ok(replay)
}

impl Replay {
    fn add(&mut self, record: &Record, policy: &dyn Evaluator) {
        self.decisions += 1;
        let function = record.question.function();
        if !policy.answers(function) {
            self.skipped += 1;
            return;
        }
        let then = said_then(record);
        let evaluation = policy.evaluate(&record.question);
        let now = said_now(record, &evaluation);
        self.then.add(&record.question, &then, record.asked.evaluation.fuel);
        self.now.add(&record.question, &now, evaluation.fuel);
        if then == now {
            self.same += 1;
            return;
        }
        self.different += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            let (number, at, about) = (self.decisions, record.at, record.about.clone());
            self.differences.push(Difference { number, at, function, about, then, now });
        }
    }
}

fn said_then(record: &Record) -> Said {
    let decisive = record.decisive();
    match (&decisive.evaluation.result, record.outcome) {
        (Ok(answer), Outcome::Granted | Outcome::Denied) => Said::Answer(answer.clone()),
        _ => Said::Failure(decisive.failure().unwrap_or_else(|| "no answer".to_owned())),
    }
}

fn said_now(record: &Record, evaluation: &Evaluation) -> Said {
    match &evaluation.result {
        Err(broken) => Said::Failure(broken.to_string()),
        Ok(answer) => match judge(&record.question, answer) {
            Ok(()) => Said::Answer(answer.clone()),
            Err(Rejection::Nonsense(why)) => Said::Failure(format!("its answer cannot be: {why}")),
            Err(Rejection::Refused(why)) => Said::Failure(format!("its answer cannot be: {why}")),
        },
    }
}
