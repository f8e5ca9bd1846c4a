//! What `tce trace lint` says of a recorded trace.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run;
use crate::workspace::Workspace;

/// DPDK's unmaps clear the IOVAs from 0 on, not those of the memory that is freed.
const WRONG_RANGE: &str = "unmap-wrong-range";
/// Memory that TCEs still point to when it is unregistered is pinned for good.
const LEAK: &str = "unregister-while-mapped";

/// The findings that are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Findings {
    pub(super) wrong_ranges: u64,
    /// Regions that stay pinned for good: one huge page each.
    pub(super) leaks: u64,
    /// The fewest calls that would register, and map, the same memory at once.
    pub(super) register_needed: u64,
}

/// Builds the command for this machine.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let build = ["build", "--release", "--workspace", "--bin", "tce"];
    run::run(run::cargo().current_dir(workspace.root()).args(build))
}

/// Lints a trace.
pub(super) fn lint(workspace: &Workspace, trace: &Path) -> Result<Findings> {
    let mut tce = run::command(workspace.target().join("release/tce"));
    tce.args(["trace", "lint", "--json", "--fail-on", "never"]).arg(trace);
    let report: Value = serde_json::from_str(&run::output(&mut tce)?)?;
    findings(&report).with_context(|| format!("what lint says of {}", trace.display()))
}

fn findings(report: &Value) -> Result<Findings> {
    // The simulated kernel has to agree with the real one in each call, and every check has to be made.
    ensure!(report["disagreed"] == 0, "disagreements: {}", report["disagreements"]);
    let unchecked = report["unchecked"].as_array().context("no list of what is unchecked")?;
    ensure!(unchecked.is_empty(), "not checked: {unchecked:?}");
    let entries = report["findings"].as_array().context("no findings")?;
    let mut found = Findings { wrong_ranges: 0, leaks: 0, register_needed: 0 };
    for entry in entries {
        let count = entry["count"].as_u64().context("a finding without a count")?;
        match entry["rule"].as_str() {
            Some(WRONG_RANGE) => found.wrong_ranges = count,
            Some(LEAK) => found.leaks = count,
            rule => ensure!(entry["severity"] != "error", "another error: {rule:?}"),
        }
    }
    let needed = &report["calls"]["register"]["needed"];
    found.register_needed = needed.as_u64().context("no count of the calls that would do")?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "disagreed": 0,
            "unchecked": [],
            "findings": [
                { "rule": "unmap-wrong-range", "severity": "error", "count": 41 },
                { "rule": "unregister-while-mapped", "severity": "error", "count": 2 },
                { "rule": "left-at-exit", "severity": "note", "count": 1 },
            ],
            "calls": { "register": { "made": 46, "needed": 1 } },
        })
    }

    #[test]
    fn findings_are_read_by_their_rule() {
        let expected = Findings { wrong_ranges: 41, leaks: 2, register_needed: 1 };
        assert_eq!(findings(&report()).unwrap(), expected);
    }

    #[test]
    fn another_error_a_disagreement_or_a_missing_check_is_a_failure() {
        let mut other = report();
        other["findings"][2]["severity"] = json!("error");
        assert!(findings(&other).is_err());
        let mut disagreed = report();
        disagreed["disagreed"] = json!(1);
        assert!(findings(&disagreed).is_err());
        let mut unchecked = report();
        unchecked["unchecked"] = json!(["reserved-range"]);
        assert!(findings(&unchecked).is_err());
    }
}
