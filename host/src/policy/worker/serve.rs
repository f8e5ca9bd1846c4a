//! A worker's own life.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use crate::policy::{
    compile::Code,
    engine::{self, Compiler, Runtime, RuntimeError},
    evaluator::Evaluator,
    load::{LoadError, LoadedPolicy},
    question::Function,
};

use super::{
    protocol::{self, Compiled, Load, Loaded, Request, Task, Unloadable},
    sandbox::{self, Attempt},
};

/// The worker's end. What is read of it is read ahead.
type Socket = BufReader<File>;

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
    let mut socket = BufReader::new(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    if let Err(what) = sandbox::enter() {
        return refuse(&mut socket, what);
    }
    match protocol::receive(&mut socket)? {
        Task::Compile(compiler) => compile(&mut socket, compiler),
        Task::Serve(load) => serve_policy(&mut socket, &load),
    }
}

/// Says that there is no sandbox. What was sent is not looked at.
fn refuse(socket: &mut Socket, what: String) -> io::Result<()> {
    protocol::send(socket.get_mut(), &Loaded::Err(Unloadable::NoSandbox { what }))?;
    io::copy(socket, &mut io::sink()).map(drop)
}

fn compile(socket: &mut Socket, compiler: Compiler) -> io::Result<()> {
    let component = protocol::receive_component(socket)?;
    let code = engine::compiling(compiler).map_err(unavailable).and_then(|engine| {
        let code = engine.precompile_component(&component);
        code.map_err(|error| LoadError::untaken(&error))
    });
    match code {
        Ok(code) => {
            protocol::send(socket.get_mut(), &Compiled::Ok(()))?;
            protocol::send_bytes(socket.get_mut(), &code)
        }
        Err(error) => protocol::send(socket.get_mut(), &Compiled::Err(error.into())),
    }
}

fn serve_policy(socket: &mut Socket, load: &Load) -> io::Result<()> {
    let code = Code::from_parent(protocol::receive_code(socket)?);
    let policy = match open(load, &code) {
        Ok(policy) => policy,
        Err(error) => return protocol::send(socket.get_mut(), &Loaded::Err(error.into())),
    };
    drop(code);
    let answers = Function::ALL.into_iter().filter(|function| policy.answers(*function)).collect();
    protocol::send(socket.get_mut(), &Loaded::Ok(answers))?;
    loop {
        let request: Request<'static> = protocol::receive(socket)?;
        answer(socket, &policy, &request)?;
    }
}

fn unavailable(error: RuntimeError) -> LoadError {
    LoadError::Worker { what: error.to_string() }
}

fn open(load: &Load, code: &Code) -> Result<LoadedPolicy, LoadError> {
    let runtime = Runtime::single(load.compiler).map_err(unavailable)?;
    let component = code.component(runtime.engine()).map_err(|error| LoadError::untaken(&error))?;
    LoadedPolicy::from_component(&runtime, load.outline.clone(), &component, load.limits)
}

fn answer(socket: &mut Socket, policy: &LoadedPolicy, request: &Request<'_>) -> io::Result<()> {
    match request {
        Request::Evaluate(question) => policy
            .evaluate_and(question, |evaluation| protocol::send(socket.get_mut(), &evaluation)),
        Request::DescribeSettings => protocol::send(socket.get_mut(), &policy.describe_settings()),
        Request::ValidateSettings(settings) => {
            protocol::send(socket.get_mut(), &policy.validate_settings(settings))
        }
    }
}
