//! What a sequence is played on: a simulated machine, or the one this program runs on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use tce_engine::addr::Bytes;
use tce_sim::{Profile, SimMachine};
use tce_vfio::{
    VfioKernel, VfioMachine,
    child::{ChildError, in_child, limit_locked_memory},
};

use crate::{
    outcome::{Answer, Outcome},
    seat::Seat,
    sequence::Sequence,
    stage::{Scene, Stage, StageError},
};

/// Why a sequence could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// A step could not be taken.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The process that took the steps did not live.
    #[error("after {steps} steps: {error}")]
    Child {
        /// Steps whose outcomes are known.
        steps: usize,
        /// What became of it.
        error: ChildError,
    },
    /// A step failed in the process that took it.
    #[error("step {step}: {message}")]
    Step {
        /// Which, from 1 on.
        step: usize,
        /// Why.
        message: String,
    },
}

/// Something that plays sequences, each in a process of its own.
pub trait Subject {
    /// The outcome of each step.
    ///
    /// # Errors
    /// [`SubjectError`].
    fn play(&mut self, sequence: &Sequence) -> Result<Vec<Outcome>, SubjectError>;
}

/// The simulated machine.
#[derive(Clone, Debug)]
pub struct Simulated {
    profile: Profile,
    seats: Vec<Seat>,
}

impl Simulated {
    /// A machine of this profile, a fresh one for each sequence, of which these groups are used.
    #[must_use]
    pub const fn new(profile: Profile, seats: Vec<Seat>) -> Self {
        Self { profile, seats }
    }

    /// The profile.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// A stage for a process with this limit.
    #[must_use]
    pub fn stage(&self, locked_limit: Option<u64>) -> Stage<SimMachine> {
        let locked_limit = locked_limit.map(Bytes::new);
        let profile = Profile { locked_limit, ..self.profile.clone() };
        Stage::new(SimMachine::new(profile), self.seats.clone())
    }
}

impl Subject for Simulated {
    fn play(&mut self, sequence: &Sequence) -> Result<Vec<Outcome>, SubjectError> {
        let mut stage = self.stage(sequence.locked_limit);
        let outcomes = sequence.steps.iter().map(|step| stage.take(step));
        Ok(outcomes.collect::<Result<_, _>>()?)
    }
}

impl Scene for SimMachine {
    fn elsewhere(
        &self,
        operation: impl FnOnce(&mut Self::Kernel) -> Answer,
    ) -> Result<Answer, StageError> {
        Ok(operation(&mut self.other_process()))
    }
}

/// The machine this program runs on.
#[derive(Clone, Debug)]
pub struct Real {
    seats: Vec<Seat>,
}

impl Real {
    /// These groups of it are used.
    #[must_use]
    pub const fn new(seats: Vec<Seat>) -> Self {
        Self { seats }
    }
}

impl Subject for Real {
    fn play(&mut self, sequence: &Sequence) -> Result<Vec<Outcome>, SubjectError> {
        let mut told = Vec::new();
        let played = in_child(
            |to| live(sequence, self.seats.clone(), to),
            |from| told.extend(BufReader::new(from).lines().map_while(Result::ok)),
        );
        let steps = told.iter().filter(|line| !line.starts_with(FAILED)).count();
        played.map_err(|error| SubjectError::Child { steps, error })?;
        let parse = |(number, line): (usize, &String)| {
            serde_json::from_str(line).map_err(|_| SubjectError::Step {
                step: number + 1,
                message: line.trim_start_matches(FAILED).to_owned(),
            })
        };
        told.iter().enumerate().map(parse).collect()
    }
}

/// Pauses in which memory of the process before may come back.
const PAUSES_MAX: u32 = 100;
/// What a line starts with that tells why there are no more outcomes.
const FAILED: &str = "failed: ";

/// A process's life: one sequence, its outcomes line by line, and whatever is open closes with the process.
fn live(sequence: &Sequence, seats: Vec<Seat>, to: &mut std::fs::File) {
    let mut tell = |line: String| writeln!(to, "{line}").is_ok();
    let machine = match open(sequence.locked_limit) {
        Ok(machine) => machine,
        Err(message) => {
            tell(format!("{FAILED}{message}"));
            return;
        }
    };
    let mut stage = Stage::new(machine, seats);
    for step in &sequence.steps {
        let line = match stage.take(step) {
            Ok(outcome) => serde_json::to_string(&outcome).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let go_on = line.is_ok();
        if !tell(line.unwrap_or_else(|error| format!("{FAILED}{error}"))) || !go_on {
            return;
        }
    }
}

fn open(locked_limit: Option<u64>) -> Result<VfioMachine, String> {
    if let Some(limit) = locked_limit {
        limit_locked_memory(Bytes::new(limit))
            .map_err(|error| format!("limiting locked memory: {error}"))?;
    }
    VfioMachine::open().map_err(|error| error.to_string())
}

impl Scene for VfioMachine {
    fn elsewhere(
        &self,
        operation: impl FnOnce(&mut Self::Kernel) -> Answer,
    ) -> Result<Answer, StageError> {
        let mut kernel: VfioKernel = tce_engine::machine::Machine::kernel(self);
        let mut text = String::new();
        let done = in_child(
            |to| {
                let answer = operation(&mut kernel);
                let _ = serde_json::to_writer(to, &answer);
            },
            |from| from.read_to_string(&mut text),
        );
        done.map_err(|error| StageError::Elsewhere(error.to_string()))?
            .map_err(|error| StageError::Elsewhere(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| StageError::Elsewhere(error.to_string()))
    }

    fn pauses(&self) -> u32 {
        PAUSES_MAX
    }
}
