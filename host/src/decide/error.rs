//! Why policies do not go together, and why a new version of one is not taken.

use thiserror::Error;

use crate::policy::{Broken, Function, Interface};

use super::SettingsError;

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
