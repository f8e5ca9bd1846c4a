//! The file that says which policies there are, and what each decides. `docs/policies.md` describes it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use crate::{
    policy::{Interface, LimitsClass, wit::Setting},
    signature,
};

use super::EjectionRule;

/// The longest such file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most policies in one.
pub const POLICIES_MAX: usize = 64;

/// The policies of a host, as an operator writes them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoliciesFile {
    /// The policies.
    #[serde(default, rename = "policy")]
    pub policies: Vec<PolicyEntry>,
    /// When a policy is asked no more.
    #[serde(default)]
    pub ejection: EjectionRule,
    /// The keys of which one must have signed each policy, as texts or as files beside this one; none: no signature is
    /// required.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicyEntry {
    /// The component, beside the file where it is relative.
    pub file: PathBuf,
    /// What it is called; absent: the file's name.
    pub name: Option<String>,
    /// What it decides; absent: all that it implements.
    pub decides: Option<Vec<Interface>>,
    /// Whether it only watches.
    #[serde(default)]
    pub shadow: bool,
    /// What it may use; absent: what all may.
    pub limits: Option<LimitsClass>,
    /// Its own settings; absent: those that come with the questions.
    pub settings: Option<BTreeMap<String, String>>,
}

impl PolicyEntry {
    /// Its settings as policies know them.
    #[must_use]
    pub fn wit_settings(&self) -> Option<Vec<Setting>> {
        let settings = self.settings.as_ref()?.iter();
        let pair =
            |(key, value): (&String, &String)| Setting { key: key.clone(), value: value.clone() };
        Some(settings.map(pair).collect())
    }
}

/// Why there are no policies from a file.
#[derive(Debug, Error)]
pub enum PoliciesFileError {
    /// It cannot be read.
    #[error("policies {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is too long, or has too many policies.
    #[error("policies {}: {what}", path.display())]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// Of what.
        what: String,
    },
    /// It is none.
    #[error("policies {}: {error}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
}

impl PoliciesFile {
    /// Reads one. Files of policies are named from where it lies.
    ///
    /// # Errors
    /// [`PoliciesFileError`].
    pub fn read(path: &Path) -> Result<Self, PoliciesFileError> {
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|error| PoliciesFileError::Unreadable { path: path.to_owned(), error })?;
        let too_much = |what| PoliciesFileError::TooMuch { path: path.to_owned(), what };
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
            return Err(too_much(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let mut file: Self = toml::from_str(&text).map_err(|error| {
            PoliciesFileError::Malformed { path: path.to_owned(), error: Box::new(error) }
        })?;
        if file.policies.len() > POLICIES_MAX {
            let count = file.policies.len();
            return Err(too_much(format!("{count} policies, where {POLICIES_MAX} can be")));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        file.policies.iter_mut().for_each(|policy| policy.file = folder.join(&policy.file));
        file.keys.iter_mut().for_each(|key| *key = signature::key_in(folder, key));
        Ok(file)
    }
}
