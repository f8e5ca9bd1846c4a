//! Writing: one line for an entry, at the end of the newest file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tce_engine::lease::Timestamp;

use super::{
    Entry, FORMAT,
    read::{JournalError, LINE_BYTES_MAX},
};

/// When a line is safe from a crash of the machine. A crash of the process alone loses no line that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the decision is carried out.
    Record,
    /// At the first line that is so many milliseconds after the last time, and at the end. What came after is lost.
    Interval(u64),
}

/// How large a journal gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file; a line that would make it more goes to the next. At least one line is in each.
    pub file_bytes: u64,
    /// Files that are kept, the newest among them: the oldest goes when there would be more.
    pub files: u32,
}

/// The most files that can be kept.
pub(super) const FILES_MAX: u32 = 1_000;

impl Default for Limits {
    /// 8 files of 16 MiB.
    fn default() -> Self {
        Self { file_bytes: 16 << 20, files: 8 }
    }
}

/// A journal that is being written. The file is locked as long as it is.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    limits: Limits,
    durability: Durability,
    file: File,
    bytes: u64,
    /// What the file has before its first entry.
    head_bytes: u64,
    synced: Option<Timestamp>,
}

impl Journal {
    /// Goes on with the journal at this path, or begins one. A last line that a crash has cut is taken off.
    ///
    /// # Errors
    /// The file cannot be written, somebody else is writing it, or it is no journal.
    pub fn open(path: &Path, durability: Durability, limits: Limits) -> Result<Self, JournalError> {
        let limits = Limits { files: limits.files.clamp(1, FILES_MAX), ..limits };
        let mut file = open(path).map_err(|error| JournalError::io(path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::Busy(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(JournalError::io(path, error)),
        }
        check_head(&mut file, path)?;
        let bytes = cut_torn_line(&mut file).map_err(|error| JournalError::io(path, error))?;
        let path = path.to_owned();
        let head_bytes = u64::try_from(head().len()).unwrap_or(u64::MAX);
        let mut journal = Self { path, limits, durability, file, bytes, head_bytes, synced: None };
        if bytes == 0 {
            journal.begin().map_err(|error| JournalError::io(&journal.path, error))?;
        }
        Ok(journal)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// The line cannot be written, or not made safe. What was cut by that is taken off again if that can be.
    pub fn write(&mut self, entry: &Entry, now: Timestamp) -> Result<(), JournalError> {
        let written = self.try_write(entry, now);
        written.map_err(|error| JournalError::io(&self.path, error))
    }

    fn try_write(&mut self, entry: &Entry, now: Timestamp) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if length > LINE_BYTES_MAX {
            let what = format!("an entry of {length} bytes, where {LINE_BYTES_MAX} can be");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        if self.bytes > self.head_bytes
            && self.bytes.saturating_add(length) > self.limits.file_bytes
        {
            self.rotate()?;
        }
        self.append(&line)?;
        let is_due = match (self.durability, self.synced) {
            (Durability::Record, _) => true,
            (Durability::Interval(span), Some(last)) => now.0.saturating_sub(last.0) >= span,
            (Durability::Interval(_), None) => {
                self.synced = Some(now);
                false
            }
        };
        if is_due {
            self.file.sync_data()?;
            self.synced = Some(now);
        }
        Ok(())
    }

    /// One write for a line, so that another process that reads sees all of it or nothing.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line) {
            // Half a line would spoil the next one.
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.append(&head())?;
        self.file.sync_data()?;
        sync_folder(&self.path)
    }

    /// The newest file becomes the second newest, and so on; a new one begins.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        for number in (1..self.limits.files).rev() {
            let (from, to) = (numbered(&self.path, number - 1), numbered(&self.path, number));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.limits.files == 1 {
            fs::remove_file(&self.path)?;
        }
        let file = open(&self.path)?;
        file.try_lock()?;
        (self.file, self.bytes) = (file, 0);
        self.begin()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.file.sync_data();
    }
}

/// The name of a file: the newest has the journal's own, older ones a number behind it.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn head() -> Vec<u8> {
    let head = Entry::Head { format: FORMAT.to_owned() };
    let mut line = serde_json::to_vec(&head).expect("a line of texts");
    line.push(b'\n');
    line
}

/// What is there must be a journal: nobody's file is cut by mistake.
fn check_head(file: &mut File, path: &Path) -> Result<(), JournalError> {
    let expected = head();
    let mut found = Vec::new();
    let length = u64::try_from(expected.len()).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(0)).map_err(|error| JournalError::io(path, error))?;
    let read = file.take(length).read_to_end(&mut found);
    read.map_err(|error| JournalError::io(path, error))?;
    // The first line may be torn as well.
    if expected.starts_with(&found) {
        Ok(())
    } else {
        Err(JournalError::NoJournal(path.to_owned()))
    }
}

/// Cuts what stands behind the last end of a line, and goes to the end. How many bytes that leaves.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    let all = end;
    let mut whole = 0;
    while end > 0 && whole == 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut bytes)?;
        let last = bytes.iter().rposition(|byte| *byte == b'\n');
        whole = last.and_then(|at| u64::try_from(at).ok()).map_or(0, |at| start + at + 1);
        end = start;
    }
    if whole < all {
        file.set_len(whole)?;
    }
    file.seek(SeekFrom::End(0))
}

/// A new name in a folder is safe when the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
