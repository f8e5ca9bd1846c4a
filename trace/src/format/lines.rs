//! Text by lines, each of bounded length and with its number; compressed text is unpacked on the way.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// How a compressed file begins.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A line's number, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.0)
    }
}

/// A trace that cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the trace: {0}")]
    Io(#[from] io::Error),
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("{0}: the line is longer than {LINE_BYTES_MAX} bytes; this is no trace")]
    LongLine(Place),
    /// A line is not what it should be.
    #[error("{place}: {problem}")]
    Invalid {
        /// The line.
        place: Place,
        /// What is wrong with it.
        problem: String,
    },
    /// The trace has more than [`super::EVENTS_MAX`] events.
    #[error("the trace has more than {max} events: cut it", max = super::EVENTS_MAX)]
    TooMany,
    /// The text is no trace that can be read.
    #[error("{0}")]
    Unknown(String),
}

impl ReadError {
    pub(crate) fn invalid(place: Place, problem: impl std::fmt::Display) -> Self {
        Self::Invalid { place, problem: problem.to_string() }
    }
}

/// The lines of a text.
pub(crate) struct Lines {
    text: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    /// The lines of a text that may be compressed.
    pub(crate) fn new(mut text: impl BufRead + 'static) -> Result<Self, ReadError> {
        let is_packed = text.fill_buf()?.starts_with(&GZIP_MAGIC);
        let text: Box<dyn BufRead> = match is_packed {
            true => Box::new(BufReader::new(MultiGzDecoder::new(text))),
            false => Box::new(text),
        };
        Ok(Self { text, line: Vec::new(), number: 0 })
    }

    /// The next line without its end; `None` behind the last. A last line without an end is a line.
    pub(crate) fn next(&mut self) -> Result<Option<(Place, &str)>, ReadError> {
        if !self.read()? {
            return Ok(None);
        }
        let place = Place(self.number);
        let line = std::str::from_utf8(&self.line);
        let line = line.map_err(|_| ReadError::invalid(place, "this is not text"))?;
        Ok(Some((place, line.trim_end_matches(['\n', '\r']))))
    }

    fn read(&mut self) -> Result<bool, ReadError> {
        self.line.clear();
        self.number += 1;
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = self.text.by_ref().take(most).read_until(b'\n', &mut self.line)?;
        if read > LINE_BYTES_MAX {
            return Err(ReadError::LongLine(Place(self.number)));
        }
        Ok(read > 0)
    }
}
