//! A trace from wherever it comes: our own format, a logger's lines, or what strace printed.

mod logger;
mod strace;

use std::{
    fmt,
    fs::File,
    io::{BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    event::Event,
    format::{Header, LINE_BYTES_MAX, Lines, Place, ReadError, Reader, Writer},
};

use self::{logger::Logger, strace::Strace};

/// How a trace is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Our own: JSON Lines.
    Native,
    /// One line a call: seconds, name, arguments, `ret=`, `us=`, `VmLck=`. It has no descriptors: one container, one
    /// group.
    Logger,
    /// What `strace -f -e trace=ioctl` prints. It does not show what the structures hold.
    Strace,
}

impl Notation {
    /// Whether the arguments of calls can be read in it.
    #[must_use]
    pub const fn shows_arguments(self) -> bool {
        matches!(self, Self::Native | Self::Logger)
    }
}

impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "tce-trace",
            Self::Logger => "logger",
            Self::Strace => "strace",
        })
    }
}

/// A trace that can be read several times.
#[derive(Clone, Debug)]
pub struct Trace {
    input: Input,
    notation: Notation,
    header: Header,
}

#[derive(Clone, Debug)]
enum Input {
    File(PathBuf),
    Text(Arc<[u8]>),
}

/// The events of a trace, each with its line.
pub type Events = Box<dyn Iterator<Item = Result<(Place, Event), ReadError>>>;

/// What the first lines must look like.
const EXPECTED: &str = "this is no trace that can be read: expected a tce-trace file (its first line is \
    {\"format\":\"tce-trace\",…}), the output of strace -f -e trace=ioctl, or a logger's lines \
    (seconds, name, arguments, ret=…)";
/// Lines that are looked at to find the notation out.
const DETECTION_LINES_MAX: usize = 200;

impl Trace {
    /// Opens a file, which may be compressed by gzip.
    ///
    /// # Errors
    /// [`ReadError`]: it cannot be read, or its first lines are none of a trace.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(Input::File(path.to_owned()))
    }

    /// A trace that is at hand as text.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn from_text(text: impl Into<Vec<u8>>) -> Result<Self, ReadError> {
        Self::new(Input::Text(text.into().into()))
    }

    /// A trace of events that are at hand.
    ///
    /// # Errors
    /// None in practice: they are written to memory.
    pub fn of(header: &Header, events: &[Event]) -> Result<Self, ReadError> {
        let mut writer = Writer::new(Vec::new(), header)?;
        for event in events {
            writer.write(event)?;
        }
        Self::from_text(writer.into_inner())
    }

    fn new(input: Input) -> Result<Self, ReadError> {
        let notation = detect(input.lines()?)?;
        let header = match notation {
            Notation::Native => Reader::from_lines(input.lines()?)?.header().clone(),
            Notation::Logger | Notation::Strace => Header::new(Vec::new()),
        };
        Ok(Self { input, notation, header })
    }

    /// How it is written down.
    #[must_use]
    pub const fn notation(&self) -> Notation {
        self.notation
    }

    /// What is known of program and machine.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the events from the first one on.
    ///
    /// # Errors
    /// [`ReadError`]; the iterator ends with the first error.
    pub fn events(&self) -> Result<Events, ReadError> {
        let lines = self.input.lines()?;
        Ok(match self.notation {
            Notation::Native => Box::new(Reader::from_lines(lines)?),
            Notation::Logger => Box::new(Logger::new(lines)),
            Notation::Strace => Box::new(Strace::new(lines)),
        })
    }
}

impl Input {
    fn lines(&self) -> Result<Lines, ReadError> {
        match self {
            Self::File(path) => {
                let file = File::open(path)?;
                Lines::new(BufReader::with_capacity(LINE_BYTES_MAX / 16, file))
            }
            Self::Text(text) => {
                Lines::new(BufReader::new(Cursor::new(Arc::clone(text)).take(u64::MAX)))
            }
        }
    }
}

/// The notation of the first line that has one. What strace says of signals and processes comes before its calls.
fn detect(mut lines: Lines) -> Result<Notation, ReadError> {
    for _ in 0..DETECTION_LINES_MAX {
        let Some((_, line)) = lines.next()? else { break };
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with('{') {
            return Ok(Notation::Native);
        }
        if logger::is_line(line) {
            return Ok(Notation::Logger);
        }
        if strace::is_call(line) {
            return Ok(Notation::Strace);
        }
        if !strace::is_remark(line) {
            break;
        }
    }
    Err(ReadError::Unknown(EXPECTED.to_owned()))
}
