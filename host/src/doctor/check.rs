//! Checks: a mark, a finding, and what to do about it.

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// As it should be.
    Ok,
    /// Not as it should be; the real thing works all the same, with less.
    Warning,
    /// The real thing does not work.
    Missing,
}

impl Mark {
    /// As people read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Missing => "missing",
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// In words.
    pub what: String,
    /// The lines to give to a shell, as root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

impl Remedy {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), commands: Vec::new() }
    }

    pub(super) fn by<C: Into<String>>(self, commands: impl IntoIterator<Item = C>) -> Self {
        Self { commands: commands.into_iter().map(Into::into).collect(), ..self }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it came out.
    pub mark: Mark,
    /// What was found.
    pub finding: String,
    /// More of it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What to do, if something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Check {
    pub(super) fn ok(name: impl Into<String>, finding: impl Into<String>) -> Self {
        let (name, finding) = (name.into(), finding.into());
        Self { name, mark: Mark::Ok, finding, details: Vec::new(), remedy: None }
    }

    pub(super) fn warning(
        name: impl Into<String>,
        finding: impl Into<String>,
        remedy: Remedy,
    ) -> Self {
        Self { mark: Mark::Warning, remedy: Some(remedy), ..Self::ok(name, finding) }
    }

    pub(super) fn missing(
        name: impl Into<String>,
        finding: impl Into<String>,
        remedy: Remedy,
    ) -> Self {
        Self { mark: Mark::Missing, remedy: Some(remedy), ..Self::ok(name, finding) }
    }

    pub(super) fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}
