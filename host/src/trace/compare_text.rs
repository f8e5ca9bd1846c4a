//! Both sides, as a table.

use tce_trace::demand::Effort;

use crate::report::text::{HEADING, bytes, grouped, page_size, right, section, table};

use super::{compare::Comparison, paragraph::labelled};

/// How a figure is written.
type Shown = fn(u64) -> String;

/// A figure's name, how it is written, and where it is found.
type Line = (&'static str, Shown, fn(&Effort) -> u64);

const LINES: [Line; 13] = [
    ("register calls", grouped, |side| side.register),
    ("unregister calls", grouped, |side| side.unregister),
    ("create calls", grouped, |side| side.create),
    ("remove calls", grouped, |side| side.remove),
    ("map calls", grouped, |side| side.map),
    ("unmap calls", grouped, |side| side.unmap),
    ("all of these", grouped, |side| side.calls),
    ("windows", bytes, |side| side.window_bytes),
    ("page", page_size, |side| side.page_bytes),
    ("charge for tables", bytes, |side| side.table_charge_bytes),
    ("locked memory, peak", bytes, |side| side.locked_peak_bytes),
    ("TCEs set, peak", grouped, |side| side.tces_peak),
    ("left behind", bytes, |side| side.left_behind_bytes),
];

/// The comparison as text, with ANSI styles; strip them where they are not wanted.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let command = match comparison.command.is_empty() {
        true => "a program".to_owned(),
        false => comparison.command.join(" "),
    };
    let policies: Vec<&str> =
        comparison.run.policies.iter().map(|policy| policy.name.as_str()).collect();
    let mut text = format!(
        "{HEADING}{command}{HEADING:#} on {}, policies: {}\n\n",
        comparison.run.backend,
        policies.join(", "),
    );
    let mut table = table(["", "recorded", "here"]);
    right(&mut table, [1, 2]);
    for (name, shown, of) in LINES {
        table.add_row([
            name.to_owned(),
            shown(of(&comparison.theirs)),
            shown(of(&comparison.ours)),
        ]);
    }
    text.push_str(&section("The same demand", table));
    if !comparison.notes.is_empty() {
        text.push('\n');
    }
    for note in &comparison.notes {
        labelled(&mut text, "assumed", note);
    }
    text
}
