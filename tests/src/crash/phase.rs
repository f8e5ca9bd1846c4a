//! What the busy process is at, and how others learn of it.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, path::Path};

/// What the process does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It opens a container, attaches groups and opens a device.
    Attach,
    /// It registers memory.
    Register,
    /// It makes windows, and leases them.
    Create,
    /// It applies batches of edits.
    Map,
    /// It takes leases back.
    Revoke,
    /// It takes everything down.
    TakeDown,
}

impl Phase {
    /// All of them, in the order of a round.
    pub const ALL: [Self; 6] =
        [Self::Attach, Self::Register, Self::Create, Self::Map, Self::Revoke, Self::TakeDown];

    const fn number(self) -> u8 {
        match self {
            Self::Attach => 1,
            Self::Register => 2,
            Self::Create => 3,
            Self::Map => 4,
            Self::Revoke => 5,
            Self::TakeDown => 6,
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attach => "attaching",
            Self::Register => "registering",
            Self::Create => "creating windows",
            Self::Map => "mapping",
            Self::Revoke => "revoking",
            Self::TakeDown => "taking down",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Phases begun, this one included.
    pub phases: u64,
    /// The phase it is in.
    pub phase: Phase,
}

/// A file that holds the progress. It outlives the process that writes it.
#[derive(Debug)]
pub struct Board(File);

/// The number of phases begun, and the number of the phase.
const RECORD: usize = 9;

impl Board {
    /// A board on which nothing stands yet.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create_new(path).map(Self)
    }

    /// The board that somebody else reads.
    ///
    /// # Errors
    /// If the file is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(path).map(Self)
    }

    /// Writes the progress, in one call: a reader sees the whole of it or nothing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, progress: Progress) -> io::Result<()> {
        let mut record = [0; RECORD];
        let (phases, phase) = record.split_at_mut(RECORD - 1);
        phases.copy_from_slice(&progress.phases.to_le_bytes());
        phase.fill(progress.phase.number());
        self.0.write_all_at(&record, 0)
    }

    /// Reads it; `None` if nothing was written yet.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self) -> io::Result<Option<Progress>> {
        let mut record = [0; RECORD];
        if self.0.read_at(&mut record, 0)? < RECORD {
            return Ok(None);
        }
        let [phases @ .., number] = record;
        let phase = Phase::ALL.into_iter().find(|phase| phase.number() == number);
        Ok(phase.map(|phase| Progress { phases: u64::from_le_bytes(phases), phase }))
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn what_is_written_on_the_board_is_read_by_others() {
        let path = env::temp_dir().join(format!("tce-board-{}", process::id()));
        let _ = fs::remove_file(&path);
        assert!(Board::open(&path).is_err(), "nobody has made it");
        let reader = Board::create(&path).expect("a file");
        assert!(Board::create(&path).is_err(), "it is there already");
        let writer = Board::open(&path).expect("it was made");
        assert_eq!(reader.read().expect("it is there"), None);
        for (phases, phase) in (1_u64 << 40..).zip(Phase::ALL) {
            let progress = Progress { phases, phase };
            writer.write(progress).expect("it is there");
            assert_eq!(reader.read().expect("it is there"), Some(progress));
        }
        fs::remove_file(path).expect("it is there");
    }
}
