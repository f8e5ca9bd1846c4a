//! Writing a trace, a whole line at a time.

use std::io::{self, Write};

use serde::Serialize;

use crate::event::Event;

use super::Header;

/// Writes a trace. Each line goes out in one `write_all`, so that a recording that is cut off has whole lines.
pub struct Writer<W: Write> {
    to: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a trace: writes its header.
    ///
    /// # Errors
    /// What the target said.
    pub fn new(to: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { to, line: Vec::new() };
        writer.put(header)?;
        Ok(writer)
    }

    /// Writes an event.
    ///
    /// # Errors
    /// What the target said.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.put(event)
    }

    /// Passes on what the target still holds.
    ///
    /// # Errors
    /// What the target said.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// The target. It is not flushed.
    pub fn into_inner(self) -> W {
        self.to
    }

    fn put(&mut self, what: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, what)?;
        self.line.push(b'\n');
        self.to.write_all(&self.line)
    }
}
