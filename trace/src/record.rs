//! Recording what a program asks of VFIO: it runs under `ptrace`, and each of its calls becomes an [`Event`].
//!
//! All threads and processes that the program starts are recorded, also across `exec`. A seccomp filter stops them at
//! the calls that matter and at no others, so that the rest runs at full speed. Nothing is changed in the program: it
//! is looked at, its memory is read, and it goes on.
//!
//! The program is started by a helper: this executable once more, told to call [`exec_traced`]. So the filter is put
//! on by the process that becomes the program, and no unsafe code runs between `fork` and `exec`.

mod calls;
mod descriptors;
mod output;
mod signals;
mod start;
mod watch;

use std::{ffi::OsString, io, process::Command};

use tce_engine::{
    errno::Errno,
    kernel::{DescriptorKind, Fd, GroupNumber},
};
use tce_vfio::{tracee::Tid, wire};
use thiserror::Error;

use crate::{event::Event, format::Header};

pub use output::{Existing, Output, OutputError};
pub use start::exec_traced;

/// Takes the events of a recording.
pub trait Sink {
    /// Takes one.
    ///
    /// # Errors
    /// What keeps it from doing so. The program goes on, but nothing more is recorded.
    fn take(&mut self, event: &Event) -> io::Result<()>;
}

/// Tells what descriptors are. The real one reads `/proc`; a test has its own.
pub trait Classify {
    /// What a descriptor of a process is.
    fn kind_of(&self, process: Tid, fd: Fd) -> DescriptorKind;
    /// Which group a group's descriptor is.
    fn group_of(&self, process: Tid, fd: Fd) -> Option<GroupNumber>;
}

/// What the kernel says they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proc;

impl Classify for Proc {
    fn kind_of(&self, process: Tid, fd: Fd) -> DescriptorKind {
        wire::kind_of(process, fd)
    }

    fn group_of(&self, process: Tid, fd: Fd) -> Option<GroupNumber> {
        wire::group_of(process, fd)
    }
}

/// Whether the pages behind registered memory are looked up, which is a walk of the program's page tables for each
/// REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// They are.
    LookedUp,
    /// They are not: [`Event::backing`] is absent.
    LeftOut,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By a signal.
    Killed(i32),
}

impl Ended {
    /// The exit code that tells it on, as a shell does: 128 and the signal's number for one that was killed.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => u8::try_from(signal).unwrap_or(0).saturating_add(128),
        }
    }
}

/// Why a program was not recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// There is nothing to run.
    #[error("there is no command to record; name one behind `--`")]
    NoCommand,
    /// The helper did not start.
    #[error("cannot start the helper that starts the command: {0}")]
    Helper(io::Error),
    /// The helper ended before it could be attached.
    #[error(
        "the helper that starts the command ended with {0} before it could be attached; please report it"
    )]
    HelperEnded(i32),
    /// This process may not trace another one.
    #[error(
        "this process may not trace the command ({0}); it must not be traced itself, by a debugger or another recorder; \
         in a container allow ptrace (such as `--cap-add SYS_PTRACE`); and /proc/sys/kernel/yama/ptrace_scope has to be \
         at most 1"
    )]
    MayNotTrace(Errno),
    /// The filter was not accepted.
    #[error(
        "the kernel did not take the seccomp filter ({0}); it has to be built with CONFIG_SECCOMP_FILTER, and a \
         container has to allow the system call seccomp"
    )]
    Filter(Errno),
    /// The command did not start.
    #[error("cannot run {command}: {errno}{}", hint(*errno))]
    Command {
        /// The program.
        command: String,
        /// Why.
        errno: Errno,
    },
    /// Waiting for the command failed.
    #[error("cannot wait for the command: {0}")]
    Wait(Errno),
    /// The trace could not be written; the command ran to its end.
    #[error("the trace is not complete: {error}; the command ran on without a recorder")]
    Write {
        /// Why.
        error: io::Error,
        /// How the command ended.
        ended: Ended,
    },
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT => "; give its path, or see that it is in PATH",
        Errno::EACCES => "; see that it may be executed",
        _ => "",
    }
}

/// Runs a command and records it until all processes that it started have ended.
///
/// `helper` starts this executable so that it calls [`exec_traced`] with the command and nothing else. While the command
/// runs, `SIGTERM` and `SIGHUP` to this process are passed on to it; `SIGINT` and `SIGQUIT`, which a terminal sends to
/// both, are left to it. The calling thread has these blocked from then on.
///
/// # Errors
/// [`RecordError`].
pub fn record(
    helper: Command,
    command: &[OsString],
    backing: Backing,
    classify: &dyn Classify,
    sink: &mut dyn Sink,
) -> Result<Ended, RecordError> {
    let program = command.first().ok_or(RecordError::NoCommand)?;
    let passing = signals::Passing::begin();
    let first = start::attached(helper)?;
    let outcome = watch::Watch::new(first, backing, classify, sink, &passing).run()?;
    if !outcome.has_started
        && let Ended::Exited(code) = outcome.ended
    {
        return Err(start::refusal(program, code));
    }
    match outcome.error {
        Some(error) => Err(RecordError::Write { error, ended: outcome.ended }),
        None => Ok(outcome.ended),
    }
}

/// The header of a recording that is made here and now.
#[must_use]
pub fn header(command: &[OsString]) -> Header {
    let words = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut header = Header::new(words);
    if let Ok(name) = nix::sys::utsname::uname() {
        header.kernel = Some(name.release().to_string_lossy().into_owned());
        header.machine = Some(name.machine().to_string_lossy().into_owned());
    }
    header.platform = wire::platform();
    header.page_size = wire::page_shift().map(|shift| shift.bytes().raw());
    header.locked_limit = wire::locked_limit();
    header
}
