//! Decisions: who is asked, what counts as an answer, and who answers when that one breaks.

use thiserror::Error;

use crate::{
    grant::Rejection,
    policy::{Ask, Asked, BuiltIn, Evaluator, Interface, LoadedPolicy, ask, wit::Refusal},
    report::{DecisionEntry, Outcome, PolicyEntry},
};

/// The policies of a run: for each decision point a component, or the built-in one.
pub struct Policies {
    components: Vec<LoadedPolicy>,
    built_in: BuiltIn,
}

/// Two components for one decision point.
#[derive(Debug, Error)]
#[error("{first} and {second} both decide {point}: name one policy for each decision point")]
pub struct TwoForOne {
    first: String,
    second: String,
    point: Interface,
}

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

impl Policies {
    /// These components, and the built-in policy for what they leave open.
    ///
    /// # Errors
    /// [`TwoForOne`].
    pub fn new(components: Vec<LoadedPolicy>) -> Result<Self, TwoForOne> {
        for point in Interface::ALL {
            let mut takers = components.iter().filter(|policy| policy.implements(point));
            if let (Some(first), Some(second)) = (takers.next(), takers.next()) {
                let (first, second) = (first.name().to_owned(), second.name().to_owned());
                return Err(TwoForOne { first, second, point });
            }
        }
        Ok(Self { components, built_in: BuiltIn::default() })
    }

    /// The component that decides a point; without one, the built-in policy does.
    fn component_for(&self, point: Interface) -> Option<&LoadedPolicy> {
        self.components.iter().find(|policy| policy.implements(point))
    }

    /// For the report: each policy and what it decides.
    #[must_use]
    pub fn entries(&self) -> Vec<PolicyEntry> {
        let components = self.components.iter().map(|policy| PolicyEntry {
            name: policy.name().to_owned(),
            kind: "component".to_owned(),
            sha256: Some(policy.digest().to_string()),
            decides: points(policy),
        });
        let open = Interface::ALL.into_iter().filter(|it| self.component_for(*it).is_none());
        let built_in = PolicyEntry {
            name: self.built_in.identity().name.clone(),
            kind: "built-in".to_owned(),
            sha256: None,
            decides: open.map(|point| point.to_string()).collect(),
        };
        components.chain([built_in]).collect()
    }

    /// Makes one decision.
    ///
    /// `check` turns an answer into what may be done, `words` says the answer in words. A policy that breaks, or whose
    /// answer does not pass, is replaced by the built-in one for this decision.
    ///
    /// The question has the operator's settings. They are meant for the components; the built-in policy sees them only
    /// where there is no component at all.
    pub fn decide<Q: Ask, G>(
        &self,
        about: &str,
        mut question: Q,
        mut check: impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
        words: impl Fn(&Q::Given) -> String,
    ) -> Decided<G> {
        let point = Q::FUNCTION.interface();
        let component = self.component_for(point);
        if component.is_none() && !self.components.is_empty() {
            question.set_settings(Vec::new());
        }
        let asked: &dyn Evaluator = component.map_or(&self.built_in, |policy| policy);
        let first = ask(asked, question.clone());
        let mut entry = DecisionEntry {
            point: point.to_string(),
            about: about.to_owned(),
            asked: asked.identity().name.clone(),
            decided_by: asked.identity().name.clone(),
            outcome: Outcome::Granted,
            answer: String::new(),
            fuel: first.fuel,
            broken: None,
        };
        let verdict = match judge(first, |answer| check(&question, answer), &words) {
            Judged::Broken { why, .. } if component.is_some() => {
                entry.broken = Some(why);
                entry.decided_by.clone_from(&self.built_in.identity().name);
                question.set_settings(Vec::new());
                let second = ask(&self.built_in, question.clone());
                conclude(judge(second, |answer| check(&question, answer), &words), &mut entry)
            }
            judged => conclude(judged, &mut entry),
        };
        Decided { verdict, entry }
    }
}

/// The decision points of a policy.
fn points(policy: &LoadedPolicy) -> Vec<String> {
    let points = Interface::ALL.into_iter().filter(|point| policy.implements(*point));
    points.map(|point| point.to_string()).collect()
}

/// An evaluation, judged.
enum Judged<G> {
    Granted { grant: G, words: String },
    Denied(Refusal),
    Broken { why: String, rejection: Rejection },
}

fn judge<A, G>(
    asked: Asked<A>,
    check: impl FnOnce(&A) -> Result<G, Rejection>,
    words: &impl Fn(&A) -> String,
) -> Judged<G> {
    match asked.result {
        Err(broken) => {
            let why = broken.to_string();
            Judged::Broken { rejection: Rejection::Nonsense(why.clone()), why }
        }
        Ok(Err(refusal)) => Judged::Denied(refusal),
        Ok(Ok(answer)) => match check(&answer) {
            Ok(grant) => Judged::Granted { grant, words: words(&answer) },
            Err(rejection) => {
                Judged::Broken { why: format!("its answer cannot be: {rejection}"), rejection }
            }
        },
    }
}

fn conclude<G>(judged: Judged<G>, entry: &mut DecisionEntry) -> Result<Verdict<G>, Rejection> {
    match judged {
        Judged::Granted { grant, words } => {
            entry.answer = words;
            Ok(Verdict::Granted(grant))
        }
        Judged::Denied(refusal) => {
            entry.outcome = Outcome::Denied;
            entry.answer.clone_from(&refusal.detail);
            Ok(Verdict::Denied(refusal))
        }
        Judged::Broken { rejection, .. } => Err(rejection),
    }
}
