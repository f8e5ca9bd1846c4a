//! `tce trace …`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use tce_trace::{
    lint::{Severity, lint},
    replay::ReplayError,
    trace::Trace,
};

use crate::{
    exit::{Exit, Failure},
    trace::{compare, compare_text, lint_text},
};

use super::{
    exit_code,
    policy::{Isolation, PolicyArgs},
    print_json, print_text,
    trace_record::{self, EXEC_TRACED, ExecTracedArgs, RecordArgs},
};

/// What can be done with traces.
#[derive(Debug, Subcommand)]
pub(super) enum TraceCommand {
    /// Run a program and record what it asks of VFIO and of KVM's link to it.
    Record(RecordArgs),
    /// Name each hazard in a trace: what happened, where, why, what it costs, what to do.
    Lint(LintArgs),
    /// Do what a trace's program wanted through the engine and a policy, and compare.
    Replay(ReplayArgs),
    /// Becomes the program to record; the recorder's own use.
    #[command(name = EXEC_TRACED, hide = true)]
    ExecTraced(ExecTracedArgs),
}

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// The trace: a tce-trace file, what `strace -f -e trace=ioctl` printed, or a logger's lines; also compressed.
    trace: PathBuf,
    /// Report as one JSON document (docs/trace.md describes it).
    #[arg(long)]
    json: bool,
    /// The mildest finding that makes the command fail.
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailOn {
    /// Mappings or memory are lost, or the host is in danger.
    Error,
    /// It costs memory or time, or hides a failure.
    Warning,
    /// Anything at all.
    Note,
    /// Nothing: the report is all.
    Never,
}

impl FailOn {
    fn is_met_by(self, worst: Option<Severity>) -> bool {
        let least = match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Note => Severity::Note,
            Self::Never => return false,
        };
        worst.is_some_and(|worst| worst >= least)
    }
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The trace. What strace prints does not say what was asked for, so it cannot be replayed.
    trace: PathBuf,
    #[command(flatten)]
    policies: PolicyArgs,
    /// Report as one JSON document (docs/trace.md describes it).
    #[arg(long)]
    json: bool,
}

/// Does it. A recorded program's exit code is the command's own.
pub(super) fn trace(command: TraceCommand) -> Result<ExitCode, Failure> {
    match command {
        TraceCommand::Record(args) => trace_record::record(&args),
        TraceCommand::Lint(args) => lint_trace(&args).map(exit_code),
        TraceCommand::Replay(args) => replay_trace(&args).map(exit_code),
        TraceCommand::ExecTraced(args) => trace_record::exec(&args),
    }
}

fn lint_trace(args: &LintArgs) -> Result<Exit, Failure> {
    let trace = open(&args.trace)?;
    let report = lint(&trace).map_err(|error| unreadable(&args.trace, &error))?;
    if args.json {
        print_json(&report)?;
    } else {
        print_text(&lint_text::render(&report))?;
    }
    Ok(if args.fail_on.is_met_by(report.worst()) { Exit::Findings } else { Exit::Done })
}

fn replay_trace(args: &ReplayArgs) -> Result<Exit, Failure> {
    let trace = open(&args.trace)?;
    if !trace.notation().shows_arguments() {
        let what = format!("trace {}: strace shows no arguments", args.trace.display());
        return Err(Failure::new(Exit::Trace, what)
            .with("record the program with `tce trace record -- COMMAND`"));
    }
    let (policies, compiler) = args.policies.load(Isolation::InProcess)?;
    let wanted = compare::wanted(&trace).map_err(|error| unreadable(&args.trace, &error))?;
    let comparison = compare::compare(&trace, &wanted, &policies, compiler)?;
    if args.json {
        print_json(&comparison)?;
    } else {
        print_text(&compare_text::render(&comparison))?;
    }
    Ok(comparison.exit())
}

fn open(path: &Path) -> Result<Trace, Failure> {
    Trace::open(path).map_err(|error| unreadable(path, &error.into()))
}

fn unreadable(path: &Path, error: &ReplayError) -> Failure {
    Failure::new(Exit::Trace, format!("trace {}: {error}", path.display()))
}
