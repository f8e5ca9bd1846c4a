//! Decisions: who is asked, what counts as an answer, and who answers when that one breaks.

use thiserror::Error;

use crate::{
    grant::Rejection,
    policy::{
        Answer, BuiltIn, Evaluation, Evaluator, Interface, LoadedPolicy,
        wit::{
            AdmitQuestion, PageChoice, PageQuestion, Refusal, Terms, WindowChoice, WindowQuestion,
        },
    },
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

/// A question that a policy may answer with a refusal.
pub trait Question {
    /// An answer that is no refusal.
    type Given;
    /// The decision point that it belongs to.
    const POINT: Interface;

    /// Puts it to a policy.
    fn ask(&self, policy: &dyn Evaluator) -> Evaluation<Answer<Self::Given>>;

    /// Takes out what the operator set.
    fn clear_settings(&mut self);
}

macro_rules! questions {
    ($($question:ty: $point:ident, $function:ident, $given:ty;)+) => {
        $(
            impl Question for $question {
                type Given = $given;
                const POINT: Interface = Interface::$point;

                fn ask(&self, policy: &dyn Evaluator) -> Evaluation<Answer<Self::Given>> {
                    policy.$function(self)
                }

                fn clear_settings(&mut self) {
                    self.settings.clear();
                }
            }
        )+
    };
}

questions! {
    PageQuestion: PageSelection, select_pages, Vec<PageChoice>;
    WindowQuestion: WindowSizing, size_windows, Vec<WindowChoice>;
    AdmitQuestion: LeasePolicy, admit, Terms;
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
        Ok(Self { components, built_in: BuiltIn })
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
            decides: policy.interfaces().iter().map(|it| it.interface.to_string()).collect(),
        });
        let open = Interface::ALL.into_iter().filter(|it| self.component_for(*it).is_none());
        let built_in = PolicyEntry {
            name: self.built_in.name().to_owned(),
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
    pub fn decide<Q: Question, G>(
        &self,
        about: &str,
        mut question: Q,
        mut check: impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
        words: impl Fn(&Q::Given) -> String,
    ) -> Decided<G> {
        let component = self.component_for(Q::POINT);
        if component.is_none() && !self.components.is_empty() {
            question.clear_settings();
        }
        let asked: &dyn Evaluator = component.map_or(&self.built_in, |policy| policy);
        let first = question.ask(asked);
        let mut entry = DecisionEntry {
            point: Q::POINT.to_string(),
            about: about.to_owned(),
            asked: asked.name().to_owned(),
            decided_by: asked.name().to_owned(),
            outcome: Outcome::Granted,
            answer: String::new(),
            fuel: first.fuel,
            broken: None,
        };
        let verdict = match judge(first, |answer| check(&question, answer), &words) {
            Judged::Broken { why, .. } if component.is_some() => {
                entry.broken = Some(why);
                self.built_in.name().clone_into(&mut entry.decided_by);
                question.clear_settings();
                let second = question.ask(&self.built_in);
                conclude(judge(second, |answer| check(&question, answer), &words), &mut entry)
            }
            judged => conclude(judged, &mut entry),
        };
        Decided { verdict, entry }
    }
}

/// An evaluation, judged.
enum Judged<G> {
    Granted { grant: G, words: String },
    Denied(Refusal),
    Broken { why: String, rejection: Rejection },
}

fn judge<A, G>(
    evaluation: Evaluation<Answer<A>>,
    check: impl FnOnce(&A) -> Result<G, Rejection>,
    words: &impl Fn(&A) -> String,
) -> Judged<G> {
    match evaluation.result {
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
