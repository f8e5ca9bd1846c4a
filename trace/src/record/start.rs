//! Starting the command: the helper waits to be attached, puts the filter on, and becomes the command.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::Command,
};

use tce_engine::errno::Errno;
use tce_vfio::{
    tracee::{self, AttachError, Tid},
    wire,
};

use super::{RecordError, signals};

/// How the helper tells why it did not become the command: its exit code is the errno of `exec`, or this and the errno
/// of the filter. No errno that either gives is as large.
const FILTER_REFUSED: i32 = 128;

/// Becomes the command, traced by the parent. Called by the helper, a process that [`record`](super::record) started
/// and that has done nothing else; it does not return.
pub fn exec_traced(command: &[OsString]) -> ! {
    std::process::exit(become_traced(command))
}

fn become_traced(command: &[OsString]) -> i32 {
    signals::unblock();
    let Some((program, arguments)) = command.split_first() else { return Errno::EINVAL.0 };
    if let Err(errno) = tracee::wait_to_be_attached() {
        return FILTER_REFUSED + errno.0;
    }
    if let Err(errno) = wire::Call::filter().install() {
        return FILTER_REFUSED + errno.0;
    }
    let error = Command::new(program).args(arguments).exec();
    error.raw_os_error().unwrap_or(Errno::EIO.0)
}

/// Starts the helper and attaches it.
pub(super) fn attached(mut helper: Command) -> Result<Tid, RecordError> {
    let mut child = helper.spawn().map_err(RecordError::Helper)?;
    let first = i32::try_from(child.id()).map(Tid::new);
    let first = first.map_err(|_| RecordError::MayNotTrace(Errno::EINVAL))?;
    match tracee::attach(first) {
        Ok(()) => Ok(first),
        Err(AttachError::Ended(status)) => Err(RecordError::HelperEnded(status)),
        Err(AttachError::Kernel(errno)) => {
            // It is stopped, and nobody else would end it.
            let _ = child.kill();
            let _ = child.wait();
            Err(RecordError::MayNotTrace(errno))
        }
    }
}

/// Why the helper ended with this code without becoming the command.
pub(super) fn refusal(program: &OsStr, code: u8) -> RecordError {
    let code = i32::from(code);
    if code > FILTER_REFUSED {
        return RecordError::Filter(Errno(code - FILTER_REFUSED));
    }
    RecordError::Command { command: program.to_string_lossy().into_owned(), errno: Errno(code) }
}
