//! Decisions: who is asked, what counts as an answer, and who answers when that one breaks.
//!
//! Of the policies of a host, each decision point has one that decides; the built-in policy decides the points that are
//! left, and answers where another broke. Others may watch as shadows: they are asked the same, and what they say is
//! only recorded. A policy that fails too often is ejected. A new version of a policy takes its seat between two
//! decisions.

mod deciding;
mod ejection;
mod error;
pub mod file;
mod member;
mod settings;
mod tally;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};

use tce_engine::lease::Timestamp;

pub use self::{
    ejection::{Ejected, EjectionRule, FAILURES_MAX},
    error::{PoliciesError, ReloadError},
    member::{Member, Role, TRIAL_DECISIONS},
    settings::SettingsError,
    tally::{Tally, metrics},
    verdict::{Decided, Verdict},
};

use crate::{
    journal::{Entry, Journal},
    policy::{BuiltIn, Evaluator, Function, Interface, LoadedPolicy, wit::Setting},
    report::PolicyEntry,
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
