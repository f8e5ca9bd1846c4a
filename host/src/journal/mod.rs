//! The journal: every decision, with all that was asked and all that came of it, as lines of JSON in files of bounded
//! size. `docs/journal.md` describes the format.

mod read;
mod write;

use serde::{Deserialize, Serialize};

pub use self::{
    read::{JournalError, read},
    write::{Durability, Journal, Limits},
};

use crate::{
    decide::Ejected,
    policy::{Broken, Evaluation, Fault, Identity, Question},
};

/// The version of the format, in the first line of each file.
pub const FORMAT: &str = "tce-journal/1";

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// The first line of a file.
    Head {
        /// [`FORMAT`].
        format: String,
    },
    /// A decision.
    Decision(Box<Record>),
    /// A policy is asked no more.
    Ejection {
        /// Its name among the host's policies.
        policy: String,
        /// Why.
        ejected: Box<Ejected>,
    },
    /// A new version of a policy answers.
    Reload {
        /// Its name among the host's policies.
        policy: String,
        /// When, in milliseconds since the epoch.
        at: u64,
        /// What answers now.
        identity: Identity,
    },
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// When it was asked, in milliseconds since the epoch.
    pub at: u64,
    /// What it was about, such as a lease's name.
    pub about: String,
    /// What was asked, with the settings of the policy that was asked first.
    pub question: Question,
    /// What the policy said that was asked.
    pub asked: Voice,
    /// What the built-in policy said in its place, if it broke or its answer could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Voice>,
    /// How it came out.
    pub outcome: Outcome,
    /// What shadows said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<Voice>,
}

impl Record {
    /// What counted.
    #[must_use]
    pub fn decisive(&self) -> &Voice {
        self.instead.as_ref().unwrap_or(&self.asked)
    }
}

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Voice {
    /// Which.
    pub policy: Identity,
    /// What came of the question.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Why its answer could not be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

impl Voice {
    /// Why it did not decide, if that is its fault.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let broken = self.evaluation.result.as_ref().err().map(Broken::to_string);
        broken.or_else(|| self.rejected.as_ref().map(|why| format!("its answer cannot be: {why}")))
    }

    /// How it failed, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let broken = self.evaluation.result.as_ref().err().map(Broken::fault);
        broken.or_else(|| self.rejected.as_ref().map(|_| Fault::BadAnswer))
    }
}

/// How a decision came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With an answer that could be carried out.
    Granted,
    /// With a no.
    Denied,
    /// With no answer that could be carried out, not even the built-in policy's.
    Failed,
}
