//! Everything that must hold for each landing, as named steps.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::conformance::Plan;
use crate::lab::machine::Machine;
use crate::lab::{self, Order, Set, Show};
use crate::plugins::Language;
use crate::setup::cache::Cache;
use crate::setup::kernel::{Pages, Release};
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{conformance, mutations, peers, plugins, power, reference, run, setup, tutorial};

/// How much is tested.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Landing,
    Full,
}

/// The suite takes minutes, most of them resets of devices behind an emulated host bridge; on a busy machine more.
pub(crate) const LAB_LIMIT: Duration = Duration::from_secs(1200);

/// How often processes at work are killed in the lab, and how long that may take.
const KILLS: u32 = 10;
const KILLS_FULL: u32 = 50;
const KILLS_LIMIT: Duration = Duration::from_secs(1800);

/// The seeded simulation of the engine under random faults, and how long each of its two tests is in the full tier.
const SIMULATION: &str = "test --release --workspace --test engine simulation";
const SIMULATION_STEPS: (&str, &str) = ("TCE_STEPS", "5000000");

/// The small worlds, and how many steps deeper they are searched in the full tier.
const WORLDS: &str = "test --release --workspace --test engine worlds";
const WORLDS_DEEPER: (&str, &str) = ("TCE_DEEPER", "2");

/// Components from seeds, and runs whose policy lies: how many there are in the full tier.
const SMITH: &str = "test --release --workspace --test hostile smith";
const SMITH_SEEDS: (&str, &str) = ("TCE_SMITH_SEEDS", "10000");
const LYING: &str = "test --release --workspace --test lying";
const LYING_RUNS: (&str, &str) = ("TCE_LYING_RUNS", "100000");

const fn set(machine: Machine, release: Release, pages: Pages) -> Set {
    Set { machine, release, pages }
}

const LANDING: [Set; 3] = [
    set(Machine::Powernv9, Release::V6_12, Pages::P4k),
    set(Machine::Powernv9, Release::V6_12, Pages::P64k),
    set(Machine::Pseries, Release::V6_12, Pages::P4k),
];

const FULL: [Set; 9] = [
    set(Machine::Pseries, Release::V6_12, Pages::P64k),
    set(Machine::Powernv10, Release::V6_12, Pages::P4k),
    set(Machine::Powernv10, Release::V6_12, Pages::P64k),
    set(Machine::Powernv9, Release::V7_2, Pages::P4k),
    set(Machine::Powernv9, Release::V7_2, Pages::P64k),
    set(Machine::Pseries, Release::V7_2, Pages::P4k),
    set(Machine::Pseries, Release::V7_2, Pages::P64k),
    set(Machine::Powernv10, Release::V7_2, Pages::P4k),
    set(Machine::Powernv10, Release::V7_2, Pages::P64k),
];

/// Takes the steps that have one of these words in their name, or all, and stops at the first that fails; the table of
/// what was done is printed in any case.
pub(crate) fn run(
    workspace: &Workspace,
    cache: &Cache,
    tier: Tier,
    words: Vec<String>,
) -> Result<()> {
    let mut steps = Steps::with(words);
    let result = all(&mut steps, workspace, cache, tier);
    steps.print();
    result.and_then(|()| steps.ensure_some_were_wanted())
}

fn all(steps: &mut Steps, workspace: &Workspace, cache: &Cache, tier: Tier) -> Result<()> {
    let cargo =
        |line: &str| run::run(run::cargo().current_dir(workspace.root()).args(line.split(' ')));
    let formatting = "fmt --all --check";
    let lints = "clippy --release --workspace --all-targets -- -D warnings";
    let tests = "test --release --workspace";
    steps.run("set-up", "cargo xtask setup", || setup::everything(cache))?;
    steps.run("formatting", &format!("cargo {formatting}"), || cargo(formatting))?;
    steps.run("lints", &format!("cargo {lints}"), || cargo(lints))?;
    steps.run("plugins", "cargo xtask plugins", || plugins::build(workspace, cache))?;
    steps.run("plugins in C", "cargo xtask plugins --lang c", || {
        plugins::build_in(Language::C, workspace, cache)
    })?;
    steps.run("tests", &format!("cargo {tests}"), || cargo(tests))?;
    let tutorial = |language| move || tutorial::run(language, workspace, cache);
    steps.run_if_possible("tutorial", "cargo xtask tutorial", tutorial(Language::Rust))?;
    let again = "cargo xtask tutorial --lang c";
    steps.run_if_possible("tutorial in C", again, tutorial(Language::C))?;
    if tier == Tier::Full {
        steps.run("plugins in Python", "cargo xtask plugins --lang python", || {
            plugins::build_in(Language::Python, workspace, cache)
        })?;
        let python = "test --release --package tce-host --test policy python -- --ignored";
        steps.run("policy in Python", &format!("cargo {python}"), || cargo(python))?;
        let again = "cargo xtask tutorial --lang python";
        steps.run_if_possible("tutorial in Python", again, tutorial(Language::Python))?;
        for (name, line, (setting, value)) in [
            ("long simulation", SIMULATION, SIMULATION_STEPS),
            ("deeper worlds", WORLDS, WORLDS_DEEPER),
            ("forged components", SMITH, SMITH_SEEDS),
            ("lying policy", LYING, LYING_RUNS),
        ] {
            steps.run(name, &format!("{setting}={value} cargo {line}"), || {
                let mut cargo = run::cargo();
                cargo.env(setting, value).current_dir(workspace.root());
                run::run(cargo.args(line.split(' ')))
            })?;
        }
    }
    steps.run("powerpc64le build", "cargo xtask power", || power::build(workspace, cache))?;
    let reports = "cargo build --release --workspace --bin tce-reference && target/release/tce-reference target/lab/reference";
    steps.run("reference reports", reports, || reference::write(workspace))?;
    for set in LANDING.iter().chain(if tier == Tier::Full { &FULL[..] } else { &[] }) {
        let repeat = format!("cargo xtask lab {}", set.options());
        steps.run(&format!("lab {}", set.name()), &repeat, || suite(workspace, cache, *set))?;
    }
    for (set, kills) in kills(tier) {
        let command = kills_command(*kills);
        let repeat = format!("cargo xtask lab {} -- {}", set.options(), command.join(" "));
        steps.run(&format!("kills {}", set.name()), &repeat, || {
            let order = Order::usual(*set, command, KILLS_LIMIT, Show::Command);
            let code = lab::run(workspace, cache, Order { purpose: Some("kills"), ..order })?;
            ensure!(code == 0, "the kills on {} ended with exit code {code}", set.name());
            Ok(())
        })?;
    }
    steps.run("conformance", "cargo xtask conformance", || {
        let full = if tier == Tier::Full { &conformance::SETS_FULL[..] } else { &[] };
        let sets = conformance::SETS.iter().chain(full).copied().collect();
        let (seed, steps) = (conformance::SEED, conformance::STEPS);
        conformance::run(workspace, cache, &Plan { seed, steps, sets, record: false })
    })?;
    if tier == Tier::Full {
        steps.run("mutations", "cargo xtask mutations", || mutations::run(workspace, &[]))?;
        let record = || {
            peers::build(workspace)?;
            peers::run(workspace, cache, Show::Command)
        };
        steps.run("recorded testpmd", "cargo xtask lab --peers", record)?;
    }
    Ok(())
}

/// Where processes are killed, and how often. A partition opens devices in no time, a host bridge takes seconds.
fn kills(tier: Tier) -> &'static [(Set, u32)] {
    const PSERIES: Set = set(Machine::Pseries, Release::V6_12, Pages::P4k);
    const POWERNV: Set = set(Machine::Powernv9, Release::V6_12, Pages::P4k);
    match tier {
        Tier::Landing => &[(PSERIES, KILLS)],
        Tier::Full => &[(PSERIES, KILLS_FULL), (POWERNV, KILLS)],
    }
}

fn kills_command(kills: u32) -> Vec<String> {
    vec![lab::SUITE.to_owned(), "kills".to_owned(), kills.to_string()]
}

fn suite(workspace: &Workspace, cache: &Cache, set: Set) -> Result<()> {
    let command = vec![lab::SUITE.to_owned()];
    let order = Order::usual(set, command, LAB_LIMIT, Show::Command);
    let code = lab::run(workspace, cache, order)?;
    ensure!(code == 0, "the lab suite on {} ended with exit code {code}", set.name());
    Ok(())
}
