//! A replay for people.

use std::fmt::Write;

use tce_engine::addr::{Bytes, PageShift};

use crate::{
    policy::{Answer, wit::WindowChoice},
    report::text::{grouped, right, table},
};

use super::{Cost, Difference, Replay, Said};

/// Differences that are shown.
const SHOWN_MAX: usize = 20;

/// The whole text.
#[must_use]
pub fn render(replay: &Replay) -> String {
    let Replay { policy, decisions, skipped, same, different, .. } = replay;
    let mut text = String::new();
    let name = &policy.name;
    let _ = writeln!(
        text,
        "{name} was asked {} of the journal's {decisions} decisions: {same} are the same, {different} differ",
        decisions - skipped
    );
    differences(&mut text, replay);
    let _ = writeln!(text, "\n{}", costs(&replay.then, &replay.now));
    text
}

fn differences(text: &mut String, replay: &Replay) {
    if replay.differences.is_empty() {
        return;
    }
    let mut list = table(["", "about", "was", "would be"]);
    right(&mut list, [0]);
    for Difference { number, function, about, then, now, .. } in
        replay.differences.iter().take(SHOWN_MAX)
    {
        list.add_row([number.to_string(), format!("{about} ({function})"), said(then), said(now)]);
    }
    let _ = writeln!(text, "\nDifferences\n{list}");
    let shown = u64::try_from(replay.differences.len().min(SHOWN_MAX)).unwrap_or(u64::MAX);
    if replay.different > shown {
        let _ = writeln!(text, "  and {} more (--json lists them)", replay.different - shown);
    }
}

fn said(said: &Said) -> String {
    match said {
        Said::Failure(why) => format!("failed: {why}"),
        Said::Answer(answer) => words(answer),
    }
}

/// An answer in words.
fn words(answer: &Answer) -> String {
    let list =
        |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join("; ") };
    match answer {
        Answer::Pages(choices) => list(
            choices.iter().map(|it| format!("{} for {:?}", page(it.page), it.regions)).collect(),
        ),
        Answer::Windows(choices) => list(choices.iter().map(window).collect()),
        Answer::Window(it) => {
            format!("slot {}: {} in {} pages", it.slot, Bytes::new(it.size), page(it.page))
        }
        Answer::Terms(terms) => {
            let until = terms.expires.map(|at| format!(", until {at}")).unwrap_or_default();
            format!("at most {} TCEs{until}", terms.tces_max)
        }
        Answer::Leases(ids) => list(ids.iter().map(|id| format!("lease {id} ends")).collect()),
        Answer::Refused(refusal) => format!("no: {}", refusal.detail),
    }
}

fn window(it: &WindowChoice) -> String {
    let (size, page) = (Bytes::new(it.size), page(it.page));
    format!("slot {}: {size} in {page} pages for {:?}", it.slot, it.regions)
}

fn page(shift: u8) -> String {
    PageShift::new(shift).map_or_else(|| format!("shift {shift}"), |page| page.to_string())
}

fn costs(then: &Cost, now: &Cost) -> String {
    let mut list = table(["Cost", "was", "would be"]);
    right(&mut list, [1, 2]);
    let counts = [
        ("refusals", then.refused, now.refused),
        ("failures", then.failed, now.failed),
        ("windows created", then.creates, now.creates),
        ("TCEs for the demands", then.tces, now.tces),
        ("TCEs that leases may set", then.leased_tces, now.leased_tces),
        ("leases ended for others", then.ended, now.ended),
        ("fuel", then.fuel, now.fuel),
    ];
    for (what, then, now) in counts {
        list.add_row([what.to_owned(), grouped(then), grouped(now)]);
    }
    for (what, then, now) in [
        ("tables when full", then.table_bytes, now.table_bytes),
        ("locked for tables", then.locked_bytes, now.locked_bytes),
    ] {
        let [then, now] = [then, now].map(|bytes| Bytes::new(bytes).to_string());
        list.add_row([what.to_owned(), then, now]);
    }
    list.to_string()
}
