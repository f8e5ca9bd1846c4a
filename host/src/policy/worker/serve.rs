//! A worker's own life.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use crate::policy::{
    engine::Runtime,
    evaluator::Evaluator,
    load::{LoadError, LoadedPolicy},
    question::Function,
};

use super::{
    protocol::{self, Load, Loaded, Request, Unloadable},
    sandbox::{self, Attempt},
};

/// Lives as a worker: in a sandbox, with a socket as the standard input. Returns when the other end is gone.
///
/// It has to be called by the only thread there is, as the first thing that a program does.
#[must_use]
pub fn serve() -> ExitCode {
    match try_serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Enters the sandbox and writes what can still be done to the standard output. For whoever wants to see that it holds.
#[must_use]
pub fn examine() -> ExitCode {
    let entered = sandbox::enter();
    let text = match &entered {
        Ok(()) => sandbox::attempts().iter().map(line).collect(),
        Err(what) => format!("no sandbox: {what}\n"),
    };
    // Through the descriptor that is open; no formatting machinery that may want more.
    let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    if entered.is_ok() && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(attempt: &Attempt) -> String {
    format!("{attempt}\n")
}

fn try_serve() -> io::Result<()> {
    // As a file: reading and writing are the only calls then.
    let mut socket = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if let Err(what) = sandbox::enter() {
        return refuse(&mut socket, what);
    }
    let load: Load = protocol::receive(&mut socket)?;
    let component = protocol::receive_component(&mut socket)?;
    let policy = match open(&load, &component) {
        Ok(policy) => policy,
        Err(error) => return protocol::send(&mut socket, &Loaded::Err(error.into())),
    };
    drop(component);
    let answers = Function::ALL.into_iter().filter(|function| policy.answers(*function)).collect();
    protocol::send(&mut socket, &Loaded::Ok(answers))?;
    loop {
        let request: Request<'static> = protocol::receive(&mut socket)?;
        answer(&mut socket, &policy, &request)?;
    }
}

/// Says that there is no sandbox. What was sent is not looked at.
fn refuse(socket: &mut File, what: String) -> io::Result<()> {
    let what = format!("has no sandbox on this machine: {what}");
    protocol::send(socket, &Loaded::Err(Unloadable::Other { what }))?;
    io::copy(socket, &mut io::sink()).map(drop)
}

fn open(load: &Load, component: &[u8]) -> Result<LoadedPolicy, LoadError> {
    let runtime = Runtime::without_clock(load.compiler)
        .map_err(|error| LoadError::Worker { what: error.to_string() })?;
    LoadedPolicy::from_bytes(&runtime, &load.name, component, load.limits)
}

fn answer(socket: &mut File, policy: &LoadedPolicy, request: &Request<'_>) -> io::Result<()> {
    match request {
        Request::Evaluate(question) => protocol::send(socket, &policy.evaluate(question)),
        Request::DescribeSettings => protocol::send(socket, &policy.describe_settings()),
        Request::ValidateSettings(settings) => {
            protocol::send(socket, &policy.validate_settings(settings))
        }
    }
}
