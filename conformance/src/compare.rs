//! Two subjects, one sequence: where do they differ?

use std::fmt;

use serde::Serialize;

use crate::{outcome::Outcome, sequence::Sequence, step::Step};

/// The first step that came out differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its number, from 0 on.
    pub index: usize,
    /// The step.
    pub step: Step,
    /// What the simulated kernel gave.
    pub simulated: Option<Outcome>,
    /// What the real one gave. `None`: its process had ended.
    pub real: Option<Outcome>,
}

/// The first difference, if there is one.
#[must_use]
pub fn difference(
    sequence: &Sequence,
    simulated: &[Outcome],
    real: &[Outcome],
) -> Option<Difference> {
    let steps = sequence.steps.iter().enumerate();
    let mut compared =
        steps.map(|(index, step)| (index, step, simulated.get(index), real.get(index)));
    let (index, step, simulated, real) =
        compared.find(|(_, _, simulated, real)| simulated != real || simulated.is_none())?;
    Some(Difference {
        index,
        step: step.clone(),
        simulated: simulated.cloned(),
        real: real.cloned(),
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "step {}: {}", self.index + 1, self.step)?;
        let shown = |outcome: &Option<Outcome>| {
            outcome
                .as_ref()
                .map_or_else(|| "nothing: its process ended".to_owned(), Outcome::to_string)
        };
        writeln!(f, "  simulated: {}", shown(&self.simulated))?;
        write!(f, "  real:      {}", shown(&self.real))
    }
}
