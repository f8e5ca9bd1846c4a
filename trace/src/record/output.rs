//! Where a recording goes: a file, compressed or not, or standard output.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use thiserror::Error;

use super::Sink;
use crate::{
    event::Event,
    format::{Header, Writer},
};

/// Events after which compressed text goes out, so that a recorder that is killed loses at most these.
const EVENTS_HELD_MAX: u32 = 256;

/// Why a trace cannot be written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// There is such a file.
    #[error("{} is there already; --force replaces it, --output names another", .0.display())]
    Exists(PathBuf),
    /// It cannot be written.
    #[error("cannot write the trace to {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the recording is refused.
    Kept,
    /// The recording takes its place.
    Replaced,
}

enum Target {
    Plain(File),
    Standard(io::Stdout),
    Packed { text: GzEncoder<File>, held: u32 },
}

/// A trace that is being written. Each event goes out as a whole line at once, so that whatever ends the recorder
/// leaves a trace of whole lines; compressed, it may lack the last 256.
pub struct Output {
    writer: Writer<Target>,
}

impl Output {
    /// Begins a trace on standard output.
    ///
    /// # Errors
    /// What it said.
    pub fn standard(header: &Header) -> io::Result<Self> {
        Ok(Self { writer: Writer::new(Target::Standard(io::stdout()), header)? })
    }

    /// Begins a trace in a file, compressed if its name ends with `.gz`.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn file(path: &Path, existing: Existing, header: &Header) -> Result<Self, OutputError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => OutputError::Exists(path.to_owned()),
            _ => OutputError::Io { path: path.to_owned(), error },
        };
        let file = match existing {
            Existing::Replaced => File::create(path),
            Existing::Kept => File::create_new(path),
        };
        let file = file.map_err(failed)?;
        let target = match path.extension().is_some_and(|end| end == "gz") {
            true => {
                let text = GzEncoder::new(file, Compression::default());
                Target::Packed { text, held: 0 }
            }
            false => Target::Plain(file),
        };
        Ok(Self { writer: Writer::new(target, header).map_err(failed)? })
    }

    /// Ends the trace.
    ///
    /// # Errors
    /// What the target said.
    pub fn finish(self) -> io::Result<()> {
        match self.writer.into_inner() {
            Target::Packed { text, .. } => text.finish().map(|_| ()),
            mut other => other.flush(),
        }
    }
}

impl Sink for Output {
    fn take(&mut self, event: &Event) -> io::Result<()> {
        self.writer.write(event)
    }
}

impl Write for Target {
    /// Gets whole lines, from [`Writer`].
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write_all(line)?,
            Self::Standard(standard) => {
                let mut standard = standard.lock();
                standard.write_all(line)?;
                standard.flush()?;
            }
            Self::Packed { text, held } => {
                text.write_all(line)?;
                *held += 1;
                if *held >= EVENTS_HELD_MAX {
                    *held = 0;
                    text.flush()?;
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Standard(standard) => standard.flush(),
            Self::Packed { text, .. } => text.flush(),
        }
    }
}
