//! What a batch costs without its kernel calls: settle, plan, note in the table.

use std::{hint::black_box, time::Duration};

use tce_engine::{
    edit::{Wish, settle},
    plan::{Plan, plan},
    region::RegionId,
    table::{MappedRun, Table},
};

use super::{
    candidate::{Change, PAGE},
    measure::{Effort, float, median, scattered, time},
};

/// Edits of a batch.
const BATCH: u64 = 512;

/// What is in the window before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Every second TCE or so, so that there is something to map, to replace and to unmap.
    Half,
}

/// A load of batches.
struct Load {
    name: &'static str,
    before: Before,
    /// TCEs of each edit.
    pages: u64,
    edit: fn(window: u64, number: u64) -> Change,
}

const LOADS: [Load; 4] = [
    Load {
        name: "contiguous, 512 TCEs an edit",
        before: Before::Nothing,
        pages: 512,
        edit: |window, number| {
            let first = number * 512 % window;
            // Elsewhere each time around, so that every TCE is written.
            Change { first, pages: 512, memory: Some(first + number * 512 / window) }
        },
    },
    Load {
        name: "contiguous, 1 TCE an edit",
        before: Before::Nothing,
        pages: 1,
        edit: |window, number| {
            let first = number % window;
            Change { first, pages: 1, memory: Some(first + number / window) }
        },
    },
    Load {
        name: "ascending, no two together",
        before: Before::Nothing,
        pages: 1,
        edit: |window, number| Change {
            first: number % window,
            pages: 1,
            memory: Some(scattered(number) >> 30),
        },
    },
    Load {
        name: "random: map, replace, unmap",
        before: Before::Half,
        pages: 1,
        edit: |window, number| {
            let choice = scattered(number);
            let memory = (!choice.is_multiple_of(3)).then_some(choice >> 30);
            Change { first: (choice >> 2) % window, pages: 1, memory }
        },
    },
];

/// The three parts of a batch's time.
#[derive(Clone, Copy)]
struct Parts {
    settle: Duration,
    plan: Duration,
    note: Duration,
}

impl Parts {
    fn sum(self) -> Duration {
        self.settle + self.plan + self.note
    }
}

pub(crate) fn measure(region: RegionId, effort: Effort) {
    println!("\na batch of {BATCH} edits without kernel calls, per edit; one core\n");
    println!(
        "{:<8} {:<30} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "window",
        "load",
        "settle ns",
        "plan ns",
        "note ns",
        "ns/edit",
        "M edit/s",
        "M TCE/s",
        "calls"
    );
    let shifts: &[u32] = if effort == Effort::Full { &[14, 20, 24] } else { &[14] };
    for shift in shifts {
        for load in &LOADS {
            measure_load(*shift, load, region, effort);
        }
    }
}

fn measure_load(shift: u32, load: &Load, region: RegionId, effort: Effort) {
    let window = 1 << shift;
    let mut table = Table::new(PAGE);
    let half = (0..window).filter(|number| scattered(*number).is_multiple_of(2));
    for first in half.filter(|_| load.before == Before::Half) {
        note(
            &mut table,
            wish(Change { first, pages: 1, memory: Some(scattered(first) >> 30) }, region),
        );
    }
    let batches = if effort == Effort::Full { 4_000 } else { 20 };
    let mut next = 1 << 40;
    let mut calls = 0;
    let mut rounds: Vec<Parts> = Vec::new();
    for _ in 0..batches {
        let wishes: Vec<Wish> =
            (next..next + BATCH).map(|number| wish((load.edit)(window, number), region)).collect();
        next += BATCH;
        let (parts, made) = batch(&mut table, wishes);
        calls += made;
        rounds.push(parts);
    }
    let calls = calls / batches;
    let part = |of: fn(&Parts) -> Duration| median(rounds.iter().map(of).collect());
    let parts =
        Parts { settle: part(|it| it.settle), plan: part(|it| it.plan), note: part(|it| it.note) };
    let each = |time: Duration| time.as_secs_f64() * 1e9 / float(BATCH);
    let ns = each(parts.sum());
    println!(
        "2^{shift:<6} {:<30} {:>9.1} {:>9.1} {:>9.1} {ns:>9.1} {:>9.1} {:>9.0} {calls:>7}",
        load.name,
        each(parts.settle),
        each(parts.plan),
        each(parts.note),
        1e3 / ns,
        1e3 / ns * float(load.pages),
    );
}

/// One batch, and how many calls it takes.
fn batch(table: &mut Table, wishes: Vec<Wish>) -> (Parts, u64) {
    let mut settled = Vec::new();
    let settling = time(|| settled = settle(wishes, PAGE));
    let mut planned = Plan::default();
    let planning = time(|| planned = black_box(plan(table, &settled)));
    let noting = time(|| {
        table.fulfil(&settled, &planned.found, |run| {
            black_box((run.target.region, run.pages));
        });
    });
    let parts = Parts { settle: settling, plan: planning, note: noting };
    (parts, u64::try_from(planned.calls.len()).expect("it is small"))
}

fn wish(change: Change, region: RegionId) -> Wish {
    let Change { first, pages, .. } = change;
    Wish { first, end: first + pages, target: change.target(region) }
}

fn note(table: &mut Table, Wish { first, end, target }: Wish) {
    match target {
        Some(target) => table.replace(MappedRun { first, pages: end - first, target }, |run| {
            black_box((run.target.region, run.pages));
        }),
        None => table.clear(first, end, |run| {
            black_box((run.target.region, run.pages));
        }),
    }
}
