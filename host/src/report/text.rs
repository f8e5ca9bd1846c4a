//! The document as text, to be read at a glance.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use tce_engine::addr::{Bytes, PageShift};

use crate::job::file::Recorded;

use super::{
    ChargeEntry, DecisionEntry, LeaseEntry, Outcome, Report, ShadowEntry, WindowEntry, WorkEntry,
};

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The document as text, with ANSI styles; strip them where they are not wanted.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let sections = [
        header(report),
        section("Decisions", decisions(report)) + &broken(report),
        section("Windows", windows(report)),
        section("Regions", regions(report)),
        section("Leases", leases(report)),
        section("Work", work(report)),
        recorded(report),
        left_behind(report),
    ];
    for part in sections.iter().filter(|part| !part.is_empty()) {
        text.push_str(part);
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

pub(crate) fn section(title: &str, table: Table) -> String {
    format!("{HEADING}{title}{HEADING:#}\n{}\n", indented(&table))
}

fn indented(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| format!("  {}", line.trim_end()).trim_end().to_owned()).collect();
    // A table without a heading has an empty line in its place.
    lines.join("\n").trim_start_matches('\n').to_owned()
}

pub(crate) fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    padded(table)
}

/// Facts, a line each, under no heading.
fn list<const N: usize>(lines: [[String; 2]; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).add_rows(lines);
    padded(table)
}

fn padded(mut table: Table) -> Table {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub(crate) fn right<const N: usize>(table: &mut Table, columns: [usize; N]) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn header(report: &Report) -> String {
    let container = &report.container;
    let pages: Vec<String> = container.page_sizes.iter().map(|page| page_size(*page)).collect();
    let mut text = format!(
        "{HEADING}{}{HEADING:#} on {} ({}, {} system pages, windows of {})\n",
        report.job,
        report.backend,
        container.platform,
        page_size(container.system_page),
        pages.join(" "),
    );
    let groups: Vec<String> = container.groups.iter().map(u32::to_string).collect();
    let _ = writeln!(
        text,
        "group {} with {}",
        groups.join(", "),
        if container.devices.is_empty() {
            "no device open".to_owned()
        } else {
            container.devices.join(", ")
        }
    );
    for policy in report.policies.iter().filter(|policy| policy.kind == "component") {
        let hash = policy.sha256.as_deref().unwrap_or_default();
        let hash = hash.get(..12).unwrap_or(hash);
        let (name, compiler) = (&policy.name, &report.policy_compiler);
        let does = if policy.shadow { "watches" } else { "decides" };
        let points = policy.decides.join(", ");
        let _ = writeln!(text, "policy {name} ({hash}, {compiler}) {does} {points}");
        if let Some(why) = &policy.ejected {
            let _ = writeln!(text, "  {BAD}!{BAD:#} {name} was ejected: {why}");
        }
    }
    text
}

fn decisions(report: &Report) -> Table {
    let mut table = table(["point", "about", "decided by", "answer", "fuel"]);
    right(&mut table, [4]);
    for decision in &report.decisions {
        table.add_row([
            decision.point.clone(),
            decision.about.clone(),
            decision.decided_by.clone(),
            answer(decision),
            decision.fuel.map(grouped).unwrap_or_default(),
        ]);
    }
    table
}

/// Where the built-in policy had to answer, and why.
fn broken(report: &Report) -> String {
    let mut text = String::new();
    for decision in &report.decisions {
        let DecisionEntry { point, about, asked, decided_by, broken, .. } = decision;
        if let Some(why) = broken {
            let _ = writeln!(
                text,
                "  {BAD}!{BAD:#} {asked} broke at {about} ({point}), so {decided_by} decided: {why}"
            );
        }
        for shadow in &decision.shadows {
            let ShadowEntry { policy, differs, broken } = shadow;
            let said = match broken {
                Some(why) => format!("would have broken: {why}"),
                None if *differs => "would have decided otherwise".to_owned(),
                None => continue,
            };
            let _ = writeln!(text, "  - {policy} at {about} ({point}) {said}");
        }
    }
    text
}

fn answer(decision: &DecisionEntry) -> String {
    match decision.outcome {
        Outcome::Granted => decision.answer.clone(),
        Outcome::Denied => format!("denied: {}", decision.answer),
    }
}

fn windows(report: &Report) -> Table {
    let mut table = table([
        "slot",
        "start",
        "size",
        "page",
        "TCEs",
        "levels",
        "table",
        "charge",
        "predicted",
        "origin",
    ]);
    right(&mut table, [2, 3, 4, 5, 6, 7, 8]);
    for window in &report.windows {
        let [charged, predicted] = charge(window.charge.as_ref());
        table.add_row([
            window.slot.to_string(),
            format!("{:#x}", window.start),
            bytes(window.size),
            page_size(window.page),
            grouped(window.tces),
            window.levels.to_string(),
            bytes(window.table_bytes),
            charged,
            predicted,
            origin(window),
        ]);
    }
    table
}

fn origin(window: &WindowEntry) -> String {
    match window.fallback_for {
        Some(wanted) => format!("{}, fallback for {}", window.origin, bytes(wanted)),
        None => window.origin.clone(),
    }
}

fn charge(entry: Option<&ChargeEntry>) -> [String; 2] {
    match entry {
        None => ["unused".to_owned(), String::new()],
        Some(entry) if entry.predicted == entry.charged => {
            [bytes(entry.charged), "the same".to_owned()]
        }
        Some(entry) => [bytes(entry.charged), bytes(entry.predicted)],
    }
}

fn regions(report: &Report) -> Table {
    let mut table = table(["name", "size", "backing", "memory", "slot", "charge", "predicted"]);
    right(&mut table, [1, 2, 5, 6]);
    for region in &report.regions {
        let [charged, predicted] = charge(Some(&region.charge));
        table.add_row([
            region.name.clone(),
            bytes(region.size),
            page_size(region.backing),
            region.memory.clone(),
            region.slot.to_string(),
            charged,
            predicted,
        ]);
    }
    table
}

fn leases(report: &Report) -> Table {
    let mut table =
        table(["name", "holder", "window", "range", "access", "TCEs at most", "seen", "ended"]);
    right(&mut table, [5, 6]);
    for lease in &report.leases {
        table.add_row([
            lease.name.clone(),
            lease.holder.clone(),
            format!("{} (generation {})", lease.slot, lease.generation),
            range(lease),
            lease.access.clone(),
            grouped(lease.tces_max),
            grouped(lease.tces_peak),
            lease.ended.clone(),
        ]);
    }
    table
}

fn range(lease: &LeaseEntry) -> String {
    format!("{:#x} + {}", lease.start, bytes(lease.size))
}

fn work(report: &Report) -> Table {
    let WorkEntry { batches, edits, map_calls, unmap_calls, .. } = report.work;
    let calls = map_calls + unmap_calls;
    let all = &report.calls;
    list([
        [
            "script".to_owned(),
            format!(
                "{} in {}",
                counted(edits, "edit", "edits"),
                counted(batches, "batch", "batches")
            ),
        ],
        [
            "kernel calls".to_owned(),
            format!(
                "{} ({} map, {} unmap)",
                grouped(calls),
                grouped(map_calls),
                grouped(unmap_calls)
            ),
        ],
        ["TCEs".to_owned(), tces(&report.work)],
        [
            "whole run".to_owned(),
            format!(
                "{} register, {} unregister, {} create, {} remove, {} map, {} unmap",
                all.register, all.unregister, all.create, all.remove, all.map, all.unmap
            ),
        ],
    ])
}

fn tces(work: &WorkEntry) -> String {
    let WorkEntry { map_calls, unmap_calls, tces_set, tces_cleared, tces_kept, .. } = *work;
    let per_call = (tces_set + tces_cleared).checked_div(map_calls + unmap_calls).unwrap_or(0);
    let deferred = match work.tces_deferred {
        0 => String::new(),
        tces => format!(", {} put off", grouped(tces)),
    };
    format!(
        "{} set, {} cleared, {} kept{deferred}; {} per kernel call",
        grouped(tces_set),
        grouped(tces_cleared),
        grouped(tces_kept),
        grouped(per_call)
    )
}

/// What another program did, beside what was done here.
fn recorded(report: &Report) -> String {
    let Some(recorded) = &report.recorded else { return String::new() };
    let mut text = section(&format!("Recorded: {}", recorded.program), compared(report, recorded));
    for defect in &recorded.defects {
        let _ = writeln!(text, "  ! {defect}");
    }
    text
}

fn compared(report: &Report, recorded: &Recorded) -> Table {
    let mut table = table(["", "there", "here"]);
    right(&mut table, [1, 2]);
    let calls = &report.calls;
    for (what, there, here) in [
        ("register calls", recorded.register_calls, calls.register),
        ("unregister calls", recorded.unregister_calls, calls.unregister),
        ("create calls", recorded.create_calls, calls.create),
        ("map calls", recorded.map_calls, calls.map),
        ("unmap calls", recorded.unmap_calls, calls.unmap),
    ] {
        table.add_row([what.to_owned(), grouped(there), grouped(here)]);
    }
    let windows = report.windows.iter();
    let charges = windows.clone().filter_map(|window| window.charge);
    for (what, there, here) in [
        ("window", recorded.window_bytes, windows.map(|window| window.size).sum()),
        ("table charge", recorded.table_charge_bytes, charges.map(|charge| charge.charged).sum()),
        ("locked memory", recorded.locked_bytes, report.locked.during),
    ] {
        table.add_row([what.to_owned(), bytes(there), bytes(here)]);
    }
    table
}

fn left_behind(report: &Report) -> String {
    let locked = &report.locked;
    let what = if report.is_clean() {
        format!("{GOOD}nothing{GOOD:#}")
    } else {
        format!(
            "{BAD}{} locked, {} pinned{BAD:#}",
            bytes(locked.left_behind),
            bytes(locked.pinned_left_behind)
        )
    };
    let leaked = match locked.leaked {
        0 => String::new(),
        leaked => format!("; calls were seen to leak {}", bytes(leaked)),
    };
    format!("{HEADING}Left behind{HEADING:#} {what}{leaked}\n")
}

/// A size in the largest unit that divides it.
pub(crate) fn bytes(value: u64) -> String {
    let text = Bytes::new(value).to_string();
    match text.split_once(' ') {
        Some((number, unit)) => {
            format!("{} {unit}", number.parse().map_or_else(|_| number.to_owned(), grouped))
        }
        None => text,
    }
}

pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

pub(crate) fn page_size(value: u64) -> String {
    PageShift::of_size(Bytes::new(value)).map_or_else(|| bytes(value), |page| page.to_string())
}

/// A number with its thousands set apart.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
