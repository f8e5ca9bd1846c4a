//! Reading: the entries of all files, the oldest first.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    Entry, FORMAT,
    write::{FILES_MAX, numbered},
};

/// The longest line.
pub(super) const LINE_BYTES_MAX: u64 = 16 << 20;

/// What is wrong with a journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("journal {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is something else.
    #[error("{} is no journal of this version ({FORMAT}): another file stays as it is", .0.display())]
    NoJournal(PathBuf),
    /// Somebody else writes it.
    #[error("journal {}: another process is writing it", .0.display())]
    Busy(PathBuf),
    /// A line is none of a journal.
    #[error("journal {}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl JournalError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// Hands over each entry of a journal, the oldest first. A last line that a crash has cut does not count.
///
/// # Errors
/// What is wrong with it; or what `take` says.
pub fn read<E: From<JournalError>>(
    path: &Path,
    mut take: impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    // Files are renamed one by one, the oldest first: a crash meanwhile leaves a number out.
    let files = (0..FILES_MAX).rev().map(|number| numbered(path, number));
    let mut files: Vec<PathBuf> = files.filter(|path| path.exists()).collect();
    if files.is_empty() {
        files.push(path.to_owned());
    }
    files.iter().try_for_each(|path| read_file(path, &mut take))
}

fn read_file<E: From<JournalError>>(
    path: &Path,
    take: &mut impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    let file = File::open(path).map_err(|error| JournalError::io(path, error))?;
    let mut file = BufReader::new(file);
    for number in 1u64.. {
        let mut line = Vec::new();
        let read = file.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        read.map_err(|error| JournalError::io(path, error))?;
        let wrong = |what: String| JournalError::Line { path: path.to_owned(), line: number, what };
        if line.last() != Some(&b'\n') {
            let is_too_long = u64::try_from(line.len()).unwrap_or(u64::MAX) > LINE_BYTES_MAX;
            if is_too_long {
                return Err(wrong(format!("it has more than {LINE_BYTES_MAX} bytes")).into());
            }
            // Torn, or the end.
            return Ok(());
        }
        let entry: Entry =
            serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
        match &entry {
            Entry::Head { format } if format == FORMAT && number == 1 => {}
            Entry::Head { .. } => return Err(JournalError::NoJournal(path.to_owned()).into()),
            _ if number == 1 => return Err(JournalError::NoJournal(path.to_owned()).into()),
            _ => take(entry)?,
        }
    }
    Ok(())
}
