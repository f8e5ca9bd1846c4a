//! Benchmarks: those of the workspace on this machine, and the engine's in the lab too.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::lab::machine::Machine;
use crate::lab::{self, Order, Set, Show};
use crate::setup::cache::Cache;
use crate::setup::kernel::{Pages, Release};
use crate::setup::rust::{Rust, Target};
use crate::workspace::Workspace;
use crate::{plugins, power, run, say};

/// The benchmarks there are.
const BENCHMARKS: [&str; 5] = [DECISIONS, ENGINE, "iova", "recorder", TABLE];

/// What needs the policies as components.
const DECISIONS: &str = "decisions";
/// The engine beside other ways to do the same work.
const ENGINE: &str = "engine";
/// The table of what is mapped, and the planner.
const TABLE: &str = "table";
/// The part of it that the engine's figures are not complete without: planner and table without kernel calls.
const PLANNER: &str = "planner";

/// Where the engine is measured on a real kernel.
const LAB: Set = Set { machine: Machine::Powernv9, release: Release::V6_12, pages: Pages::P4k };
/// Minutes on a quiet machine; an emulator on a busy one takes its time.
const LAB_LIMIT: Duration = Duration::from_secs(1200);

/// Which benchmarks to run.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Only these. [default: all]
    #[arg(value_parser = BENCHMARKS)]
    names: Vec<String>,
    /// Leave out the lab, where the engine is measured on a real kernel.
    #[arg(long)]
    no_lab: bool,
}

impl BenchArgs {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

/// Runs them.
pub(crate) fn run(workspace: &Workspace, cache: &Cache, arguments: &BenchArgs) -> Result<()> {
    if arguments.wants(DECISIONS) {
        Rust::provide(cache, Target::Wasm)?;
        plugins::build(workspace, cache)?;
    }
    for name in BENCHMARKS.into_iter().filter(|name| arguments.wants(name)) {
        say::heading(name);
        measure(workspace, name, &[])?;
    }
    if arguments.wants(ENGINE) {
        if !arguments.wants(TABLE) {
            say::heading(format!("{ENGINE}: planner and table alone"));
            measure(workspace, TABLE, &["--", PLANNER])?;
        }
        engine_in_the_lab(workspace, cache, arguments)?;
    }
    Ok(())
}

fn measure(workspace: &Workspace, name: &str, rest: &[&str]) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.current_dir(workspace.root()).args(["bench", "--workspace", "--bench", name]);
    run::run(cargo.args(rest))
}

fn engine_in_the_lab(workspace: &Workspace, cache: &Cache, arguments: &BenchArgs) -> Result<()> {
    say::heading(format!("{ENGINE}: on a real kernel ({})", LAB.name()));
    if arguments.no_lab {
        say::note("left out, as --no-lab says");
        return Ok(());
    }
    power::build(workspace, cache)?;
    let command = [lab::SUITE, "bench"].map(str::to_owned).to_vec();
    let mut order = Order::usual(LAB, command, LAB_LIMIT, Show::Command);
    order.purpose = Some("bench");
    let code = lab::run(workspace, cache, order)?;
    ensure!(code == 0, "the benchmark in the lab ended with exit code {code}");
    Ok(())
}
