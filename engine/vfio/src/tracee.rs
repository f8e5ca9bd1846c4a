//! Threads of other programs under `ptrace`: attached, stopped, looked at, resumed.
//!
//! Only what a recorder needs: it changes nothing in the thread, neither its registers nor its memory. All calls on a
//! tracee are to be made by the thread that attached it; to any other, the kernel answers `ESRCH`.
#![expect(unsafe_code, reason = "ptrace, with real-time signals, has no safe form")]

use std::{fmt, io::IoSliceMut, ptr};

use nix::{
    errno::Errno as NixErrno,
    libc::{self, c_int, c_uint, c_void},
    sys::{
        ptrace::{self as nix_ptrace, Options},
        signal::{self, Signal},
        uio::{RemoteIoVec, process_vm_readv},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tce_engine::errno::Errno;

use crate::descriptors::from_nix;

/// What is in a system call's stop: `SIGTRAP`, with the bit of `PTRACE_O_TRACESYSGOOD`.
const CALL_STOP: c_int = libc::SIGTRAP | 0x80;

/// A thread's number. That of a process's first thread is the process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(i32);

impl Tid {
    /// The thread with this number.
    #[must_use]
    pub const fn new(raw: i32) -> Self {
        Self(raw)
    }

    /// Its number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    const fn pid(self) -> Pid {
        Pid::from_raw(self.0)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a thread stopped, or that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is about to make a call that its filter stops.
    Call {
        /// The call's number on this architecture.
        number: u64,
        /// Its arguments.
        arguments: [u64; 6],
    },
    /// The call it was resumed into by [`resume_until_return`] returned: a value, or a negative errno.
    Return(i64),
    /// It started a thread or a process, which is attached too.
    Started(Tid),
    /// Its process runs another program now. All other threads of it are gone, and this one, which had another number
    /// if it was not the first, is the first.
    Exec {
        /// Its number before.
        former: Tid,
    },
    /// It is about to get this signal.
    Signal(c_int),
    /// Its whole process was stopped by a signal.
    GroupStop,
    /// Nothing of interest, such as the first stop of a new thread.
    Idle,
    /// It ended, and with it, if it was the first, its process.
    Exited(c_int),
    /// It was ended by this signal.
    Killed(c_int),
    /// It was ended while it was looked at. That it ended is told by a later stop.
    Gone,
}

/// Why a process could not be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// It ended, with this exit code or signal, instead of waiting for us.
    Ended(c_int),
    /// What the kernel said.
    Kernel(Errno),
}

/// Stops the calling process until [`attach`] lets it go on. The process ends if its parent does.
///
/// # Errors
/// What the kernel said.
pub fn wait_to_be_attached() -> Result<(), Errno> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(from_nix)?;
    signal::raise(Signal::SIGSTOP).map_err(from_nix)?;
    nix::sys::prctl::set_pdeathsig(None).map_err(from_nix)
}

/// Attaches a child of this thread that called [`wait_to_be_attached`], and lets it go on. From now on it and all that
/// it starts stop for this thread; they are killed when this thread ends.
///
/// # Errors
/// [`AttachError`].
pub fn attach(child: Tid) -> Result<(), AttachError> {
    let kernel = |errno| AttachError::Kernel(from_nix(errno));
    loop {
        match waitpid(child.pid(), Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(..)) => break,
            Ok(WaitStatus::Exited(_, code)) => return Err(AttachError::Ended(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Err(AttachError::Ended(128 + c_int::from_signal(signal)));
            }
            Ok(_) | Err(NixErrno::EINTR) => {}
            Err(errno) => return Err(kernel(errno)),
        }
    }
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEVFORK;
    nix_ptrace::seize(child.pid(), options).map_err(kernel)?;
    signal::kill(child.pid(), Signal::SIGCONT).map_err(kernel)
}

trait FromSignal {
    fn from_signal(signal: Signal) -> Self;
}

impl FromSignal for c_int {
    #[expect(clippy::as_conversions, reason = "the discriminant is the number")]
    fn from_signal(signal: Signal) -> Self {
        signal as Self
    }
}

/// Waits until any thread attached by this thread stops or ends; `None` when there is none left.
///
/// # Errors
/// What the kernel said.
pub fn wait() -> Result<Option<(Tid, Stop)>, Errno> {
    let mut status = 0;
    loop {
        // Only those of this thread: the rest of the program may have children of its own.
        let flags = libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: `waitpid` writes one `c_int`, and `status` is one.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match NixErrno::result(tid) {
            Ok(tid) => return Ok(Some((Tid(tid), stop(Tid(tid), status)))),
            Err(NixErrno::EINTR) => {}
            Err(NixErrno::ECHILD) => return Ok(None),
            Err(errno) => return Err(from_nix(errno)),
        }
    }
}

/// What a status tells.
fn stop(tid: Tid, status: c_int) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed(libc::WTERMSIG(status));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == CALL_STOP => call_stop(tid),
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => call_stop(tid),
        libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
            event(tid).map_or(Stop::Gone, Stop::Started)
        }
        libc::PTRACE_EVENT_EXEC => event(tid).map_or(Stop::Gone, |former| Stop::Exec { former }),
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Stop::GroupStop,
        _ => Stop::Idle,
    }
}

/// The thread an event is about.
fn event(tid: Tid) -> Option<Tid> {
    i32::try_from(nix_ptrace::getevent(tid.pid()).ok()?).ok().map(Tid)
}

fn call_stop(tid: Tid) -> Stop {
    let info = match nix_ptrace::syscall_info(tid.pid()) {
        Ok(info) => info,
        Err(NixErrno::ESRCH) => return Stop::Gone,
        // Before Linux 5.3 nothing tells.
        Err(_) => return Stop::Idle,
    };
    match info.op {
        libc::PTRACE_SYSCALL_INFO_SECCOMP => {
            // SAFETY: `op` says that this part of the union was filled in; it is integers only.
            let call = unsafe { info.u.seccomp };
            Stop::Call { number: call.nr, arguments: call.args }
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above.
            let exit = unsafe { info.u.exit };
            Stop::Return(exit.sval)
        }
        _ => Stop::Idle,
    }
}

/// Lets a stopped thread go on until the next stop.
pub fn resume(tid: Tid) {
    restart(libc::PTRACE_CONT, tid, 0);
}

/// Lets a stopped thread go on and get this signal.
pub fn resume_with(tid: Tid, signal: c_int) {
    restart(libc::PTRACE_CONT, tid, signal);
}

/// Lets a thread that stopped at a call go on until the call returns.
pub fn resume_until_return(tid: Tid) {
    restart(libc::PTRACE_SYSCALL, tid, 0);
}

/// Leaves a thread stopped with its process, until a signal ends that stop.
pub fn stay_stopped(tid: Tid) {
    restart(libc::PTRACE_LISTEN, tid, 0);
}

/// One of the requests that start a thread again. A thread that was killed meanwhile cannot be, and tells so itself.
fn restart(request: c_uint, tid: Tid, signal: c_int) {
    let Ok(signal) = usize::try_from(signal) else { return };
    let none = ptr::null_mut::<c_void>();
    let signal = ptr::without_provenance_mut::<c_void>(signal);
    // SAFETY: these requests take a thread and a number, and touch no memory of this process.
    let _ = unsafe { libc::ptrace(request, tid.0, none, signal) };
}

/// Sends a process a signal; one that has ended gets none.
pub fn send(process: Tid, signal: Signal) {
    let _ = signal::kill(process.pid(), signal);
}

/// Copies from the memory of a thread's process; how many bytes, up to the first that cannot be read.
///
/// # Errors
/// What the kernel said: `EFAULT` if not even the first can be read, `EPERM` if this process may not.
pub fn read_memory(tid: Tid, address: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let base = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    let there = RemoteIoVec { base, len: bytes.len() };
    process_vm_readv(tid.pid(), &mut [IoSliceMut::new(bytes)], &[there]).map_err(from_nix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thread_is_read_from_its_status() {
        let tid = Tid::new(1);
        assert_eq!(stop(tid, 0x0300), Stop::Exited(3));
        assert_eq!(stop(tid, 0x000b), Stop::Killed(11));
        assert_eq!(stop(tid, 0x008b), Stop::Killed(11), "with a core");
    }

    #[test]
    fn signals_group_stops_and_first_stops_are_told_apart() {
        let tid = Tid::new(1);
        assert_eq!(stop(tid, (libc::SIGSTOP << 8) | 0x7f), Stop::Signal(libc::SIGSTOP));
        assert_eq!(stop(tid, (34 << 8) | 0x7f), Stop::Signal(34), "a real-time signal");
        let event = libc::PTRACE_EVENT_STOP << 16;
        assert_eq!(stop(tid, event | (libc::SIGTSTP << 8) | 0x7f), Stop::GroupStop);
        assert_eq!(stop(tid, event | (libc::SIGTRAP << 8) | 0x7f), Stop::Idle);
    }

    #[test]
    fn a_thread_that_is_not_ours_is_not_looked_at() {
        assert_eq!(stop(Tid::new(1), (CALL_STOP << 8) | 0x7f), Stop::Gone);
    }

    #[test]
    fn memory_is_read_up_to_where_it_ends() {
        let here = Tid::new(i32::try_from(std::process::id()).unwrap());
        let secret = *b"0123456789abcdef";
        let address = u64::try_from(secret.as_ptr().expose_provenance()).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(read_memory(here, address + 4, &mut bytes), Ok(8));
        assert_eq!(&bytes, b"456789ab");
        assert_eq!(read_memory(here, 16, &mut bytes), Err(Errno::EFAULT));
    }
}
