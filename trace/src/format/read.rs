//! Reading a trace, event by event.

use std::io::BufRead;

use crate::event::Event;

use super::{FORMAT, Header, Lines, Place, ReadError, VERSION};

/// The most events of one trace.
pub const EVENTS_MAX: u64 = 100_000_000;

/// A trace that is read event by event, in bounded memory.
pub struct Reader {
    lines: Lines,
    header: Header,
    events: u64,
}

impl Reader {
    /// Begins to read a trace, which may be compressed by gzip.
    ///
    /// # Errors
    /// [`ReadError`]: it cannot be read, or its first line is no header of this version.
    pub fn new(text: impl BufRead + 'static) -> Result<Self, ReadError> {
        Self::from_lines(Lines::new(text)?)
    }

    pub(crate) fn from_lines(mut lines: Lines) -> Result<Self, ReadError> {
        let header = match lines.next()? {
            Some((place, line)) => parse_header(place, line)?,
            None => return Err(ReadError::Unknown("the trace is empty".to_owned())),
        };
        Ok(Self { lines, header, events: 0 })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    fn read(&mut self) -> Result<Option<(Place, Event)>, ReadError> {
        loop {
            let Some((place, line)) = self.lines.next()? else { return Ok(None) };
            if line.trim().is_empty() {
                continue;
            }
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(ReadError::TooMany);
            }
            let event = serde_json::from_str(line)
                .map_err(|error| ReadError::invalid(place, format_args!("no event: {error}")))?;
            return Ok(Some((place, event)));
        }
    }
}

impl Iterator for Reader {
    type Item = Result<(Place, Event), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn parse_header(place: Place, line: &str) -> Result<Header, ReadError> {
    let header: Header = serde_json::from_str(line).map_err(|error| {
        ReadError::invalid(place, format_args!("no header of a {FORMAT} file: {error}"))
    })?;
    if header.format != FORMAT {
        let problem = format!("the format is {:?}; {FORMAT:?} is the one read here", header.format);
        return Err(ReadError::invalid(place, problem));
    }
    if header.version != VERSION {
        let problem = format!("the version is {}; {VERSION} is the one read here", header.version);
        return Err(ReadError::invalid(place, problem));
    }
    Ok(header)
}
