//! `cargo xtask`: all set-up, the demo, the tests, the POWER lab, the policies and the benchmarks, with
//! nothing on the machine but git, gcc and rustup's stable toolchain. It holds no logic of the product.

mod lab;
mod plugins;
mod power;
mod reference;
mod run;
mod say;
mod setup;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use lab::machine::Machine;
use lab::{Order, Set, Show};
use setup::cache::Cache;
use setup::kernel::{Pages, Release};
use setup::rust::{Rust, Target};
use test::Tier;
use workspace::Workspace;

/// Set-up, tests, the POWER lab and benchmarks of this project.
///
/// Nothing is installed into the system: what the machine lacks goes into a private folder ($TCE_CACHE,
/// else $XDG_CACHE_HOME/tce, else ~/.cache/tce).
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the main job on the simulated POWER9, with the reference policy.
    Demo,
    /// Run everything that must hold for each landing, the POWER lab included.
    Test {
        /// Also the long runs: the other machines and kernels.
        #[arg(long)]
        full: bool,
    },
    /// Build the policies as components into target/plugins.
    Plugins,
    /// Build the static programs for powerpc64le that run in the lab.
    Power,
    /// Boot a real kernel and run a command in it as root; its exit code is returned.
    Lab(LabArgs),
    /// Run the benchmarks, or only those named.
    Bench {
        #[arg(value_parser = BENCHMARKS)]
        names: Vec<String>,
    },
    /// Only fetch what the other commands need.
    Setup,
}

/// The benchmarks there are.
const BENCHMARKS: [&str; 2] = ["decisions", "edits"];

#[derive(Args)]
struct LabArgs {
    #[arg(long, value_enum, default_value = "powernv9")]
    machine: Machine,
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Release,
    #[arg(long, value_enum, default_value = "4k")]
    pages: Pages,
    /// Seconds after which the machine is stopped (exit code 124).
    #[arg(long, value_name = "SECONDS", default_value_t = test::LAB_LIMIT.as_secs())]
    time_limit: u64,
    /// Show the firmware's and the kernel's messages too.
    #[arg(long)]
    verbose: bool,
    /// Use the policies and programs as they were built last.
    #[arg(long)]
    no_build: bool,
    /// The command to run; without it the lab suite.
    #[arg(last = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            say::note(format!("error: {error}"));
            for cause in error.chain().skip(1) {
                eprintln!("  because: {}", cause.to_string().replace('\n', "\n  "));
            }
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::read()?;
    let cache = Cache::open()?;
    match task {
        Task::Demo => demo(&workspace, &cache)?,
        Task::Test { full } => {
            test::run(&workspace, &cache, if full { Tier::Full } else { Tier::Landing })?;
        }
        Task::Plugins => plugins::build(&workspace, &cache)?,
        Task::Power => power::build(&workspace, &cache)?,
        Task::Lab(arguments) => return lab(&workspace, &cache, arguments),
        Task::Bench { names } => bench(&workspace, &cache, &names)?,
        Task::Setup => {
            setup::everything(&cache)?;
            say::note(format!("everything is there, in {}", cache.root().display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(workspace: &Workspace, cache: &Cache) -> Result<()> {
    Rust::provide(cache, Target::Wasm)?;
    plugins::build(workspace, cache)?;
    let root = workspace.root();
    let build = ["build", "--release", "--workspace", "--bin", "tce"];
    run::run(run::cargo().current_dir(root).args(build))?;
    let mut tce = run::command(workspace.target().join("release/tce"));
    tce.current_dir(root).args(["run", "examples/demo.toml", "--policy"]);
    run::run(tce.arg(workspace.plugins().join("tight.wasm")))
}

fn lab(workspace: &Workspace, cache: &Cache, arguments: LabArgs) -> Result<ExitCode> {
    let LabArgs { machine, kernel, pages, time_limit, verbose, no_build, mut command } = arguments;
    if command.is_empty() {
        command.push(lab::SUITE.to_owned());
    }
    if !no_build {
        plugins::build(workspace, cache)?;
        power::build(workspace, cache)?;
        if lab::is_suite(&command) {
            reference::write(workspace)?;
        }
    }
    let order = Order {
        set: Set { machine, release: kernel, pages },
        command,
        limit: Duration::from_secs(time_limit),
        show: if verbose { Show::Everything } else { Show::Command },
    };
    Ok(ExitCode::from(lab::run(workspace, cache, order)?))
}

fn bench(workspace: &Workspace, cache: &Cache, names: &[String]) -> Result<()> {
    Rust::provide(cache, Target::Wasm)?;
    plugins::build(workspace, cache)?;
    let mut cargo = run::cargo();
    cargo.current_dir(workspace.root()).args(["bench", "--workspace"]);
    for name in BENCHMARKS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            cargo.args(["--bench", name]);
        }
    }
    run::run(&mut cargo)
}
