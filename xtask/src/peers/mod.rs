//! DPDK's testpmd in the lab, under `tce trace record`: what its trace has to show, and what `tce trace lint` has to
//! say of it, is known from earlier recordings; what leaked is known from the lab's kernel.

mod events;
mod lint;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::fittings::{Carried, Device};
use crate::lab::machine::Machine;
use crate::lab::{self, Order, Set, Show};
use crate::say;
use crate::setup::cache::Cache;
use crate::setup::dpdk::Dpdk;
use crate::setup::kernel::{Pages, Release};
use crate::workspace::Workspace;
use events::Seen;
use lint::Findings;
pub(crate) use lint::build;

const SET: Set = Set { machine: Machine::Powernv9, release: Release::V6_12, pages: Pages::P4k };
/// A run takes a quarter of a minute.
const LIMIT: Duration = Duration::from_secs(300);
const MEMORY_MIB: u32 = 3072;
const HUGE_PAGES: u32 = 300;
/// Where the lab's network adapter is found.
const ADDRESS: &str = "0000:01:00.0";
const TRACE: &str = "trace.jsonl";
/// How many huge pages did not come back.
const LOST: &str = "lost";
/// In `tests/lab`, and in the lab.
const SCRIPT: &str = "testpmd.sh";
/// Where the kernel warns when a process ends whose memory is still registered.
const LEAK: &str = "destroy_context";

/// What a run of testpmd does, as was seen with DPDK 22.11 on other kernels too.
struct Run {
    purpose: &'static str,
    /// DPDK's own options.
    options: &'static [&'static str],
    mbufs: &'static str,
    expected: Seen,
    /// Functions in which the kernel warns at its end.
    warnings: &'static [&'static str],
}

const RUNS: [Run; 2] = [
    Run {
        purpose: "testpmd-256m",
        options: &["--iova-mode=pa", "-m", "256"],
        mbufs: "2048",
        expected: Seen {
            register: 128,
            map: 128,
            unmap: 0,
            unmap_from_zero: 0,
            unregister: 0,
            create: 1,
            remove: 1,
        },
        warnings: &[],
    },
    Run {
        purpose: "testpmd-dynamic",
        options: &["--iova-mode=pa"],
        mbufs: "32768",
        expected: Seen {
            register: 46,
            map: 46,
            unmap: 41,
            unmap_from_zero: 41,
            unregister: 41,
            create: 1,
            remove: 1,
        },
        warnings: &[LEAK],
    },
];

/// What one run came to.
struct Recorded {
    seen: Seen,
    findings: Findings,
    /// Huge pages that the kernel did not get back.
    lost: u64,
}

/// Records all runs; fails if one shows something else than expected.
pub(crate) fn run(workspace: &Workspace, cache: &Cache, show: Show) -> Result<()> {
    let dpdk = Dpdk::provide(cache)?;
    let mut shown = Vec::new();
    for run in &RUNS {
        let recorded = record(workspace, cache, order(workspace, &dpdk, run, show), run)
            .with_context(|| format!("recording {}", run.purpose))?;
        shown.push((run, recorded));
    }
    println!("\n{}", table(&shown));
    shown.iter().try_for_each(|(run, recorded)| {
        check(run, recorded).with_context(|| format!("what {} did", run.purpose))
    })
}

fn order(workspace: &Workspace, dpdk: &Dpdk, run: &Run, show: Show) -> Order {
    let script = format!("lab/{SCRIPT}");
    let out = "/lab/out";
    let words = ["sh", &format!("/{script}"), out, ADDRESS, run.mbufs];
    let command = words.iter().chain(run.options).map(|word| (*word).to_owned()).collect();
    let mut order = Order::usual(SET, command, LIMIT, show);
    order.purpose = Some(run.purpose);
    order.tolerated = run.warnings;
    order.fittings.devices = vec![Device::E1000e];
    order.fittings.memory_mib = MEMORY_MIB;
    order.fittings.huge_pages = HUGE_PAGES;
    let files = dpdk.parts().map(|(from, to)| Carried { from, to: to.to_owned() });
    order.fittings.files = files.collect();
    let from = workspace.root().join("tests/lab").join(SCRIPT);
    order.fittings.files.push(Carried { from, to: script });
    order
}

fn record(workspace: &Workspace, cache: &Cache, order: Order, run: &Run) -> Result<Recorded> {
    let out = order.out(workspace);
    let ended = lab::run_and_tell(workspace, cache, order)?;
    ensure!(ended.code == 0, "testpmd under the recorder ended with exit code {}", ended.code);
    for function in run.warnings {
        let warned = ended.kernel.iter().any(|line| line.contains(*function));
        ensure!(warned, "the kernel did not warn in {function}, so nothing leaked");
        say::note(format!("the kernel warned in {function}, as it does where memory leaks"));
    }
    let lost = fs::read_to_string(out.join(LOST)).context("reading how much was lost")?;
    let trace = out.join(TRACE);
    Ok(Recorded {
        seen: events::seen(&trace)?,
        findings: lint::lint(workspace, &trace)?,
        lost: lost.trim().parse().context("how much was lost")?,
    })
}

/// Lint has to find each wrong unmap, and to predict from the trace alone what the kernel lost.
fn check(run: &Run, recorded: &Recorded) -> Result<()> {
    let Recorded { seen, findings, lost } = recorded;
    let expected = &run.expected;
    ensure!(seen == expected, "expected {expected:?}, but the trace has {seen:?}");
    let wrong = u64::try_from(expected.unmap_from_zero)?;
    let predicted = Findings { wrong_ranges: wrong, leaks: *lost, register_needed: 1 };
    ensure!(*findings == predicted, "lint should find {predicted:?}, but finds {findings:?}");
    Ok(())
}

fn table(shown: &[(&Run, Recorded)]) -> String {
    let row = |name: &str, cells: [String; 9]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>12}")).collect();
        format!("  {name:<16}{cells}")
    };
    let heads = [
        "register",
        "would do",
        "map",
        "unmap",
        "from IOVA 0",
        "wrong range",
        "unregister",
        "leaks",
        "pages lost",
    ];
    let mut lines = vec![row("", heads.map(str::to_owned))];
    for (run, Recorded { seen, findings, lost }) in shown {
        let Findings { wrong_ranges, leaks, register_needed } = findings;
        let counts = [
            seen.register.to_string(),
            register_needed.to_string(),
            seen.map.to_string(),
            seen.unmap.to_string(),
            seen.unmap_from_zero.to_string(),
            wrong_ranges.to_string(),
            seen.unregister.to_string(),
            leaks.to_string(),
            lost.to_string(),
        ];
        lines.push(row(run.purpose, counts));
    }
    lines.join("\n")
}
