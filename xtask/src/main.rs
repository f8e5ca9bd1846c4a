//! `cargo xtask`: all set-up, the demo, the tests, the POWER lab, the policies and the benchmarks, with
//! nothing on the machine but git, gcc and rustup's stable toolchain. It holds no logic of the product.

mod bench;
mod conformance;
mod lab;
mod mutations;
mod peers;
mod plugins;
mod power;
mod reference;
mod run;
mod say;
mod script;
mod setup;
mod steps;
mod test;
mod tutorial;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use lab::fittings::{self, Device};
use lab::machine::Machine;
use lab::{Order, Set, Show};
use plugins::Language;
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
        /// Only the steps that have this word in their name. Say it again for more.
        #[arg(long = "only", value_name = "WORD")]
        words: Vec<String>,
    },
    /// Build the policies as components into target/plugins.
    Plugins {
        /// Only those in this language. Say it again for more. [default: rust]
        #[arg(long = "lang", value_enum, value_name = "LANGUAGE")]
        languages: Vec<Language>,
    },
    /// Run every command of docs/tutorial.md for a language, in an empty folder outside this repository.
    Tutorial {
        /// The language.
        #[arg(long = "lang", value_enum, value_name = "LANGUAGE", default_value = "rust")]
        language: Language,
    },
    /// Build the static programs for powerpc64le that run in the lab.
    Power,
    /// Boot a real kernel and run a command in it as root; its exit code is returned.
    Lab(LabArgs),
    /// Hold the simulated kernel against real ones in the lab, with random operations.
    Conformance(ConformanceArgs),
    /// Make deliberate mistakes in the simulated kernel, or only those named: each must be caught.
    Mutations {
        /// Names in conformance/mutations.toml. [default: all]
        names: Vec<String>,
    },
    /// Run the benchmarks, or only those named.
    Bench(bench::BenchArgs),
    /// Only fetch what the other commands need.
    Setup,
}

#[derive(Args)]
struct ConformanceArgs {
    /// The seed of all operations.
    #[arg(long, default_value_t = conformance::SEED)]
    seed: u64,
    /// Operations on each machine.
    #[arg(long, default_value_t = conformance::STEPS)]
    steps: u64,
    /// Only this machine. [default: powernv9 with both page sizes, powernv10 and pseries]
    #[arg(long, value_enum)]
    machine: Option<Machine>,
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Release,
    /// The kernel's page, where a machine is named.
    #[arg(long, value_enum, default_value = "4k", requires = "machine")]
    pages: Pages,
    /// Keep what the kernels gave, in target/lab/out.
    #[arg(long)]
    record: bool,
    /// Use the programs as they were built last.
    #[arg(long)]
    no_build: bool,
}

#[derive(Args)]
struct LabArgs {
    #[arg(long, value_enum, default_value = "powernv9")]
    machine: Machine,
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Release,
    #[arg(long, value_enum, default_value = "4k")]
    pages: Pages,
    /// A device for vfio-pci, instead of the usual edu devices. Say it again for more.
    #[arg(long = "device", value_enum, value_name = "DEVICE")]
    devices: Vec<Device>,
    /// Insert this kernel module too, such as kvm_hv, with all it depends on. Say it again for more.
    #[arg(long = "module", value_name = "MODULE")]
    modules: Vec<String>,
    /// The machine's memory, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = fittings::MEMORY_MIB)]
    memory: u32,
    /// Huge pages of 2 MiB to reserve.
    #[arg(long, value_name = "COUNT", default_value_t = fittings::HUGE_PAGES)]
    huge_pages: u32,
    /// Seconds after which the machine is stopped (exit code 124).
    #[arg(long, value_name = "SECONDS", default_value_t = test::LAB_LIMIT.as_secs())]
    time_limit: u64,
    /// Show the firmware's and the kernel's messages too.
    #[arg(long)]
    verbose: bool,
    /// Use the policies and programs as they were built last.
    #[arg(long)]
    no_build: bool,
    /// Record DPDK's testpmd, and check that its trace shows what is known of it.
    #[arg(long, conflicts_with_all = [
        "machine", "kernel", "pages", "devices", "modules", "memory", "huge_pages", "command",
    ])]
    peers: bool,
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
        Task::Test { full, words } => {
            let tier = if full { Tier::Full } else { Tier::Landing };
            test::run(&workspace, &cache, tier, words)?;
        }
        Task::Plugins { mut languages } => {
            if languages.is_empty() {
                languages.push(Language::Rust);
            }
            for language in languages {
                plugins::build_in(language, &workspace, &cache)?;
            }
        }
        Task::Tutorial { language } => {
            if let Some(untried) = tutorial::run(language, &workspace, &cache)? {
                say::note(format!("all commands worked, but {untried}"));
            }
        }
        Task::Power => power::build(&workspace, &cache)?,
        Task::Lab(arguments) => return lab(&workspace, &cache, arguments),
        Task::Conformance(arguments) => compare(&workspace, &cache, &arguments)?,
        Task::Mutations { names } => mutations::run(&workspace, &names)?,
        Task::Bench(arguments) => bench::run(&workspace, &cache, &arguments)?,
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

fn lab(workspace: &Workspace, cache: &Cache, mut arguments: LabArgs) -> Result<ExitCode> {
    if arguments.peers {
        if !arguments.no_build {
            power::build(workspace, cache)?;
            peers::build(workspace)?;
        }
        peers::run(workspace, cache, arguments.show())?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.command.is_empty() {
        arguments.command.push(lab::SUITE.to_owned());
    }
    if !arguments.no_build {
        plugins::build(workspace, cache)?;
        power::build(workspace, cache)?;
        if lab::is_suite(&arguments.command) {
            reference::write(workspace)?;
        }
    }
    Ok(ExitCode::from(lab::run(workspace, cache, arguments.order())?))
}

fn compare(workspace: &Workspace, cache: &Cache, arguments: &ConformanceArgs) -> Result<()> {
    if !arguments.no_build {
        power::build(workspace, cache)?;
    }
    let (release, pages) = (arguments.kernel, arguments.pages);
    let sets = match arguments.machine {
        Some(machine) => vec![Set { machine, release, pages }],
        None => conformance::SETS.map(|set| Set { release, ..set }).to_vec(),
    };
    let ConformanceArgs { seed, steps, record, .. } = *arguments;
    conformance::run(workspace, cache, &conformance::Plan { seed, steps, sets, record })
}

impl LabArgs {
    fn show(&self) -> Show {
        if self.verbose { Show::Everything } else { Show::Command }
    }

    fn order(self) -> Order {
        let set = Set { machine: self.machine, release: self.kernel, pages: self.pages };
        let limit = Duration::from_secs(self.time_limit);
        let show = self.show();
        let mut order = Order::usual(set, self.command, limit, show);
        let fittings = &mut order.fittings;
        if !self.devices.is_empty() {
            fittings.devices = self.devices;
        }
        fittings.modules.extend(self.modules);
        fittings.memory_mib = self.memory;
        fittings.huge_pages = self.huge_pages;
        order
    }
}
