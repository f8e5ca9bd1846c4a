//! Decisions: who is asked, what counts as an answer, and who answers when that one breaks.
//!
//! Of the policies of a host, each decision point has one that decides; the built-in policy decides the points that are
//! left, and answers where another broke. Others may watch as shadows: they are asked the same, and what they say is
//! only recorded. A policy that fails too often is ejected. A new version of a policy takes its seat between two
//! decisions.

mod ejection;
pub mod file;
mod member;
mod settings;
mod tally;

use std::sync::{Arc, Mutex, PoisonError};

use tce_engine::lease::Timestamp;
use thiserror::Error;

pub use self::{
    ejection::{Ejected, EjectionRule, FAILURES_MAX},
    member::{Member, Role, TRIAL_DECISIONS},
    settings::SettingsError,
    tally::{Tally, metrics},
};

use crate::{
    grant::Rejection,
    journal::{self, Entry, Journal, Record, Voice},
    policy::{
        Ask, Broken, BuiltIn, Evaluator, Function, Identity, Interface, LoadedPolicy, Question,
        wit::{Refusal, Setting},
    },
    report::{DecisionEntry, Outcome, PolicyEntry, ShadowEntry},
};

use self::settings::Known;

/// The policies of a host.
pub struct Policies {
    members: Vec<Member>,
    built_in: BuiltIn,
    built_in_knows: Known,
    built_in_tally: Mutex<Tally>,
    rule: EjectionRule,
    journal: Option<Mutex<Journal>>,
    /// The first thing that went wrong with the journal.
    journal_trouble: Mutex<Option<String>>,
}

/// Why policies do not go together.
#[derive(Debug, Error)]
pub enum PoliciesError {
    /// Two that decide the same.
    #[error("{first} and {second} both decide {point}: name one policy for each decision point")]
    TwoForOne {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// The point.
        point: Interface,
    },
    /// Two of one name.
    #[error("two policies are named {0}")]
    TwoOfOneName(String),
    /// One that does not answer what it shall decide.
    #[error("{name} does not implement {point}")]
    NotImplemented {
        /// The policy.
        name: String,
        /// The point.
        point: Interface,
    },
    /// One that broke when it was asked for its settings.
    #[error("{name} broke when it was asked for its settings: {broken}")]
    Broken {
        /// The policy.
        name: String,
        /// How.
        broken: Broken,
    },
}

/// Why a new version of a policy is not taken.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// There is no policy of that name.
    #[error("there is no policy {0}")]
    Unknown(String),
    /// It does not answer what the policy decides.
    #[error("the new version does not implement {0}")]
    NotImplemented(Interface),
    /// Its settings cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It broke at a question that the one before has answered.
    #[error("the new version broke at {function}, which the one before has answered: {broken}")]
    Broken {
        /// What it was asked.
        function: Function,
        /// How.
        broken: Broken,
    },
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
    /// These components, each for all that it implements, and the built-in policy for what they leave open.
    ///
    /// # Errors
    /// [`PoliciesError`].
    pub fn new(components: Vec<LoadedPolicy>) -> Result<Self, PoliciesError> {
        let members = components.into_iter().map(|component| {
            let name = component.name().to_owned();
            let broken = |broken| PoliciesError::Broken { name, broken };
            Member::new(Arc::new(component)).map_err(broken)
        });
        Self::of(members.collect::<Result<_, _>>()?)
    }

    /// These policies, and the built-in one for what they leave open.
    ///
    /// # Errors
    /// [`PoliciesError`].
    pub fn of(members: Vec<Member>) -> Result<Self, PoliciesError> {
        check_names(&members)?;
        check_points(&members)?;
        let built_in = BuiltIn::default();
        let knows = Known::of(&built_in);
        let name = || built_in.identity().name.clone();
        let knows = knows.map_err(|broken| PoliciesError::Broken { name: name(), broken })?;
        Ok(Self {
            members,
            built_in,
            built_in_knows: knows,
            built_in_tally: Mutex::default(),
            rule: EjectionRule::default(),
            journal: None,
            journal_trouble: Mutex::default(),
        })
    }

    /// The same with another rule for ejections.
    #[must_use]
    pub fn with_ejection(self, rule: EjectionRule) -> Self {
        Self { rule, ..self }
    }

    /// The same with a journal of every decision.
    #[must_use]
    pub fn with_journal(self, journal: Journal) -> Self {
        Self { journal: Some(Mutex::new(journal)), ..self }
    }

    /// For the report: each policy and what it decides.
    #[must_use]
    pub fn entries(&self) -> Vec<PolicyEntry> {
        let members = self.members.iter().map(|member| PolicyEntry {
            name: member.name.clone(),
            kind: "component".to_owned(),
            sha256: member.current().identity().sha256.map(|digest| digest.to_string()),
            decides: member.points.iter().map(ToString::to_string).collect(),
            shadow: member.role == Role::Shadow,
            ejected: member.ejected().map(|ejected| ejected.why),
        });
        let is_open = |point: &Interface| {
            !self.members.iter().any(|it| it.role == Role::Active && it.points.contains(point))
        };
        let built_in = PolicyEntry {
            name: self.built_in.identity().name.clone(),
            kind: "built-in".to_owned(),
            sha256: None,
            decides: Interface::ALL
                .iter()
                .filter(|it| is_open(it))
                .map(ToString::to_string)
                .collect(),
            shadow: false,
            ejected: None,
        };
        members.chain([built_in]).collect()
    }

    /// The counts of every policy, the built-in one last, and whether it is ejected.
    #[must_use]
    pub fn tallies(&self) -> Vec<(String, Tally, bool)> {
        let members = self.members.iter().map(|member| {
            let is_ejected = member.ejected().is_some();
            let tally = member.standing().tally.clone();
            (member.name.clone(), tally, is_ejected)
        });
        let built_in = self.built_in_tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        members.chain([(self.built_in.identity().name.clone(), built_in, false)]).collect()
    }

    /// The first thing that went wrong with the journal. Decisions go on without it.
    #[must_use]
    pub fn journal_trouble(&self) -> Option<String> {
        self.journal_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a policy is asked no more, if so.
    #[must_use]
    pub fn ejected(&self, name: &str) -> Option<Ejected> {
        self.member(name)?.ejected()
    }

    /// Asks a policy no more, for a reason of the operator's: the built-in policy decides what it decided. What it has
    /// decided stays.
    ///
    /// # Errors
    /// [`ReloadError::Unknown`].
    pub fn eject(&self, name: &str, why: &str, now: Timestamp) -> Result<(), ReloadError> {
        let member = self.member(name).ok_or_else(|| ReloadError::Unknown(name.to_owned()))?;
        let ejected = Ejected { at: now.0, why: why.to_owned(), question: None };
        member.eject(ejected.clone());
        let entry = Entry::Ejection { policy: name.to_owned(), ejected: Box::new(ejected) };
        self.write(&entry, now);
        Ok(())
    }

    /// Puts a new version of a policy in its place, between two decisions. Before that it is tried, off the path: its
    /// settings are checked, and it is asked once more what the one before has answered last. For
    /// [`TRIAL_DECISIONS`] it is on trial: when it fails, the one before answers again.
    ///
    /// # Errors
    /// [`ReloadError`]; then everything is as it was.
    pub fn reload(
        &self,
        name: &str,
        version: Arc<dyn Evaluator>,
        given: &[Setting],
        now: Timestamp,
    ) -> Result<(), ReloadError> {
        let member = self.member(name).ok_or_else(|| ReloadError::Unknown(name.to_owned()))?;
        if let Some(point) = member.points.iter().find(|point| !version.implements(**point)) {
            return Err(ReloadError::NotImplemented(*point));
        }
        settings::validate(name, &*version, &member.settings(given))?;
        for question in member.answered() {
            if let Err(broken) = version.evaluate(&question).result {
                return Err(ReloadError::Broken { function: question.function(), broken });
            }
        }
        let identity = version.identity().clone();
        member.replace(version);
        let entry = Entry::Reload { policy: name.to_owned(), at: now.0, identity };
        self.write(&entry, now);
        Ok(())
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Who is asked: the policy that decides this, with what answers for it now.
    fn active(&self, function: Function) -> Option<(&Member, Arc<dyn Evaluator>)> {
        let mut active = self.members.iter().filter(|it| it.role == Role::Active);
        let member = active.find(|it| it.points.contains(&function.interface()))?;
        let evaluator = member.current();
        (member.ejected().is_none() && evaluator.answers(function)).then_some((member, evaluator))
    }

    /// Makes one decision.
    ///
    /// `check` turns an answer into what may be done, and does nothing itself: it is also asked about what shadows say.
    /// `words` says the answer in words. A policy that breaks, or whose answer does not pass, is replaced by the built-in
    /// one for this decision.
    ///
    /// The question has the operator's settings. They are meant for the components; the built-in policy sees them only
    /// where there is no component at all.
    pub fn decide<Q: Ask, G>(
        &self,
        about: &str,
        now: Timestamp,
        mut question: Q,
        mut check: impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
        words: impl Fn(&Q::Given) -> String,
    ) -> Decided<G> {
        let given = question.settings().to_vec();
        let active = self.active(Q::FUNCTION);
        match &active {
            Some((member, _)) => question.set_settings(member.settings(&given)),
            None if self.members.is_empty() => {}
            None => question.set_settings(Vec::new()),
        }
        let evaluator: &dyn Evaluator = active.as_ref().map_or(&self.built_in, |it| &*it.1);
        let put = question.clone().into_question();
        let first = hear(evaluator, &question, &mut check, &words);
        let (mut heard, mut instead) = (first.judged, None);
        if let (Some((member, evaluator)), Some(_)) = (&active, first.voice.failure()) {
            self.note(member, evaluator, &put, &first.voice, now);
            question.set_settings(Vec::new());
            let second = hear(&self.built_in, &question, &mut check, &words);
            self.count_built_in(&second.voice);
            (heard, instead) = (second.judged, Some(second.voice));
        } else if let Some((member, evaluator)) = &active {
            self.note(member, evaluator, &put, &first.voice, now);
        } else {
            self.count_built_in(&first.voice);
        }
        let mut record = Record {
            at: now.0,
            about: about.to_owned(),
            question: put,
            asked: first.voice,
            instead,
            outcome: heard.outcome(),
            shadows: Vec::new(),
        };
        record.shadows = self.ask_shadows(&mut question, &given, &record, &mut check, &words, now);
        let entry = entry(&record, active.map(|(member, _)| member.name()), &heard);
        self.write(&Entry::Decision(Box::new(record)), now);
        Decided { verdict: heard.into_verdict(), entry }
    }

    /// What those say that only watch.
    fn ask_shadows<Q: Ask, G>(
        &self,
        question: &mut Q,
        given: &[Setting],
        record: &Record,
        check: &mut impl FnMut(&Q, &Q::Given) -> Result<G, Rejection>,
        words: &impl Fn(&Q::Given) -> String,
        now: Timestamp,
    ) -> Vec<Voice> {
        let point = Q::FUNCTION.interface();
        let shadows = self.members.iter().filter(|it| it.role == Role::Shadow);
        let shadows = shadows.filter(|it| it.points.contains(&point) && it.ejected().is_none());
        let mut voices = Vec::new();
        for member in shadows {
            let evaluator = member.current();
            if !evaluator.answers(Q::FUNCTION) {
                continue;
            }
            question.set_settings(member.settings(given));
            let voice = hear(&*evaluator, question, check, words).voice;
            self.note(member, &evaluator, &question.clone().into_question(), &voice, now);
            if voice.evaluation.result != record.decisive().evaluation.result {
                member.standing().tally.differed += 1;
            }
            voices.push(voice);
        }
        voices
    }

    fn note(
        &self,
        member: &Member,
        evaluator: &Arc<dyn Evaluator>,
        question: &Question,
        voice: &Voice,
        now: Timestamp,
    ) {
        if let Some(ejected) = member.note(evaluator, question, voice, self.rule, now) {
            let (policy, ejected) = (member.name.clone(), Box::new(ejected));
            self.write(&Entry::Ejection { policy, ejected }, now);
        }
    }

    fn count_built_in(&self, voice: &Voice) {
        self.built_in_tally.lock().unwrap_or_else(PoisonError::into_inner).count(voice);
    }

    fn write(&self, entry: &Entry, now: Timestamp) {
        let Some(journal) = &self.journal else { return };
        let written = journal.lock().unwrap_or_else(PoisonError::into_inner).write(entry, now);
        if let Err(error) = written {
            let mut trouble = self.journal_trouble.lock().unwrap_or_else(PoisonError::into_inner);
            trouble.get_or_insert_with(|| error.to_string());
        }
    }
}

fn check_names(members: &[Member]) -> Result<(), PoliciesError> {
    for (index, member) in members.iter().enumerate() {
        if members[..index].iter().any(|other| other.name == member.name) {
            return Err(PoliciesError::TwoOfOneName(member.name.clone()));
        }
    }
    Ok(())
}

fn check_points(members: &[Member]) -> Result<(), PoliciesError> {
    for member in members {
        let evaluator = member.current();
        if let Some(point) = member.points.iter().find(|point| !evaluator.implements(**point)) {
            let (name, point) = (member.name.clone(), *point);
            return Err(PoliciesError::NotImplemented { name, point });
        }
    }
    for point in Interface::ALL {
        let active = members.iter().filter(|it| it.role == Role::Active);
        let mut takers = active.filter(|it| it.points.contains(&point));
        if let (Some(first), Some(second)) = (takers.next(), takers.next()) {
            let (first, second) = (first.name.clone(), second.name.clone());
            return Err(PoliciesError::TwoForOne { first, second, point });
        }
    }
    Ok(())
}

/// What a policy said, and what that comes to.
struct Heard<G> {
    voice: Voice,
    judged: Judged<G>,
}

/// An evaluation, judged.
enum Judged<G> {
    Granted { grant: G, words: String },
    Denied(Refusal),
    Broken(Rejection),
}

impl<G> Judged<G> {
    const fn outcome(&self) -> journal::Outcome {
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

    fn into_verdict(self) -> Result<Verdict<G>, Rejection> {
        match self {
            Self::Granted { grant, .. } => Ok(Verdict::Granted(grant)),
            Self::Denied(refusal) => Ok(Verdict::Denied(refusal)),
            Self::Broken(rejection) => Err(rejection),
        }
    }
}

/// Asks a policy, and judges what it says.
fn hear<Q: Ask, G>(
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
fn entry<G>(record: &Record, member: Option<&str>, judged: &Judged<G>) -> DecisionEntry {
    let asked = member.unwrap_or(&record.asked.policy.name).to_owned();
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
        broken: record.instead.is_some().then(|| record.asked.failure()).flatten(),
        shadows: shadows.collect(),
    }
}
