//! Recorded programs: what they did, and what the engine does with the same demand.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use tce_host::{decide::Policies, trace::compare};
use tce_tests::bench::{float, grouped};
use tce_trace::{demand::Effort, trace::Trace};

/// A recording, and the calls that the engine takes for its demand, exactly.
struct Recording {
    name: &'static str,
    ours: Calls,
}

/// Calls by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calls {
    /// `REGISTER_MEMORY` and `UNREGISTER_MEMORY`.
    memory: u64,
    /// `TCE_CREATE` and `TCE_REMOVE`.
    windows: u64,
    map: u64,
    unmap: u64,
}

const RECORDINGS: [Recording; 6] = [
    Recording { name: "dpdk-22.11-pa-256m", ours: Calls::new(2, 3, 1, 1) },
    Recording { name: "dpdk-22.11-pa-dynamic", ours: Calls::new(2, 3, 1, 2) },
    Recording { name: "dpdk-25.11-pa-dynamic", ours: Calls::new(2, 3, 1, 2) },
    Recording { name: "dpdk-22.11-va-256m", ours: Calls::new(2, 3, 1, 1) },
    Recording { name: "dpdk-22.11-va-dynamic", ours: Calls::new(2, 3, 1, 2) },
    Recording { name: "qemu-7.2-tcg-4k-ddw", ours: Calls::new(2, 3, 1, 1) },
];

/// Runs of each, for the time.
const RUNS: usize = 5;

impl Calls {
    const fn new(memory: u64, windows: u64, map: u64, unmap: u64) -> Self {
        Self { memory, windows, map, unmap }
    }

    const fn of(effort: &Effort) -> Self {
        Self {
            memory: effort.register + effort.unregister,
            windows: effort.create + effort.remove,
            map: effort.map,
            unmap: effort.unmap,
        }
    }

    const fn all(self) -> u64 {
        self.memory + self.windows + self.map + self.unmap
    }
}

/// Does what each recorded program wanted, and prints both sides.
pub(crate) fn compare() -> Result<()> {
    println!(
        "Recorded programs: their kernel calls, and those for the same demand through the engine\n\
         windows: TCE_CREATE and TCE_REMOVE. ms: the whole run here, decisions and take-down included, median of \
         {RUNS}.\n"
    );
    println!(
        "  {:<24}{:>9}{:>9}{:>9}{:>9}{:>9}  {:>8}{:>9}",
        "", "memory", "windows", "map", "unmap", "all", "fewer", "ms"
    );
    // All are shown before the first that is wrong ends the benchmark.
    let each = RECORDINGS.iter().map(|it| one(it).with_context(|| it.name));
    each.fold(Ok(()), Result::and)
}

fn one(recording: &Recording) -> Result<()> {
    let file = format!("../trace/traces/{}.jsonl.gz", recording.name);
    let trace = Trace::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?;
    let wanted = compare::wanted(&trace)?;
    let policies = Policies::new(Vec::new())?;
    let mut times = Vec::new();
    let mut both = None;
    for _ in 0..RUNS {
        let begun = Instant::now();
        let done = compare::compare(&trace, &wanted, &policies, "none".to_owned())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(done.run.is_clean(), "something was left behind");
        both = Some((Calls::of(&done.theirs), Calls::of(&done.ours)));
    }
    times.sort_unstable_by(f64::total_cmp);
    let (theirs, ours) = both.context("there was a run")?;
    row(recording.name, theirs, "");
    let ratio = float(theirs.all()) / float(ours.all().max(1));
    let ms = times.get(RUNS / 2).copied().unwrap_or_default();
    row("  through tce", ours, &format!("{ratio:>7.0}x{ms:>9.2}"));
    ensure!(ours == recording.ours, "{ours:?} were made, and should be {:?}", recording.ours);
    Ok(())
}

fn row(name: &str, calls: Calls, rest: &str) {
    let Calls { memory, windows, map, unmap } = calls;
    let mut line = format!("  {name:<24}");
    for count in [memory, windows, map, unmap, calls.all()] {
        line.push_str(&format!("{:>9}", grouped(count)));
    }
    println!("{}", format!("{line}  {rest}").trim_end());
}
