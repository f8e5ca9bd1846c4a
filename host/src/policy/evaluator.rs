//! What can be asked, and what can come of it.

use serde::{Deserialize, Serialize};
use tce_engine::addr::Bytes;
use thiserror::Error;

use super::{
    interface::Interface,
    limits::DETAIL_BYTES_MAX,
    load::Digest,
    question::{Answer, Ask, Function, Question},
    shown,
    wit::{Level, Refusal, Setting, SettingDescription, SettingProblem},
};

/// Who answers: what a journal and a report know a policy by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its file; none for the built-in policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// A policy that can be asked.
pub trait Evaluator: Send + Sync {
    /// Who it is.
    fn identity(&self) -> &Identity;

    /// Whether it answers this.
    fn answers(&self, function: Function) -> bool;

    /// Asks it. A failure is a value, whatever happens.
    fn evaluate(&self, question: &Question) -> Evaluation;

    /// Every setting that it knows; `None` if it does not tell.
    ///
    /// # Errors
    /// It broke.
    fn describe_settings(&self) -> Result<Option<Vec<SettingDescription>>, Broken> {
        Ok(None)
    }

    /// What is wrong with these settings; nothing if it does not tell.
    ///
    /// # Errors
    /// It broke.
    fn validate_settings(&self, _settings: &[Setting]) -> Result<Vec<SettingProblem>, Broken> {
        Ok(Vec::new())
    }

    /// Whether it decides anything at this decision point.
    fn implements(&self, interface: Interface) -> bool {
        let mut functions = Function::ALL.into_iter().filter(|each| each.interface() == interface);
        functions.any(|function| self.answers(function))
    }
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub struct Evaluation {
    /// The answer, or why there is none.
    #[serde(with = "outcome")]
    pub result: Result<Answer, Broken>,
    /// The fuel it took. Without an answer that is the whole budget, because what a trap leaves is not exact. `None`
    /// where nothing is metered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// What it noted on the way.
    #[serde(default, skip_serializing_if = "Log::is_empty")]
    pub log: Log,
}

/// What came of a question whose answer has a type of its own.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Asked<A> {
    /// The answer or the policy's no, or why there is neither.
    pub result: Result<Result<A, Refusal>, Broken>,
    /// As [`Evaluation::fuel`].
    pub fuel: Option<u64>,
    /// As [`Evaluation::log`].
    pub log: Log,
}

/// Asks a policy a question whose answer has a type of its own.
pub fn ask<Q: Ask>(policy: &(impl Evaluator + ?Sized), question: Q) -> Asked<Q::Given> {
    policy.evaluate(&question.into_question()).typed::<Q>()
}

/// The lines that a policy noted in one decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    /// The first of them.
    pub lines: Vec<Line>,
    /// How many more there were.
    pub dropped: u64,
}

impl Log {
    /// Whether nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

/// A line that a policy noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// How much it matters.
    pub level: LineLevel,
    /// What it says.
    pub text: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineLevel {
    /// To the author of the policy.
    Debug,
    /// To the operator.
    Note,
    /// To the operator, soon.
    Warning,
}

impl From<Level> for LineLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Note => Self::Note,
            Level::Warning => Self::Warning,
        }
    }
}

/// Why there is no answer: not the policy's no, but its failure.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Broken {
    /// It was asked what it does not answer.
    #[error("it does not answer {function}")]
    NotImplemented {
        /// What it was asked.
        function: Function,
    },
    /// It crashed, as a panic does.
    #[error("it trapped: {what}")]
    Trap {
        /// The kind of trap.
        what: String,
    },
    /// It did not come to an end within its budget.
    #[error("it burned its budget of {budget} fuel without an answer")]
    OutOfFuel {
        /// The budget.
        budget: u64,
    },
    /// It took too long, by the clock.
    #[error("it had no answer after {millis} ms")]
    Timeout {
        /// How long it had.
        millis: u64,
    },
    /// It wanted more memory than it may have.
    #[error("it wanted more than {} of memory", size(*limit))]
    OutOfMemory {
        /// The limit.
        limit: usize,
    },
    /// Its calls went too deep.
    #[error("its calls went deeper than {} of stack", size(*limit))]
    OutOfStack {
        /// The limit.
        limit: usize,
    },
    /// Its answer is too large to be taken.
    #[error("its answer has more than {}", size(*limit))]
    TooMuchData {
        /// The limit.
        limit: usize,
    },
    /// Its answer is not of the answer's type, or what it gives on the way is not what the component model wants: the text
    /// of a line, the place for a question.
    #[error("what it hands over cannot be read: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// It does not start.
    #[error("it cannot be instantiated: {what}")]
    Instantiation {
        /// What is in the way.
        what: String,
    },
    /// The process that asked it has died.
    #[error("its worker process died: {what}")]
    WorkerDied {
        /// How.
        what: String,
    },
}

impl Broken {
    /// Its kind: the name under which it is counted and recorded.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotImplemented { .. } => "not-implemented",
            Self::Trap { .. } => "trap",
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::Timeout { .. } => "timeout",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::OutOfStack { .. } => "out-of-stack",
            Self::TooMuchData { .. } => "too-much-data",
            Self::Malformed { .. } => "malformed",
            Self::Instantiation { .. } => "instantiation",
            Self::WorkerDied { .. } => "worker-died",
        }
    }

    /// What it is for whoever only wants to know what to do about it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::OutOfFuel { .. } => Fault::OutOfFuel,
            Self::Timeout { .. } => Fault::Timeout,
            Self::WorkerDied { .. } => Fault::WorkerDied,
            Self::TooMuchData { .. } | Self::Malformed { .. } => Fault::BadAnswer,
            Self::NotImplemented { .. }
            | Self::Trap { .. }
            | Self::OutOfMemory { .. }
            | Self::OutOfStack { .. }
            | Self::Instantiation { .. } => Fault::Crashed,
        }
    }
}

/// How a policy failed: what reports and exit codes tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It trapped, or wanted more memory or stack than it may have.
    Crashed,
    /// It did not come to an end within its budget.
    OutOfFuel,
    /// It took too long, by the clock.
    Timeout,
    /// The process that asked it has died.
    WorkerDied,
    /// Its answer cannot be read, or cannot be carried out.
    BadAnswer,
}

/// Serde's form of a result, with words of ours.
mod outcome {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Answer, Broken};

    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Said<'a> {
        Answer(&'a Answer),
        Broken(&'a Broken),
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Heard {
        Answer(Answer),
        Broken(Broken),
    }

    pub(super) fn serialize<S: Serializer>(
        result: &Result<Answer, Broken>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        result.as_ref().map_or_else(Said::Broken, Said::Answer).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Result<Answer, Broken>, D::Error> {
        Ok(match Heard::deserialize(from)? {
            Heard::Answer(answer) => Ok(answer),
            Heard::Broken(broken) => Err(broken),
        })
    }
}

impl Evaluation {
    /// An answer that cost nothing that is metered.
    pub fn unmetered(result: Result<Answer, Broken>) -> Self {
        Self { result, fuel: None, log: Log::default() }.with_short_detail()
    }

    /// The same for the question that was asked.
    pub fn typed<Q: Ask>(self) -> Asked<Q::Given> {
        let other = || Broken::Malformed { what: format!("it is none to {}", Q::FUNCTION) };
        let result = self.result.and_then(|answer| Q::given(answer).ok_or_else(other));
        Asked { result, fuel: self.fuel, log: self.log }
    }

    /// Cuts a refusal's detail to what is kept of it, and to what may be shown.
    pub(super) fn with_short_detail(mut self) -> Self {
        if let Ok(Answer::Refused(refusal)) = &mut self.result {
            shown::sentence(&mut refusal.detail, DETAIL_BYTES_MAX);
        }
        self
    }
}

/// A limit as people read it.
fn size(limit: usize) -> Bytes {
    Bytes::new(u64::try_from(limit).unwrap_or(u64::MAX))
}
