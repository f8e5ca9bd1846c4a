//! What lint found, as text.

use anstyle::{AnsiColor, Style};
use tce_trace::lint::{Finding, LINES_MAX, Report, Severity, Unit};

use crate::report::text::{
    BAD, GOOD, HEADING, bytes, counted, grouped, page_size, right, section, table,
};

use super::paragraph::labelled;

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();
/// The kinds of calls that are shown; the others are in the JSON.
const SHOWN: [&str; 6] = ["create", "remove", "register", "unregister", "map", "unmap"];
/// How many lines of a finding are shown.
const SHOWN_LINES: usize = 5;

/// The report as text, with ANSI styles; strip them where they are not wanted.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = header(report);
    text.push('\n');
    text.push_str(&calls(report));
    for finding in &report.findings {
        text.push('\n');
        text.push_str(&block(finding));
    }
    text.push('\n');
    text.push_str(&caveats(report));
    text.push_str(&verdict(report));
    text
}

fn header(report: &Report) -> String {
    let command = match report.command.is_empty() {
        true => "a program".to_owned(),
        false => report.command.join(" "),
    };
    let events = counted(report.events, "event", "events");
    let mut facts = vec![format!("{events} ({})", report.notation)];
    facts.extend(report.platform.clone());
    facts.extend(report.page_size.map(|page| format!("{} system pages", page_size(page))));
    facts.extend(report.kernel.as_ref().map(|release| format!("kernel {release}")));
    format!("{HEADING}{command}{HEADING:#}\n{}\n", facts.join(", "))
}

fn calls(report: &Report) -> String {
    let mut table = table(["", "made", "failed", "would do"]);
    right(&mut table, [1, 2, 3]);
    for name in SHOWN {
        let Some(count) = report.calls.get(name) else { continue };
        let needed = count.needed.map_or_else(String::new, grouped);
        table.add_row([name.to_owned(), grouped(count.made), grouped(count.failed), needed]);
    }
    section("Calls", table)
}

fn block(finding: &Finding) -> String {
    let (style, word) = match finding.severity {
        Severity::Error => (BAD, "error"),
        Severity::Warning => (WARNING, "warning"),
        Severity::Note => (NOTE, "note"),
    };
    let mut text = format!(
        "{style}{word}{style:#} {HEADING}{}{HEADING:#}, {}\n",
        finding.rule.name(),
        places(finding),
    );
    labelled(&mut text, "what", &finding.what);
    labelled(&mut text, "cause", finding.cause);
    let mut label = "cost";
    for cost in &finding.costs {
        labelled(&mut text, label, &format!("{}: {}", cost.what, amount(cost.amount, cost.unit)));
        label = "";
    }
    labelled(&mut text, "remedy", finding.remedy);
    text
}

/// `line 14`, `41 times: lines 123, 125, 127, …`.
fn places(finding: &Finding) -> String {
    let shown: Vec<String> = finding.lines.iter().take(SHOWN_LINES).map(u64::to_string).collect();
    let is_cut = finding.lines.len() > SHOWN_LINES || finding.lines.len() >= LINES_MAX;
    let more = if is_cut { ", …" } else { "" };
    match (finding.count, shown.as_slice()) {
        (1, [line]) => format!("line {line}"),
        (count, _) => format!("{} times: lines {}{more}", grouped(count), shown.join(", ")),
    }
}

fn amount(amount: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => bytes(amount),
        Unit::Calls | Unit::Tces | Unit::Mappings | Unit::Regions | Unit::Windows => {
            grouped(amount)
        }
    }
}

/// What was assumed, what could not be checked, and where the simulated kernel differs.
fn caveats(report: &Report) -> String {
    let mut text = String::new();
    for unchecked in &report.unchecked {
        let names: Vec<&str> = unchecked.rules.iter().map(|rule| rule.name()).collect();
        let what = format!("{}. Not checked: {}", unchecked.why, names.join(", "));
        labelled(&mut text, "unknown", &what);
    }
    for assumption in &report.assumptions {
        labelled(&mut text, "assumed", assumption);
    }
    for entry in &report.disagreements {
        let what = format!(
            "line {}: {}: the simulated kernel says {}, the recorded one {}",
            entry.line, entry.call, entry.simulated, entry.recorded
        );
        labelled(&mut text, "differs", &what);
    }
    let shown = u64::try_from(report.disagreements.len()).unwrap_or(u64::MAX);
    if report.disagreed > shown {
        let what = format!("and {} more", counted(report.disagreed - shown, "call", "calls"));
        labelled(&mut text, "differs", &what);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn verdict(report: &Report) -> String {
    let count = |severity| {
        let found = report.findings.iter().filter(|finding| finding.severity == severity).count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    let mut words = Vec::new();
    for (severity, one, many) in [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
        (Severity::Note, "note", "notes"),
    ] {
        match count(severity) {
            0 => {}
            found => words.push(counted(found, one, many)),
        }
    }
    let (style, words) = match report.worst() {
        None if report.unchecked.is_empty() => (GOOD, "no hazard found".to_owned()),
        None => (WARNING, "no hazard found in what could be checked".to_owned()),
        Some(Severity::Error) => (BAD, words.join(", ")),
        Some(Severity::Warning) => (WARNING, words.join(", ")),
        Some(Severity::Note) => (NOTE, words.join(", ")),
    };
    format!("{HEADING}Verdict{HEADING:#} {style}{words}{style:#}\n")
}
