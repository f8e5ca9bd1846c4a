//! Sequences and what came of them, in files: JSON Lines.
//!
//! The first line is a [`Header`], each other line a [`Line`]: a step, and its outcome if the file is a recording.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::{notation::hex, outcome::Outcome, step::Step};

/// A line of a file is not longer.
const LINE_BYTES_MAX: u64 = 4096;
/// A sequence has no more steps.
pub const STEPS_MAX: usize = 100_000;

/// Steps that are taken in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let is_of_device = |step: &Step| {
            matches!(step, Step::OpenDevice { .. } | Step::Transfer { .. })
        };
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
    /// Steps before the first sequence.
    #[error("line {0}: a step without a sequence; the first line names the sequence: {{\"sequence\":\"…\"}}")]
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

/// Writes one sequence, with outcomes for as many steps as there are outcomes.
///
/// # Errors
/// As writing fails.
pub fn write(to: &mut impl Write, sequence: &Sequence, outcomes: &[Outcome]) -> io::Result<()> {
    let header = Header {
        sequence: sequence.name.clone(),
        locked_limit: sequence.locked_limit.map(Limit),
    };
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
pub fn read(from: &mut impl BufRead) -> Result<Vec<Recording>, ReadError> {
    let mut recordings: Vec<Recording> = Vec::new();
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
        read_line(&mut recordings, text.trim(), line)?;
    }
    Ok(recordings)
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
