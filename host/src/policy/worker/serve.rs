//! A worker's own life.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use crate::policy::{
    compile::Code,
    engine::{Compiler, Runtime},
    evaluator::Evaluator,
    load::{LoadError, LoadedPolicy},
    question::Function,
};

use super::{
    protocol::{self, Compiled, Load, Loaded, Request, Task, Unloadable},
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
    match protocol::receive(&mut socket)? {
        Task::Compile(compiler) => compile(&mut socket, compiler),
        Task::Serve(load) => serve_policy(&mut socket, &load),
    }
}

/// Says that there is no sandbox. What was sent is not looked at.
fn refuse(socket: &mut File, what: String) -> io::Result<()> {
    protocol::send(socket, &Loaded::Err(Unloadable::NoSandbox { what }))?;
    io::copy(socket, &mut io::sink()).map(drop)
}

fn compile(socket: &mut File, compiler: Compiler) -> io::Result<()> {
    let component = protocol::receive_component(socket)?;
    let code = runtime(compiler).and_then(|runtime| {
        let code = runtime.engine().precompile_component(&component);
        code.map_err(|error| LoadError::uncompiled(&error))
    });
    match code {
        Ok(code) => {
            protocol::send(socket, &Compiled::Ok(()))?;
            protocol::send_bytes(socket, &code)
        }
        Err(error) => protocol::send(socket, &Compiled::Err(error.into())),
    }
}

fn serve_policy(socket: &mut File, load: &Load) -> io::Result<()> {
    let code = Code::from_parent(protocol::receive_code(socket)?);
    let policy = match open(load, &code) {
        Ok(policy) => policy,
        Err(error) => return protocol::send(socket, &Loaded::Err(error.into())),
    };
    drop(code);
    let answers = Function::ALL.into_iter().filter(|function| policy.answers(*function)).collect();
    protocol::send(socket, &Loaded::Ok(answers))?;
    loop {
        let request: Request<'static> = protocol::receive(socket)?;
        answer(socket, &policy, &request)?;
    }
}

fn runtime(compiler: Compiler) -> Result<Runtime, LoadError> {
    Runtime::without_clock(compiler).map_err(|error| LoadError::Worker { what: error.to_string() })
}

fn open(load: &Load, code: &Code) -> Result<LoadedPolicy, LoadError> {
    let runtime = runtime(load.compiler)?;
    let component =
        code.component(runtime.engine()).map_err(|error| LoadError::uncompiled(&error))?;
    LoadedPolicy::from_component(&runtime, load.outline.clone(), &component, load.limits)
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
