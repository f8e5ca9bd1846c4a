//! Which settings go to which policy, and whether they can be.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::policy::{
    Broken, Evaluator,
    wit::{Setting, SettingProblem},
};

use super::{Policies, Role};

/// The settings that a policy knows.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// It does not tell, so it gets all.
    Untold,
    /// These keys.
    Keys(BTreeSet<String>),
}

impl Known {
    pub(super) fn of(evaluator: &dyn Evaluator) -> Result<Self, Broken> {
        let described = evaluator.describe_settings()?;
        let keys = |all: Vec<_>| Self::Keys(all.into_iter().map(key).collect());
        Ok(described.map_or(Self::Untold, keys))
    }

    /// Whether a setting with this key is for it.
    pub(super) fn takes(&self, key: &str) -> bool {
        match self {
            Self::Untold => true,
            Self::Keys(keys) => keys.contains(key),
        }
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = match self {
            Self::Untold => None,
            Self::Keys(keys) => Some(keys),
        };
        keys.into_iter().flatten().map(String::as_str)
    }
}

fn key(described: crate::policy::wit::SettingDescription) -> String {
    described.key
}

/// Why settings cannot be.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// No policy knows the key.
    #[error("there is no setting {key}: {}", there_are(known))]
    Unknown {
        /// The key.
        key: String,
        /// The keys there are.
        known: Vec<String>,
    },
    /// The policy says what is wrong.
    #[error("policy {policy}: setting {}: {}", problem.key, problem.detail)]
    Problem {
        /// The policy.
        policy: String,
        /// What is wrong.
        problem: SettingProblem,
    },
    /// The policy broke when it was asked.
    #[error("policy {policy} broke when it was asked about its settings: {broken}")]
    Broken {
        /// The policy.
        policy: String,
        /// How.
        broken: Broken,
    },
}

fn there_are(known: &[String]) -> String {
    if known.is_empty() {
        return "no policy here has any".to_owned();
    }
    format!("there are {}", known.join(", "))
}

impl Policies {
    /// Whether these settings, and those that policies have of their own, can be: each key is known to a policy that
    /// gets it, and no policy has anything against its values.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be.
    pub fn check_settings(&self, given: &[Setting]) -> Result<(), SettingsError> {
        self.check_keys(given)?;
        for member in &self.members {
            validate(member.name(), &*member.current(), &member.settings(given))?;
        }
        if self.members.is_empty() {
            validate("built-in", &self.built_in, given)?;
        }
        Ok(())
    }

    /// Settings that nobody takes are misspelt, unless there is a policy that does not tell what it takes.
    fn check_keys(&self, given: &[Setting]) -> Result<(), SettingsError> {
        let receivers: Vec<&Known> = match self.members.as_slice() {
            [] => vec![&self.built_in_knows],
            members => {
                let with_given = members.iter().filter(|it| it.own_settings().is_none());
                with_given.filter(|it| it.role == Role::Active).map(super::Member::known).collect()
            }
        };
        let is_taken = |key: &str| receivers.iter().any(|known| known.takes(key));
        let Some(unknown) = given.iter().find(|setting| !is_taken(&setting.key)) else {
            return Ok(());
        };
        let known: BTreeSet<&str> = receivers.iter().flat_map(|known| known.keys()).collect();
        let known = known.into_iter().map(str::to_owned).collect();
        Err(SettingsError::Unknown { key: unknown.key.clone(), known })
    }
}

pub(super) fn validate(
    name: &str,
    evaluator: &dyn Evaluator,
    settings: &[Setting],
) -> Result<(), SettingsError> {
    let policy = || name.to_owned();
    let problems = evaluator.validate_settings(settings);
    let problems = problems.map_err(|broken| SettingsError::Broken { policy: policy(), broken })?;
    match problems.into_iter().next() {
        Some(problem) => Err(SettingsError::Problem { policy: policy(), problem }),
        None => Ok(()),
    }
}
