//! Scenarios: a question in a file, and what is expected of the answer.
//!
//! A question alone is a scenario that expects an acceptable answer. What a journal holds as a question can be read
//! here as it is; what a person writes may leave out whatever has an ordinary value, and name a simulated machine
//! instead of its facts. `docs/policy-authors.md` describes every key.

mod expect;
mod file;
mod lists;
mod parts;
mod property;
mod resolve;

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::policy::Question;

pub use self::{
    expect::{Expectation, Problem},
    file::ScenarioFile,
};

/// The longest file that is read. A question with every candidate of both slots has some 100 KiB.
pub const SCENARIO_BYTES_MAX: u64 = 4 << 20;

/// The most scenarios of one folder.
pub const SCENARIOS_MAX: usize = 10_000;

/// A scenario, ready to be tried.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What the policy is asked.
    pub question: Question,
    /// What is expected of the answer.
    pub expect: Expectation,
    /// The most fuel that the answer may take.
    pub fuel_max: Option<u64>,
}

/// Why a file is no scenario.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// It cannot be read.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// The file or the folder.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is longer than [`SCENARIO_BYTES_MAX`].
    #[error("{path} is longer than {SCENARIO_BYTES_MAX} bytes")]
    TooLong {
        /// The file.
        path: String,
    },
    /// Its name ends neither in `.toml` nor in `.json`.
    #[error("{path} is neither a .toml nor a .json file")]
    OtherKind {
        /// The file.
        path: String,
    },
    /// It is no TOML or JSON, or its keys are not those of a scenario.
    #[error("{path} is not understood: {what}")]
    IllTyped {
        /// The file.
        path: String,
        /// Where and why.
        what: String,
    },
    /// Something in it makes no sense.
    #[error("{path}: {place}: {problem}")]
    Invalid {
        /// The file.
        path: String,
        /// The key.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A folder without scenarios.
    #[error("{path} has no .toml and no .json file in it")]
    NoneThere {
        /// The folder.
        path: String,
    },
    /// A folder with more than [`SCENARIOS_MAX`].
    #[error("{path} has more than {SCENARIOS_MAX} scenarios")]
    TooMany {
        /// The folder.
        path: String,
    },
}

/// What is wrong with a key, before it is known in which file it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) place: String,
    pub(super) problem: String,
}

impl Invalid {
    fn new(place: &str, problem: impl Into<String>) -> Self {
        Self { place: place.to_owned(), problem: problem.into() }
    }
}

impl Scenario {
    /// Reads a scenario, or a question alone, from a TOML or JSON file.
    ///
    /// # Errors
    /// [`ScenarioError`]: where it stands, and what would be right.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let shown = path.display().to_string();
        let file: ScenarioFile = parse(path)?;
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        resolve::scenario(file, &stem).map_err(|Invalid { place, problem }| {
            ScenarioError::Invalid { path: shown, place, problem }
        })
    }
}

/// The scenario files of a folder, by name. Folders within it are not looked into.
///
/// # Errors
/// The folder cannot be read, or has no scenario or too many.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    let shown = || folder.display().to_string();
    let unreadable = |error| ScenarioError::Unreadable { path: shown(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if Format::of(&path).is_some() {
            files.push(path);
        }
        if files.len() > SCENARIOS_MAX {
            return Err(ScenarioError::TooMany { path: shown() });
        }
    }
    files.sort();
    if files.is_empty() { Err(ScenarioError::NoneThere { path: shown() }) } else { Ok(files) }
}

#[derive(Clone, Copy)]
enum Format {
    Toml,
    Json,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, ScenarioError> {
    let shown = || path.display().to_string();
    let format = Format::of(path).ok_or_else(|| ScenarioError::OtherKind { path: shown() })?;
    let unreadable = |error| ScenarioError::Unreadable { path: shown(), error };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SCENARIO_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > SCENARIO_BYTES_MAX {
        return Err(ScenarioError::TooLong { path: shown() });
    }
    let parsed = match format {
        Format::Toml => toml::from_str(&text).map_err(|error| error.to_string()),
        Format::Json => serde_json::from_str(&text).map_err(|error| error.to_string()),
    };
    parsed.map_err(|what| ScenarioError::IllTyped { path: shown(), what: what.trim_end().into() })
}

#[cfg(test)]
mod tests;
