//! The steps of a check, each with what must come of it.

use std::fmt;

use tce_engine::errno::Errno;

use super::steps::{C0, G0, allocate, join, open};
use crate::{
    outcome::{Answer, Outcome},
    step::{Backing, Step},
};

/// The number of the second version of the backend.
pub(super) const SPAPR_TCE_V2: u32 = 7;
/// Bytes of a block of memory that a script starts with.
pub(super) const BLOCK: u64 = 1 << 20;

/// What a call must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever is no failure.
    Success,
    /// Exactly this.
    Exactly(Answer),
    /// These eight bytes in memory, after a transfer of as many.
    Sees(u64),
}

/// What a step must do to the process's locked memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Whatever.
    Any,
    /// It changes by so many bytes.
    Changes(i64),
}

/// What must come of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The call's answer.
    pub answer: Wanted,
    /// The locked memory.
    pub charge: Charge,
}

impl Expected {
    const fn exactly(answer: Answer) -> Self {
        Self { answer: Wanted::Exactly(answer), charge: Charge::Changes(0) }
    }

    /// The same, and so much more locked memory.
    pub(super) fn charging(self, bytes: u64) -> Self {
        Self { charge: Charge::Changes(i64::try_from(bytes).unwrap_or(i64::MAX)), ..self }
    }

    /// The same, and so much less.
    pub(super) fn releasing(self, bytes: u64) -> Self {
        Self { charge: Charge::Changes(i64::try_from(bytes).map_or(i64::MIN, |it| -it)), ..self }
    }

    /// The same, whatever becomes of the locked memory.
    pub(super) fn at_any_cost(self) -> Self {
        Self { charge: Charge::Any, ..self }
    }

    /// Whether this came, given the locked memory before.
    pub(super) fn is_met(&self, outcome: &Outcome, before: Option<u64>) -> bool {
        let answered = match &self.answer {
            Wanted::Success => outcome.answer.is_success(),
            Wanted::Exactly(answer) => outcome.answer == *answer,
            Wanted::Sees(word) => {
                matches!(outcome.answer, Answer::Seen { first, .. } if first == *word)
            }
        };
        let charged = match (self.charge, before) {
            (Charge::Any, _) | (Charge::Changes(_), None) => true,
            (Charge::Changes(bytes), Some(before)) => {
                before.checked_add_signed(bytes) == Some(outcome.locked)
            }
        };
        answered && charged
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Wanted::Success => f.write_str("success")?,
            Wanted::Exactly(answer) => write!(f, "{answer}")?,
            Wanted::Sees(word) => write!(f, "seen {word:#018x}")?,
        }
        match self.charge {
            Charge::Any => Ok(()),
            Charge::Changes(0) => f.write_str(", locked memory as before"),
            Charge::Changes(bytes) => write!(f, ", locked memory {:+} KiB", bytes / 1024),
        }
    }
}

/// It returns this value.
pub(super) const fn value(value: i32) -> Expected {
    Expected::exactly(Answer::Returned { value })
}

/// It returns 0.
pub(super) const OK: Expected = value(0);
/// It returns 1, which means that a range was refused.
pub(super) const BAD_RANGE: Expected = value(1);

/// It fails.
pub(super) const fn fails(errno: Errno) -> Expected {
    Expected::exactly(Answer::Failed { errno })
}

/// It gives a descriptor.
pub(super) const OPENED: Expected = Expected::exactly(Answer::Opened);

/// A window that starts there.
pub(super) const fn starts_at(iova: u64) -> Expected {
    Expected::exactly(Answer::Start { iova })
}

/// Exactly this.
pub(super) const fn gives(answer: Answer) -> Expected {
    Expected::exactly(answer)
}

/// These bytes are in memory after a transfer.
pub(super) const fn sees(word: u64) -> Expected {
    Expected { answer: Wanted::Sees(word), charge: Charge::Changes(0) }
}

/// A step and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The step.
    pub step: Step,
    /// What must come of it.
    pub expected: Expected,
}

/// The steps of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The limit on the process's locked memory, if it has one.
    pub locked_limit: Option<u64>,
    /// The steps.
    pub acts: Vec<Act>,
}

impl Script {
    /// One MiB of memory (`m0`).
    pub(super) fn new() -> Self {
        Self::default().prepare(allocate(Backing::Anonymous, BLOCK))
    }

    /// The same, and a container (`c0`) with a backend, and a group in it (`g0`).
    pub(super) fn ready() -> Self {
        Self::new()
            .prepare(open(C0))
            .prepare(open(G0))
            .prepare(join(G0, C0))
            .prepare(Step::SetIommu { file: C0, backend: SPAPR_TCE_V2 })
    }

    /// The same in a process with a limit on locked memory.
    pub(super) fn limited_to(self, bytes: u64) -> Self {
        Self { locked_limit: Some(bytes), ..self }
    }

    /// A step that must succeed, whatever it costs.
    pub(super) fn prepare(self, step: Step) -> Self {
        self.expect(step, Expected { answer: Wanted::Success, charge: Charge::Any })
    }

    /// A step that must give exactly this.
    pub(super) fn expect(mut self, step: Step, expected: Expected) -> Self {
        self.acts.push(Act { step, expected });
        self
    }
}
