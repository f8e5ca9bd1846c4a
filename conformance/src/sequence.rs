//! Sequences and what came of them, in files: JSON Lines.
//!
//! The first line says what the file is, and on what machine the outcomes came about. A line with a name begins a
//! sequence; each other line is a step, with its outcome if the file is a recording.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::{machine::Description, notation::hex, outcome::Outcome, step::Step};

/// A line of a file is not longer.
const LINE_BYTES_MAX: u64 = 4096;
/// A sequence has no more steps.
pub const STEPS_MAX: usize = 100_000;

/// Steps that are taken in one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sequence {
    /// Where it is from, for people: `seed 7, sequence 3`.
    pub name: String,
    /// The process's locked-memory limit; `None`: it has none.
    pub locked_limit: Option<u64>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Sequence {
    /// Whether it opens devices.
    #[must_use]
    pub fn has_devices(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::OpenDevice { .. }))
    }

    /// The same without the devices.
    #[must_use]
    pub fn without_devices(&self) -> Self {
        let is_of_device =
            |step: &Step| matches!(step, Step::OpenDevice { .. } | Step::Transfer { .. });
        let steps = self.steps.iter().filter(|step| !is_of_device(step)).cloned().collect();
        Self { steps, ..self.clone() }
    }

    /// Whether all memory that is registered is allocated before. A call without is answered by `tce-vfio` itself.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut blocks = 0_u8;
        self.steps.iter().all(|step| match step {
            Step::Allocate { .. } => {
                blocks = blocks.saturating_add(1);
                true
            }
            Step::Register { memory, .. } => memory.block.is_none_or(|block| block < blocks),
            _ => true,
        })
    }
}

/// A sequence and what came of it on some machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The sequence.
    pub sequence: Sequence,
    /// One for each step.
    pub outcomes: Vec<Outcome>,
}

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileHeader {
    format: String,
    version: u32,
    machine: Option<Description>,
}

/// What a file calls itself.
const FORMAT: &str = "tce-conformance";
const VERSION: u32 = 1;

/// A file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recordings {
    /// What the outcomes came from.
    pub machine: Option<Description>,
    /// The sequences.
    pub recordings: Vec<Recording>,
}

/// The first line of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    sequence: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    locked_limit: Option<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Limit(#[serde(with = "hex")] u64);

/// Another line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    step: Step,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    outcome: Option<Outcome>,
}

/// Why a file of sequences cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It ended, or the disk did.
    #[error("reading sequences: {0}")]
    Io(#[from] io::Error),
    /// A line means nothing.
    #[error("line {line}: {error}")]
    Malformed {
        /// Which line, from 1 on.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Another file.
    #[error(
        "this is no file of sequences: its first line is not {{\"format\":\"{FORMAT}\",\"version\":{VERSION},…}}"
    )]
    Foreign,
    /// Steps before the first sequence.
    #[error(
        "line {0}: a step without a sequence; the first line names the sequence: {{\"sequence\":\"…\"}}"
    )]
    NoHeader(usize),
    /// Too long a line or too many steps.
    #[error("line {line}: more than {max} {what}")]
    TooMuch {
        /// Which line.
        line: usize,
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

/// Writes a file's first line.
///
/// # Errors
/// As writing fails.
pub fn write_header(to: &mut impl Write, machine: Option<&Description>) -> io::Result<()> {
    let header =
        FileHeader { format: FORMAT.to_owned(), version: VERSION, machine: machine.cloned() };
    writeln!(to, "{}", serde_json::to_string(&header)?)
}

/// Writes one sequence, with outcomes for as many steps as there are outcomes.
///
/// # Errors
/// As writing fails.
pub fn write(to: &mut impl Write, sequence: &Sequence, outcomes: &[Outcome]) -> io::Result<()> {
    let header =
        Header { sequence: sequence.name.clone(), locked_limit: sequence.locked_limit.map(Limit) };
    writeln!(to, "{}", serde_json::to_string(&header)?)?;
    let mut outcomes = outcomes.iter();
    for step in &sequence.steps {
        let line = Line { step: step.clone(), outcome: outcomes.next().cloned() };
        writeln!(to, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

/// Reads all sequences of a file. A sequence without outcomes has none.
///
/// # Errors
/// [`ReadError`].
pub fn read(from: &mut impl BufRead) -> Result<Recordings, ReadError> {
    let mut file = Recordings { machine: None, recordings: Vec::new() };
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let limited = &mut io::Read::take(&mut *from, LINE_BYTES_MAX);
        if limited.read_line(&mut text)? == 0 {
            break;
        }
        if !text.ends_with('\n') && limited.limit() == 0 {
            return Err(ReadError::TooMuch { line, what: "bytes", max: LINE_BYTES_MAX });
        }
        if line == 1 {
            file.machine = read_header(text.trim())?;
        } else {
            read_line(&mut file.recordings, text.trim(), line)?;
        }
    }
    Ok(file)
}

fn read_header(text: &str) -> Result<Option<Description>, ReadError> {
    let header: FileHeader = serde_json::from_str(text).map_err(|_| ReadError::Foreign)?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(ReadError::Foreign);
    }
    Ok(header.machine)
}

fn read_line(recordings: &mut Vec<Recording>, text: &str, line: usize) -> Result<(), ReadError> {
    let malformed = |error| ReadError::Malformed { line, error };
    if text.is_empty() {
        return Ok(());
    }
    if text.starts_with("{\"sequence\"") {
        let header: Header = serde_json::from_str(text).map_err(malformed)?;
        let locked_limit = header.locked_limit.map(|limit| limit.0);
        let sequence = Sequence { name: header.sequence, locked_limit, steps: Vec::new() };
        recordings.push(Recording { sequence, outcomes: Vec::new() });
        return Ok(());
    }
    let recording = recordings.last_mut().ok_or(ReadError::NoHeader(line))?;
    let parsed: Line = serde_json::from_str(text).map_err(malformed)?;
    if recording.sequence.steps.len() == STEPS_MAX {
        let max = u64::try_from(STEPS_MAX).unwrap_or(u64::MAX);
        return Err(ReadError::TooMuch { line, what: "steps in a sequence", max });
    }
    recording.sequence.steps.push(parsed.step);
    recording.outcomes.extend(parsed.outcome);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tce_engine::{errno::Errno, kernel::EehOperation};

    use super::*;
    use crate::{
        outcome::Answer,
        step::{Backing, File, Place},
    };

    fn sequence() -> Sequence {
        let (file, memory) = (File::Container(0), Place { block: Some(2), offset: 0x1000 });
        let inner = Step::Unmap { file, iova: 1 << 59, size: u64::MAX };
        let steps = vec![
            Step::Allocate { backing: Backing::Huge2M, size: 0x20_0000 },
            Step::Register { file, memory, size: 0x1000 },
            Step::Map { file, flags: 3, memory, iova: 1 << 63, size: 0x1000 },
            Step::Eeh { file: File::Nothing, operation: EehOperation::UnfreezeIo },
            Step::AttachTable { group: File::Group(1), table: File::Table(2) },
            Step::Elsewhere { step: Box::new(inner) },
        ];
        Sequence { name: "an example".to_owned(), locked_limit: Some(1 << 60), steps }
    }

    fn read_back(text: &[u8]) -> Result<Recordings, ReadError> {
        read(&mut &text[..])
    }

    #[test]
    fn what_was_written_is_read() {
        let outcome = |answer| Outcome { answer, locked: 1 << 60 };
        let outcomes = vec![
            outcome(Answer::Returned { value: 1 }),
            outcome(Answer::Failed { errno: Errno::EINVAL }),
            outcome(Answer::Failed { errno: Errno(199) }),
            outcome(Answer::Start { iova: 1 << 59 }),
            outcome(Answer::Opened),
            outcome(Answer::Seen { first: u64::MAX, checksum: 0 }),
        ];
        let mut text = Vec::new();
        write_header(&mut text, None).expect("a vector takes all");
        write(&mut text, &sequence(), &outcomes).expect("a vector takes all");
        write(&mut text, &sequence(), &[]).expect("a vector takes all");
        let file = read_back(&text).expect("it was written so");
        let bare = Recording { sequence: sequence(), outcomes: Vec::new() };
        assert_eq!(file.recordings, [Recording { sequence: sequence(), outcomes }, bare]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let header = "{\"format\":\"tce-conformance\",\"version\":1,\"machine\":null}\n";
        let error = |lines: &str| {
            read_back(format!("{header}{lines}").as_bytes()).expect_err("it is bad").to_string()
        };
        assert!(error("{\"do\":\"create-vm\"}\n").starts_with("line 2: a step without a sequence"));
        let unknown = "{\"sequence\":\"x\"}\n\n{\"do\":\"dance\"}\n";
        assert!(
            error(unknown).starts_with("line 4: unknown variant `dance`"),
            "{}",
            error(unknown)
        );
        let long = format!("{{\"sequence\":\"{}\"}}\n", "x".repeat(5000));
        assert_eq!(error(&long), "line 2: more than 4096 bytes");
        let other = read_back(b"{\"format\":\"tce-trace\",\"version\":1}\n");
        assert!(matches!(other, Err(ReadError::Foreign)));
    }
}
