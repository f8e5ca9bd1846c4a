//! The command line: what can be said, and how it ends.

mod author;
mod backend;
mod conformance;
mod doctor;
mod policy;
mod progress;
mod run;
mod trace;
mod trace_record;

use std::{path::PathBuf, process::ExitCode};

use anstyle::{AnsiColor, Style};
use clap::{Args, Parser, Subcommand};

use policy::PolicyArgs;

use crate::{
    exit::{Exit, Failure},
    policy::Program,
};

/// DMA windows on POWER: sized by policies, driven without traps, leased safely.
#[derive(Debug, Parser)]
#[command(name = "tce", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a job: attach, decide, map, take down, report.
    Run(RunArgs),
    /// Tell whether this machine can do the real thing, and what is missing.
    Doctor(DoctorArgs),
    /// Hold this machine's kernel against what is known of the backend.
    Conformance(conformance::ConformanceArgs),
    /// Tools for policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Tools for traces of programs that use VFIO's sPAPR TCE backend.
    #[command(subcommand)]
    Trace(trace::TraceCommand),
    /// Be the process that a policy is executed in (ARCHITECTURE.md, "Worker processes").
    #[command(name = Program::COMMAND, hide = true)]
    PolicyWorker {
        /// Tell what such a process can still do, and nothing else.
        #[arg(long)]
        examine: bool,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The job, a TOML file (docs/job.md describes it).
    job: PathBuf,
    /// The backend: sim, sim:PROFILE or vfio. [default: the job's own, else sim:powernv9]
    #[arg(long)]
    backend: Option<String>,
    /// Use this device instead of those that the job names. Say it again for more.
    #[arg(long = "device", value_name = "ADDRESS")]
    devices: Vec<String>,
    #[command(flatten)]
    policies: PolicyArgs,
    /// Write every decision to this journal (docs/journal.md describes it).
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// When the journal's lines are safe from a crash of the machine: `record`, before each is carried out, or a number
    /// of milliseconds after which they are.
    #[arg(
        long,
        value_name = "record|MILLISECONDS",
        default_value = "record",
        requires = "journal"
    )]
    journal_sync: run::Sync,
    /// Write what has become of each policy's decisions to this file, as Prometheus reads it.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Report as one JSON document (docs/report.md describes it).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Report as one JSON document (docs/report.md describes it).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Tell whether a file is a policy that this host can use: interfaces, versions, imports.
    Check(policy::CheckArgs),
    /// Ask a policy all questions of a journal: what would have been decided otherwise, and what that costs.
    Replay(policy::ReplayArgs),
    #[command(flatten)]
    Author(author::AuthorCommand),
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const REMEDY: Style = AnsiColor::Cyan.on_default().bold();

/// The whole command.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args).map(exit_code),
        Command::Doctor(args) => doctor::doctor(args.json).map(exit_code),
        Command::Policy(PolicyCommand::Check(args)) => policy::check(&args).map(exit_code),
        Command::Policy(PolicyCommand::Replay(args)) => policy::replay(&args).map(exit_code),
        Command::Policy(PolicyCommand::Author(command)) => author::author(&command).map(exit_code),
        Command::Conformance(args) => conformance::conformance(args).map(exit_code),
        Command::Trace(command) => trace::trace(command),
        Command::PolicyWorker { examine: true } => Ok(crate::policy::examine()),
        Command::PolicyWorker { examine: false } => Ok(crate::policy::serve()),
    };
    result.unwrap_or_else(|failure| {
        complain(&failure);
        exit_code(failure.exit)
    })
}

fn exit_code(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}

/// Says what went wrong, and what to do.
fn complain(failure: &Failure) {
    anstream::eprintln!("{ERROR}error:{ERROR:#} {failure}");
    if let Some(remedy) = &failure.remedy {
        anstream::eprintln!("{REMEDY}help:{REMEDY:#} {remedy}");
    }
}

/// Prints a document as JSON.
fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::new(Exit::Unexpected, error))?;
    print_text(&format!("{text}\n"))
}

/// Prints text. A reader that went away, such as `head`, is not an error.
fn print_text(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    match anstream::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Unexpected, format!("cannot write the report: {error}")))
        }
        _ => Ok(()),
    }
}
