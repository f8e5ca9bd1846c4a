//! What lint has to say of a trace. `docs/trace.md` describes its JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{CallCount, CallCounts, Finding, Rule, Severity};
use crate::{replay::Outcome, survey::Survey, trace::Trace};

/// The version of the document.
pub const FORMAT: &str = "tce-lint/1";

/// The whole document.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The program and its arguments, if they are known.
    pub command: Vec<String>,
    /// How the trace is written down.
    pub notation: String,
    /// The kernel's release, if it is known.
    pub kernel: Option<String>,
    /// The platform; absent where the trace does not tell and nothing could be replayed.
    pub platform: Option<String>,
    /// The kernel's page, in bytes; absent likewise.
    pub page_size: Option<u64>,
    /// Events.
    pub events: u64,
    /// The calls by kind.
    pub calls: BTreeMap<&'static str, CallCount>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Calls that were made on the simulated kernel.
    pub replayed: u64,
    /// Calls that it answered otherwise than the recorded kernel.
    pub disagreed: u64,
    /// The first of them.
    pub disagreements: Vec<DisagreementEntry>,
    /// What had to be assumed.
    pub assumptions: Vec<String>,
    /// What could not be checked.
    pub unchecked: Vec<Unchecked>,
}

/// A call that the simulated kernel answers otherwise than the recorded one.
#[derive(Clone, Debug, Serialize)]
pub struct DisagreementEntry {
    /// The line.
    pub line: u64,
    /// The call.
    pub call: &'static str,
    /// What the recorded kernel said.
    pub recorded: String,
    /// What the simulated one says.
    pub simulated: String,
}

/// Rules that could not be applied.
#[derive(Clone, Debug, Serialize)]
pub struct Unchecked {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Why.
    pub why: String,
}

impl Report {
    pub(super) fn new(
        trace: &Trace,
        survey: Survey,
        calls: CallCounts,
        findings: Vec<Finding>,
        outcome: &Outcome,
        unchecked: Vec<Unchecked>,
    ) -> Self {
        let entry = |it: &crate::replay::Disagreement| DisagreementEntry {
            line: it.place.0,
            call: it.call,
            recorded: it.recorded.clone(),
            simulated: it.simulated.clone(),
        };
        let header = trace.header();
        let is_replayed = unchecked.is_empty();
        let platform = if is_replayed { Some(survey.platform) } else { header.platform };
        let page = if is_replayed { Some(survey.page_shift) } else { header.page_shift() };
        Self {
            format: FORMAT,
            command: trace.header().command.clone(),
            notation: trace.notation().to_string(),
            kernel: survey.kernel,
            platform: platform.map(|it| it.to_string()),
            page_size: page.map(|it| it.bytes().raw()),
            events: survey.events,
            calls: calls.by_name().clone(),
            findings,
            replayed: outcome.replayed,
            disagreed: outcome.disagreed,
            disagreements: outcome.disagreements.iter().map(entry).collect(),
            assumptions: if is_replayed { survey.assumptions } else { Vec::new() },
            unchecked,
        }
    }

    /// The worst finding.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// The finding of a rule.
    #[must_use]
    pub fn finding(&self, rule: Rule) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.rule == rule)
    }
}

/// The calls that windows and mappings hang on, by number: without their arguments nothing can be replayed.
const VITAL: [u32; 9] = [104, 112, 113, 114, 117, 118, 119, 120, 121];

/// What a trace does not allow to be checked, and why.
pub(super) fn unchecked(trace: &Trace, survey: &Survey) -> Vec<Unchecked> {
    let unread: Vec<String> = survey
        .unread
        .iter()
        .filter(|(number, _)| VITAL.contains(number))
        .map(|(number, count)| format!("{count} {}", call_name(u64::from(*number))))
        .collect();
    if unread.is_empty() && trace.notation().shows_arguments() {
        return Vec::new();
    }
    let shown = if unread.is_empty() { "its calls".to_owned() } else { unread.join(", ") };
    let rules = Rule::ALL.into_iter().filter(|rule| !rule.needs_only_answers()).collect();
    let why = match trace.notation().shows_arguments() {
        true => format!("the arguments of {shown} could not be read"),
        false => format!(
            "strace shows the structures of VFIO's calls ({shown}) as addresses only; record with \
             `tce trace record` to see what they hold"
        ),
    };
    vec![Unchecked { rules, why }]
}

/// The name of a call's number.
pub(super) const fn call_name(number: u64) -> &'static str {
    match number {
        103 => "group-status",
        104 => "set-container",
        106 => "open-device",
        112 => "info",
        113 => "map",
        114 => "unmap",
        115 => "enable",
        116 => "disable",
        117 => "register",
        118 => "unregister",
        119 => "create",
        120 => "remove",
        121 => "eeh",
        _ => "other",
    }
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
