//! Child processes: for what has to happen in an address space of its own, or may end its process.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

use caps::{CapSet, Capability};
use nix::{
    libc,
    sys::{
        resource::{Resource, setrlimit},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use tce_engine::addr::Bytes;

/// Why a child did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Other threads run, whose locks the child would find held for good.
    #[error("this process has {0} threads; a child can be made by one that has a single one")]
    Threads(usize),
    /// A system call failed.
    #[error("{what} failed: {error}")]
    System {
        /// Which.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// It panicked; it has said why on the error output.
    #[error("the child process panicked")]
    Panicked,
    /// A signal ended it.
    #[error("the child process was ended by {}", .0.as_str())]
    Killed(Signal),
}

impl ChildError {
    fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { what, error: error.into() }
    }
}

/// What the child leaves behind when it has panicked.
const PANICKED: i32 = 101;

/// Runs `work` in a child process, with a pipe to write to, while `read` reads from its other end in this one.
///
/// The child has all descriptors of this process. It does not have the memory that
/// [`Machine::allocate`](tce_engine::machine::Machine::allocate) made.
///
/// # Errors
/// [`ChildError`]. What `read` has seen until then is lost.
pub fn in_child<T>(
    work: impl FnOnce(&mut File),
    read: impl FnOnce(&mut File) -> T,
) -> Result<T, ChildError> {
    let threads =
        fs::read_dir("/proc/self/task").map_err(ChildError::system("counting threads"))?;
    let threads = threads.count();
    if threads != 1 {
        return Err(ChildError::Threads(threads));
    }
    let (from, to) = io::pipe().map_err(ChildError::system("making a pipe"))?;
    let (from, to) = (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to)));
    match new_process()? {
        ForkResult::Child => {
            drop(from);
            live(work, to)
        }
        ForkResult::Parent { child } => {
            drop(to);
            let mut from = from;
            let seen = read(&mut from);
            drop(from);
            ended(child)?;
            Ok(seen)
        }
    }
}

#[expect(unsafe_code, reason = "fork has no safe form")]
fn new_process() -> Result<ForkResult, ChildError> {
    // SAFETY: this is the only thread, as `in_child` has seen, so that the child is a whole copy of the process: no lock
    // is held in it by a thread that it does not have.
    unsafe { fork() }.map_err(ChildError::system("making a process"))
}

/// The child's life. It ends without the parent's clean-up: buffers and files that are the parent's stay as they are.
#[expect(unsafe_code, reason = "_exit has no safe form")]
fn live(work: impl FnOnce(&mut File), mut to: File) -> ! {
    let worked = catch_unwind(AssertUnwindSafe(|| work(&mut to)));
    let code = if worked.is_ok() { 0 } else { PANICKED };
    drop(to);
    // SAFETY: ends the process; nothing of it runs afterwards.
    unsafe { libc::_exit(code) }
}

fn ended(child: Pid) -> Result<(), ChildError> {
    match waitpid(child, None).map_err(ChildError::system("waiting for a child"))? {
        WaitStatus::Signaled(_, signal, _) => Err(ChildError::Killed(signal)),
        WaitStatus::Exited(_, PANICKED) => Err(ChildError::Panicked),
        _ => Ok(()),
    }
}

/// Makes this process one of an ordinary user, as far as locked memory goes: without `CAP_IPC_LOCK` and with this limit,
/// for good.
///
/// # Errors
/// If the process may not.
pub fn limit_locked_memory(limit: Bytes) -> io::Result<()> {
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::drop(None, set, Capability::CAP_IPC_LOCK).map_err(io::Error::other)?;
    }
    Ok(setrlimit(Resource::RLIMIT_MEMLOCK, limit.raw(), limit.raw())?)
}
