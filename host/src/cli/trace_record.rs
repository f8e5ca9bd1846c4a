//! `tce trace record`.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Args;
use tce_trace::record::{
    self, Backing, Existing, Output, OutputError, Proc, RecordError, exec_traced, header,
};

use crate::exit::{Exit, Failure};

/// The hidden command that becomes the command to record: `tce trace exec-traced -- COMMAND`.
pub(super) const EXEC_TRACED: &str = "exec-traced";

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Write the trace to this file, compressed if its name ends with .gz; - is standard output.
    /// [default: tce-trace-COMMAND.jsonl in the current directory]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
    /// Do not look up which pages are behind registered memory, a walk of the program's page tables for each REGISTER.
    #[arg(long)]
    no_backing: bool,
    /// The program to run, with its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct ExecTracedArgs {
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the command. Only the recorder calls it, in a process of its own.
pub(super) fn exec(args: &ExecTracedArgs) -> ! {
    exec_traced(&args.command)
}

/// Records a command. The exit code is the command's.
pub(super) fn record(args: &RecordArgs) -> Result<ExitCode, Failure> {
    let command = &args.command;
    let file = args.output.clone().unwrap_or_else(|| default_file(command));
    let mut output = begin(&file, args, &header(command))?;
    let backing = if args.no_backing { Backing::LeftOut } else { Backing::LookedUp };
    let result = record::record(helper(command)?, command, backing, &Proc, &mut output);
    let finished = output.finish();
    match result {
        Ok(ended) => {
            finished.map_err(|error| incomplete(&file, &error))?;
            Ok(ExitCode::from(ended.exit_code()))
        }
        Err(error) => {
            let never_ran = !matches!(error, RecordError::Write { .. } | RecordError::Wait(_));
            if never_ran && !is_standard(&file) {
                // A header alone is of no use. That it stays is no worse than why it is removed.
                let _ = fs::remove_file(&file);
            }
            Err(failure(&error))
        }
    }
}

/// This program once more, as the process that becomes the command.
fn helper(command: &[OsString]) -> Result<Command, Failure> {
    let this = env::current_exe().map_err(|error| {
        Failure::new(Exit::Unexpected, format!("cannot find this program's own file: {error}"))
    })?;
    let mut helper = Command::new(this);
    helper.args(["trace", EXEC_TRACED, "--"]).args(command);
    Ok(helper)
}

fn begin(
    file: &Path,
    args: &RecordArgs,
    header: &tce_trace::format::Header,
) -> Result<Output, Failure> {
    if is_standard(file) {
        return Output::standard(header).map_err(|error| incomplete(file, &error));
    }
    let existing = if args.force { Existing::Replaced } else { Existing::Kept };
    Output::file(file, existing, header).map_err(|error| match error {
        OutputError::Exists(_) => {
            let what = format!("{} is there already", file.display());
            Failure::new(Exit::Usage, what).with("--force replaces it, --output names another")
        }
        OutputError::Io { .. } => Failure::new(Exit::Usage, error),
    })
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn default_file(command: &[OsString]) -> PathBuf {
    let program = command.first().and_then(|program| Path::new(program).file_name());
    let name = program.map(OsStr::to_string_lossy).unwrap_or_default();
    PathBuf::from(format!("tce-trace-{name}.jsonl"))
}

fn incomplete(file: &Path, error: &std::io::Error) -> Failure {
    let what = format!("the trace in {} is not complete: {error}", file.display());
    Failure::new(Exit::Unexpected, what)
}

/// Each error says first what is wrong and then, behind a semicolon, what to do.
fn failure(error: &RecordError) -> Failure {
    let exit = match error {
        RecordError::NoCommand | RecordError::Command { .. } => Exit::Usage,
        RecordError::MayNotTrace(_) | RecordError::Filter(_) => Exit::Machine,
        RecordError::Helper(_)
        | RecordError::HelperEnded(_)
        | RecordError::Wait(_)
        | RecordError::Write { .. } => Exit::Unexpected,
    };
    let text = error.to_string();
    match text.split_once("; ") {
        Some((what, remedy)) => Failure::new(exit, what).with(remedy),
        None => Failure::new(exit, text),
    }
}
