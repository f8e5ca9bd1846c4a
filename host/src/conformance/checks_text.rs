//! Named checks as text.

use std::fmt::Write;

use tce_conformance::checks::{Check, Facts, Leaving, SuiteReport};

use crate::report::text::{BAD, GOOD, HEADING, section, table};

/// What would be played on a machine.
pub(crate) fn list(checks: &[&'static Check], facts: &Facts, leaving: Leaving) -> String {
    let mut table = table(["check", "", "about"]);
    for check in checks {
        let (word, about) = match check.is_for(facts, leaving) {
            Ok(()) => ("plays", check.title.to_owned()),
            Err(reason) => ("skipped", reason.to_string()),
        };
        table.add_row([check.name.to_owned(), word.to_owned(), about]);
    }
    format!("on {facts}\n\n{}", section("Checks", table))
}

/// What came of them: the report's own words, with the first and the last line to stand out.
pub(crate) fn render(report: &SuiteReport) -> String {
    let text = report.to_string();
    let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (body, verdict) = rest.rsplit_once('\n').unwrap_or((rest, ""));
    let style = if report.is_bad() { BAD } else { GOOD };
    let mut text = String::new();
    let _ = writeln!(text, "{HEADING}{head}{HEADING:#}\n{body}\n{style}{verdict}{style:#}");
    text
}
