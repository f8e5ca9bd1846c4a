//! When a policy is asked no more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tce_engine::lease::Timestamp;

use crate::policy::Question;

/// How many failures are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct EjectionRule {
    /// So many failures eject a policy; 0: none ever does.
    pub failures: u32,
    /// If they come within so many milliseconds.
    pub within: u64,
}

/// The most failures that a rule can ask for.
pub const FAILURES_MAX: u32 = 1_000;

impl Default for EjectionRule {
    /// Five in a minute: a policy that fails once in a while goes on, one that fails at every question does not.
    fn default() -> Self {
        Self { failures: 5, within: 60_000 }
    }
}

/// Why a policy is asked no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ejected {
    /// Since when, in milliseconds since the epoch.
    pub at: u64,
    /// Why.
    pub why: String,
    /// What it was asked last, if it failed.
    pub question: Option<Question>,
}

/// The failures that still count.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(VecDeque<Timestamp>);

impl Failures {
    /// One more. Whether it is one too many.
    pub(super) fn add(&mut self, rule: EjectionRule, now: Timestamp) -> bool {
        let is_old = |at: &Timestamp| now.0.saturating_sub(at.0) > rule.within;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        let most = usize::try_from(rule.failures.min(FAILURES_MAX)).unwrap_or(usize::MAX);
        if most == 0 {
            return false;
        }
        self.0.push_back(now);
        self.0.len() >= most
    }

    /// None count any more: it is another policy now.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_that_come_together_eject() {
        let rule = EjectionRule { failures: 3, within: 10 };
        let mut failures = Failures::default();
        let mut add = |at| failures.add(rule, Timestamp(at));
        assert!(!add(0));
        assert!(!add(10));
        assert!(!add(21), "the first two are too long ago");
        assert!(!add(31));
        assert!(add(31));
    }

    #[test]
    fn a_rule_of_none_never_ejects() {
        let mut failures = Failures::default();
        let rule = EjectionRule { failures: 0, within: u64::MAX };
        assert!(!(0..5_000).any(|at| failures.add(rule, Timestamp(at))));
        assert!(failures.0.is_empty());
    }
}
