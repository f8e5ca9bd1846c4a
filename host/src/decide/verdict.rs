//! What a policy says, and what that comes to.

use crate::{
    grant::Rejection,
    journal::{self, Record, Voice},
    policy::{Ask, Evaluator, Identity, wit::Refusal},
    report::{DecisionEntry, Outcome, ShadowEntry},
};

/// What came of a decision that was made.
#[derive(Debug)]
pub enum Verdict<G> {
    /// An answer, checked.
    Granted(G),
    /// A no.
    Denied(Refusal),
}

/// A decision: the verdict, and what the report says of it.
pub struct Decided<G> {
    /// The verdict; a rejection if even the built-in policy's answer cannot be carried out.
    pub verdict: Result<Verdict<G>, Rejection>,
    /// For the report.
    pub entry: DecisionEntry,
}

/// What a policy said, and what that comes to.
pub(super) struct Heard<G> {
    pub(super) voice: Voice,
    pub(super) judged: Judged<G>,
}

/// An evaluation, judged.
pub(super) enum Judged<G> {
    Granted { grant: G, words: String },
    Denied(Refusal),
    Broken(Rejection),
}

impl<G> Judged<G> {
    pub(super) const fn outcome(&self) -> journal::Outcome {
        match self {
            Self::Granted { .. } => journal::Outcome::Granted,
            Self::Denied(_) => journal::Outcome::Denied,
            Self::Broken(_) => journal::Outcome::Failed,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Granted { words, .. } => words.clone(),
            Self::Denied(refusal) => refusal.detail.clone(),
            Self::Broken(_) => String::new(),
        }
    }

    pub(super) fn into_verdict(self) -> Result<Verdict<G>, Rejection> {
        match self {
            Self::Granted { grant, .. } => Ok(Verdict::Granted(grant)),
            Self::Denied(refusal) => Ok(Verdict::Denied(refusal)),
            Self::Broken(rejection) => Err(rejection),
        }
    }
}

/// Asks a policy, and judges what it says.
pub(super) fn hear<Q: Ask, G>(
    evaluator: &dyn Evaluator,
    question: &Q,
    check: &mut impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
    words: &impl Fn(&Q::Given) -> String,
) -> Heard<G> {
    let evaluation = evaluator.evaluate(&question.clone().into_question());
    let judged = match evaluation.clone().typed::<Q>().result {
        Err(broken) => Judged::Broken(Rejection::Nonsense(broken.to_string())),
        Ok(Err(refusal)) => Judged::Denied(refusal),
        Ok(Ok(answer)) => match check(question, &answer) {
            Ok(grant) => Judged::Granted { grant, words: words(&answer) },
            Err(rejection) => Judged::Broken(rejection),
        },
    };
    let rejected = match (&judged, &evaluation.result) {
        (Judged::Broken(rejection), Ok(_)) => Some(rejection.to_string()),
        _ => None,
    };
    let policy: Identity = evaluator.identity().clone();
    Heard { voice: Voice { policy, evaluation, rejected }, judged }
}

/// What the report says of a decision.
pub(super) fn entry<G>(record: &Record, member: Option<&str>, judged: &Judged<G>) -> DecisionEntry {
    let asked = member.unwrap_or(&record.asked.policy.name).to_owned();
    let replaced = record.instead.is_some().then_some(&record.asked);
    let instead = record.instead.as_ref().map(|voice| voice.policy.name.clone());
    let shadows = record.shadows.iter().map(|voice| ShadowEntry {
        policy: voice.policy.name.clone(),
        differs: voice.evaluation.result != record.decisive().evaluation.result,
        broken: voice.failure(),
    });
    DecisionEntry {
        point: record.question.function().interface().to_string(),
        about: record.about.clone(),
        decided_by: instead.unwrap_or_else(|| asked.clone()),
        asked,
        outcome: match judged {
            Judged::Denied(_) => Outcome::Denied,
            Judged::Granted { .. } | Judged::Broken(_) => Outcome::Granted,
        },
        answer: judged.words(),
        fuel: record.asked.evaluation.fuel,
        broken: replaced.and_then(Voice::failure),
        fault: replaced.and_then(Voice::fault),
        shadows: shadows.collect(),
    }
}
