//! The structures on loads of several kinds, and with more and more runs.

use std::{hint::black_box, time::Duration};

use tce_engine::{region::RegionId, table::Table};

use super::{
    candidate::{Candidate, Change},
    dense::Dense,
    measure::{Effort, float, median, ns_each, scattered, time},
    ordered_runs::OrderedRuns,
};

/// TCEs of a huge page of 2 MiB.
const HUGE_PAGE: u64 = 512;

/// A load: what is there before, and the edits whose time counts.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    /// Edits before, of a window of so many TCEs.
    before: fn(window: u64) -> u64,
    edits: fn(window: u64) -> u64,
    /// The edit of a number; those before come first.
    edit: fn(window: u64, number: u64) -> Change,
}

const LOADS: [Load; 3] = [
    // Huge pages one after the other, each at the memory that follows.
    Load {
        name: "contiguous",
        before: |_| 0,
        edits: |window| window / HUGE_PAGE,
        edit: |_, number| Change {
            first: number * HUGE_PAGE,
            pages: HUGE_PAGE,
            memory: Some(number * HUGE_PAGE),
        },
    },
    // Every second TCE.
    Load {
        name: "strided",
        before: |_| 0,
        edits: |window| window / 2,
        edit: |_, number| Change { first: number * 2, pages: 1, memory: Some(number * 3) },
    },
    // A window without two TCEs that go together; then pages here and there, a third of them unmapped.
    Load {
        name: "random",
        before: |window| window,
        edits: |window| window.min(1 << 20),
        edit: |window, number| match number.checked_sub(window) {
            None => Change { first: number, pages: 1, memory: Some(scattered(number) >> 30) },
            Some(number) => {
                let choice = scattered(number);
                let memory = (!choice.is_multiple_of(3)).then_some(choice >> 30);
                Change { first: (choice >> 2) % window, pages: 1, memory }
            }
        },
    },
];

struct Figures {
    ns: f64,
    bytes: f64,
}

pub(crate) fn compare(region: RegionId, effort: Effort) {
    println!("\nns per edit, bytes per TCE that is set; beside each the ratio to the radix tree\n");
    println!(
        "{:<8} {:<12} {:<14} {:>10} {:>7} {:>12} {:>7}",
        "window", "load", "structure", "ns/edit", "ratio", "bytes/TCE", "ratio"
    );
    let shifts: &[u32] = if effort == Effort::Full { &[20, 24] } else { &[14] };
    for shift in shifts {
        for load in LOADS {
            let window = 1 << shift;
            let radix = figures::<Table>(load, window, region, effort);
            row::<Table>(*shift, load, &radix, &radix);
            row::<OrderedRuns>(
                *shift,
                load,
                &figures::<OrderedRuns>(load, window, region, effort),
                &radix,
            );
            row::<Dense>(*shift, load, &figures::<Dense>(load, window, region, effort), &radix);
        }
    }
}

fn row<C: Candidate>(shift: u32, load: Load, it: &Figures, radix: &Figures) {
    println!(
        "2^{shift:<6} {:<12} {:<14} {:>10.1} {:>7.2} {:>12.4} {:>7.2}",
        load.name,
        C::NAME,
        it.ns,
        it.ns / radix.ns,
        it.bytes,
        it.bytes / radix.bytes
    );
}

fn figures<C: Candidate>(load: Load, window: u64, region: RegionId, effort: Effort) -> Figures {
    let (before, edits) = ((load.before)(window), (load.edits)(window));
    let mut table = C::new(window);
    change(&mut table, load, window, 0..before, region);
    let mut times: Vec<Duration> = Vec::new();
    let mut next = before;
    for _ in 0..effort.rounds() {
        if before == 0 {
            table = C::new(window);
            next = 0;
        }
        let end = next + edits;
        while next < end {
            let numbers = next..end.min(next + BATCH);
            next = numbers.end;
            times.push(time(|| change(&mut table, load, window, numbers, region)));
        }
    }
    let tces = table.tces_within(0, window);
    Figures { ns: ns_each(median(times), BATCH), bytes: float(table.bytes()) / float(tces) }
}

fn change<C: Candidate>(
    table: &mut C,
    load: Load,
    window: u64,
    numbers: std::ops::Range<u64>,
    region: RegionId,
) {
    for number in numbers {
        black_box(table.change((load.edit)(window, number), region));
    }
}

/// The same edits in the same window, with more and more runs in it: pages are pointed elsewhere and back again, so
/// that the number of runs stays.
pub(crate) fn compare_runs(region: RegionId, effort: Effort) {
    let (window, counts): (u64, &[u64]) = match effort {
        Effort::Full => (1 << 24, &[1_000, 10_000, 100_000, 1_000_000]),
        Effort::Quick => (1 << 14, &[10, 100]),
    };
    println!("\nns per edit, the same edits among more and more runs, {window} TCEs set");
    println!("beside each the ratio to the fewest runs\n");
    println!("{:<14} {:>10} {:>10} {:>7} {:>12}", "structure", "runs", "ns/edit", "ratio", "bytes");
    runs_of::<Table>(window, counts, region);
    runs_of::<OrderedRuns>(window, counts, region);
    runs_of::<Dense>(window, counts, region);
}

fn runs_of<C: Candidate>(window: u64, counts: &[u64], region: RegionId) {
    let mut least = None;
    for count in counts {
        let mut table = C::new(window);
        let pages = window.div_ceil(*count);
        for run in 0..window.div_ceil(pages) {
            let first = run * pages;
            let change =
                Change { first, pages: pages.min(window - first), memory: Some(of(first, pages)) };
            table.change(change, region);
        }
        let times =
            (0..SWAPS / BATCH).map(|number| swap(&mut table, window, pages, number, region));
        let ns = ns_each(median(times.collect()), 2 * BATCH);
        let least = *least.get_or_insert(ns);
        println!(
            "{:<14} {:>10} {ns:>10.1} {:>7.2} {:>12}",
            C::NAME,
            count,
            ns / least,
            table.bytes()
        );
    }
}

const SWAPS: u64 = 1 << 17;
const BATCH: u64 = 512;

/// The page of memory of a TCE: after each run comes a gap.
const fn of(tce: u64, pages: u64) -> u64 {
    tce + tce / pages
}

/// Points the pages of a batch elsewhere and back again.
fn swap<C: Candidate>(
    table: &mut C,
    window: u64,
    pages: u64,
    batch: u64,
    region: RegionId,
) -> Duration {
    time(|| {
        for elsewhere in [true, false] {
            for number in batch * BATCH..(batch + 1) * BATCH {
                let first = scattered(number) % window;
                let memory = if elsewhere { (1 << 30) + 2 * number } else { of(first, pages) };
                black_box(table.change(Change { first, pages: 1, memory: Some(memory) }, region));
            }
        }
    })
}
