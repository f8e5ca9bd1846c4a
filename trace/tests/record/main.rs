//! The recorder on real programs: this one in several parts, and the shell.
//!
//! `record` takes over the signals of its process and waits for all of its children, so each test has a process of its
//! own for it: this executable, which is also the recorder's helper and the program that is recorded.

#![forbid(unsafe_code)]

mod cases;
mod run;
mod subject;

use std::{env, ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let rest = words.get(1..).unwrap_or_default();
    match words.first().and_then(|word| word.to_str()) {
        Some(run::RECORD) => run::record_as_told(rest),
        Some(run::RECORD_INTO_FULL) => run::record_into_full(rest),
        Some(run::EXEC_TRACED) => tce_trace::record::exec_traced(rest),
        Some(run::SUBJECT) => subject::play(rest),
        filter => cases::all(filter.filter(|word| !word.starts_with('-'))),
    }
}
