//! All checks on one machine, and what came of them.

use std::fmt;

use serde::Serialize;

use super::{Check, Facts, NotApplicable, Topic, Verdict, judge::play};
use crate::subject::Subject;

/// Whether checks that leave something behind are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// They are not.
    Skipped,
    /// They are: the machine is there to be tested.
    Played,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// What the kernel does if all is well.
    pub title: &'static str,
    /// The kernel's functions behind it.
    pub function: &'static str,
    /// What it says.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuiteReport {
    /// The machine, in a line.
    pub machine: String,
    /// In the order in which they were played.
    pub results: Vec<CheckResult>,
}

/// Plays those of some checks that apply to this machine, and tells of each as it is done.
pub fn run(
    wanted: &[&'static Check],
    facts: &Facts,
    leaving: Leaving,
    subject: &mut impl Subject,
    mut tell: impl FnMut(&CheckResult),
) -> SuiteReport {
    let mut results = Vec::new();
    for check in wanted {
        let verdict = match check.is_for(facts, leaving) {
            Ok(()) => play(check, &(check.script)(facts), subject),
            Err(reason) => Verdict::Skipped { why: reason.to_string() },
        };
        let Check { name, topic, title, function, .. } = **check;
        let result = CheckResult { name, topic, title, function, verdict };
        tell(&result);
        results.push(result);
    }
    SuiteReport { machine: facts.to_string(), results }
}

impl Check {
    /// Whether it is to be played on this machine.
    ///
    /// # Errors
    /// [`NotApplicable`], if not.
    pub fn is_for(&self, facts: &Facts, leaving: Leaving) -> Result<(), NotApplicable> {
        self.applies.to(facts)?;
        match (self.leaves, leaving) {
            (Some(leaves), Leaving::Skipped) => Err(NotApplicable::Leaves(leaves)),
            _ => Ok(()),
        }
    }
}

impl SuiteReport {
    /// Whether some check says that the machine behaves otherwise.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.results.iter().any(|result| result.verdict.is_bad())
    }

    fn count(&self, is_counted: impl Fn(&Verdict) -> bool) -> usize {
        self.results.iter().filter(|result| is_counted(&result.verdict)).count()
    }
}

/// Width of the column of names.
const NAME_WIDTH: usize = 48;

impl fmt::Display for CheckResult {
    /// One line; more for a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed { .. } | Verdict::Interrupted { .. } => "FAILED",
            Verdict::Skipped { .. } => "skipped",
        };
        write!(f, "  {word:8}{:NAME_WIDTH$} ", self.name)?;
        match &self.verdict {
            Verdict::Passed => f.write_str(self.title),
            Verdict::Skipped { why } => f.write_str(why),
            Verdict::Interrupted { why } => {
                writeln!(f, "{}", self.title)?;
                write!(f, "          {why}")
            }
            Verdict::Failed { step, call, expected, got } => {
                writeln!(f, "{}", self.title)?;
                writeln!(f, "          step {step}:   {call}")?;
                writeln!(f, "          expected: {expected}")?;
                writeln!(f, "          got:      {got}")?;
                write!(f, "          kernel:   {}", self.function)
            }
        }
    }
}

impl fmt::Display for SuiteReport {
    /// By topic, with a summary at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sPAPR TCE v2 backend on {}", self.machine)?;
        let mut topics: Vec<Topic> = self.results.iter().map(|result| result.topic).collect();
        topics.sort();
        topics.dedup();
        for topic in topics {
            writeln!(f, "\n{topic}")?;
            let results = self.results.iter().filter(|result| result.topic == topic);
            results.into_iter().try_for_each(|result| writeln!(f, "{result}"))?;
        }
        let passed = self.count(|verdict| *verdict == Verdict::Passed);
        let failed = self.count(Verdict::is_bad);
        let skipped = self.count(|verdict| matches!(verdict, Verdict::Skipped { .. }));
        write!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
}
