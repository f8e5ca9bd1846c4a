//! A worker process, as whoever started it sees it.

use std::{
    ffi::OsString,
    io::{self, BufReader, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use crate::policy::load::LoadError;

use super::protocol;

/// What is started as a worker: a program that calls [`serve`](super::serve).
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This program once more, with the hidden command of `tce` for it.
    #[must_use]
    pub fn this() -> Self {
        // Not by its name: that may be another file's by now.
        Self::at("/proc/self/exe".into())
    }

    /// A `tce` elsewhere.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, arguments: vec![Self::COMMAND.into()] }
    }

    /// Another program, which calls [`serve`](super::serve) if it is started with these arguments.
    #[must_use]
    pub fn with_arguments(path: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { path, arguments }
    }

    /// The command of `tce` that is a worker.
    pub const COMMAND: &'static str = "policy-worker";
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Lost {
    /// The time is up.
    Late,
    /// The process died, or talks nonsense.
    Dead(String),
}

impl Lost {
    /// What it is for whoever loads a policy: the process was lost before this was done to it.
    pub(super) fn before(self, done: &str, within: Duration) -> LoadError {
        LoadError::Worker {
            what: match self {
                Self::Late => format!("had not {done} it after {} ms", within.as_millis()),
                Self::Dead(what) => format!("died when it {done} it: {what}"),
            },
        }
    }
}

/// A worker process. It ends with this value.
pub(super) struct Process {
    child: Child,
    stream: BufReader<Timed>,
}

impl Process {
    /// Starts one. It inherits this end's other half and nothing else. It is not told to die with this process
    /// (`PR_SET_PDEATHSIG` means the thread that started it): it ends when this half is gone.
    fn start(program: &Program) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let stream = Timed { stream, start: Instant::now(), within: Duration::ZERO };
        Ok(Self { child, stream: BufReader::new(stream) })
    }

    /// Starts one for a policy that is being loaded.
    pub(super) fn to_load(program: &Program) -> Result<Self, LoadError> {
        Self::start(program)
            .map_err(|error| LoadError::Worker { what: format!("does not start: {error}") })
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended, as far as can be seen.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Says something and hears the reply, within this time.
    pub(super) fn exchange<R: DeserializeOwned>(
        &mut self,
        within: Duration,
        say: impl FnOnce(&mut Timed) -> io::Result<()>,
    ) -> Result<R, Lost> {
        // One that ends early may have said why before.
        let heard = match say(self.stream.get_mut().restart(within)) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => protocol::receive(&mut self.stream),
        };
        heard.map_err(|error| self.lost(&error))
    }

    /// Hears code, which follows a reply that said so.
    pub(super) fn hear_code(&mut self, within: Duration) -> Result<Vec<u8>, Lost> {
        self.stream.get_mut().restart(within);
        protocol::receive_code(&mut self.stream).map_err(|error| self.lost(&error))
    }

    fn lost(&mut self, error: &io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Lost::Late,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Lost::Dead(self.end()),
            _ => Lost::Dead(format!("what it was told or what it said cannot be: {error}")),
        }
    }

    /// Ends it, if it has not yet, and tells how it ended.
    fn end(&mut self) -> String {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A stream with an end of time.
pub(super) struct Timed {
    stream: UnixStream,
    start: Instant,
    within: Duration,
}

impl Timed {
    /// Time starts anew.
    fn restart(&mut self, within: Duration) -> &mut Self {
        (self.start, self.within) = (Instant::now(), within);
        self
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.within.saturating_sub(self.start.elapsed());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
