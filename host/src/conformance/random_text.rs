//! A comparison of random sequences as text.

use std::fmt::Write;

use tce_conformance::{
    machine::Look,
    run::{Found, Order, Report},
};

use crate::report::text::{BAD, GOOD, HEADING, right, section, table};

/// What is going to be done, before it is.
pub(crate) fn intent(look: &Look, order: &Order) -> String {
    let groups: Vec<String> =
        look.seats.iter().map(|seat| format!("{} ({})", seat.group, seat.address)).collect();
    format!(
        "seed {}: {} operations from sequence {} on, {} in each, on kernel {} with group {}",
        order.seed,
        order.steps,
        order.first,
        order.length,
        look.kernel,
        groups.join(" and ")
    )
}

/// What came of it.
pub(crate) fn render(report: &Report) -> String {
    let mut text = coverage(report);
    for found in &report.found {
        text.push_str(&difference(found));
    }
    let style = if report.found.is_empty() { GOOD } else { BAD };
    let verdict = match report.found.len() {
        0 => "the simulated kernel gave the same results".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    let _ = writeln!(
        text,
        "\n{style}{} operations in {} sequences: {verdict}{style:#}",
        report.steps, report.sequences
    );
    text
}

fn coverage(report: &Report) -> String {
    let mut table = table(["operation", "carried out", "refused", "with"]);
    right(&mut table, [1, 2]);
    for (name, coverage) in &report.coverage {
        let results: Vec<String> =
            coverage.refused.iter().map(|(result, count)| format!("{result} {count}")).collect();
        table.add_row([
            (*name).to_owned(),
            coverage.succeeded.to_string(),
            coverage.refused.values().sum::<u64>().to_string(),
            results.join(", "),
        ]);
    }
    section("Operations", table)
}

fn difference(found: &Found) -> String {
    let mut text = format!("\n{HEADING}{}{HEADING:#}, made as short as it gets\n", found.name);
    if let Some(limit) = found.sequence.locked_limit {
        let _ = writeln!(text, "  with a locked-memory limit of {} KiB", limit >> 10);
    }
    for (index, step) in found.sequence.steps.iter().enumerate() {
        let _ = writeln!(text, "  {:3}  {step}", index + 1);
    }
    let _ = writeln!(text, "{}", found.difference);
    text
}
