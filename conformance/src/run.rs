//! Many sequences, and what came of them.

use std::{collections::BTreeMap, mem::discriminant, num::NonZeroU32};

use serde::Serialize;

use crate::{
    compare::{Difference, difference},
    generate::Generator,
    outcome::Outcome,
    sequence::{Recording, Sequence},
    shrink::shrink,
    stage::StageError,
    step::Step,
    subject::{Simulated, Subject, SubjectError},
};

/// Differences after which a run ends: more of them say nothing new.
pub const DIFFERENCES_MAX: usize = 10;
/// Plays for making one sequence short.
const SHRINK_PLAYS_MAX: usize = 300;
/// The same for a sequence that opens devices, which takes an emulated host bridge seconds.
const SHRINK_DEVICE_PLAYS_MAX: usize = 40;

/// What happens during a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A sequence of this name showed this difference, and is made short now.
    Differs(&'a str, &'a Difference),
    /// A sequence was played; what the real machine gave.
    Played(&'a Report, &'a Recording),
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The seed of all sequences.
    pub seed: u64,
    /// The number of the first one.
    pub first: u64,
    /// Steps in all.
    pub steps: u64,
    /// Steps in one sequence.
    pub length: usize,
    /// One sequence in so many opens devices. An emulated host bridge takes seconds for each.
    pub devices_one_in: NonZeroU32,
}

/// What came of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Sequences that were played.
    pub sequences: u64,
    /// Steps that were compared.
    pub steps: u64,
    /// Each operation's outcomes.
    pub coverage: BTreeMap<&'static str, Coverage>,
    /// What differed.
    pub found: Vec<Found>,
}

/// How often an operation was compared, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// It did what it says.
    pub succeeded: u64,
    /// It was refused, with these results.
    pub refused: BTreeMap<String, u64>,
}

/// A difference, made short.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Where it was found.
    pub name: String,
    /// The shortest sequence that shows it.
    pub sequence: Sequence,
    /// The difference in it.
    pub difference: Difference,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The simulated machine could not play.
    #[error("on the simulated machine: {0}")]
    Simulated(#[source] SubjectError),
    /// A sequence could not be made.
    #[error("making a sequence: {0}")]
    Draft(#[from] StageError),
    /// The real machine could not play.
    #[error("{name}, on the real machine: {error}")]
    Real {
        /// Which sequence.
        name: String,
        /// Why.
        error: SubjectError,
    },
}

/// Plays sequences on both, until all steps are done or too much differs.
///
/// # Errors
/// [`RunError`].
pub fn run(
    order: &Order,
    simulated: &mut Simulated,
    real: &mut impl Subject,
    mut tell: impl FnMut(Event<'_>),
) -> Result<Report, RunError> {
    let generator = Generator::new(simulated.clone(), order.seed, order.devices_one_in);
    let mut report = Report::default();
    let length = u64::try_from(order.length).unwrap_or(u64::MAX).max(1);
    for number in order.first..order.first.saturating_add(order.steps.div_ceil(length)) {
        let sequence = generator.sequence(number, order.length)?;
        let outcomes = compare(&mut report, &sequence, simulated, real, &mut tell)?;
        tell(Event::Played(&report, &Recording { sequence, outcomes }));
        if report.found.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    Ok(report)
}

/// Plays recorded sequences on the simulated machine, and compares with what was recorded.
///
/// # Errors
/// [`RunError::Simulated`].
pub fn replay(
    recordings: &[Recording],
    simulated: &mut Simulated,
    mut tell: impl FnMut(Event<'_>),
) -> Result<Report, RunError> {
    let mut report = Report::default();
    for recording in recordings {
        let sequence = &recording.sequence;
        let expected = simulated.play(sequence).map_err(RunError::Simulated)?;
        report.sequences += 1;
        report.count(sequence, &recording.outcomes);
        if let Some(difference) = difference(sequence, &expected, &recording.outcomes) {
            tell(Event::Differs(&sequence.name, &difference));
            let mut sequence = sequence.clone();
            sequence.steps.truncate(difference.index + 1);
            let name = sequence.name.clone();
            report.found.push(Found { name, sequence, difference });
        }
        tell(Event::Played(&report, recording));
        if report.found.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    Ok(report)
}

/// Plays one sequence on both, and adds what came of it to a report.
///
/// # Errors
/// [`RunError`].
pub fn compare(
    report: &mut Report,
    sequence: &Sequence,
    simulated: &mut Simulated,
    real: &mut impl Subject,
    tell: &mut impl FnMut(Event<'_>),
) -> Result<Vec<Outcome>, RunError> {
    let failed = |error| RunError::Real { name: sequence.name.clone(), error };
    let outcomes = real.play(sequence).map_err(failed)?;
    let expected = simulated.play(sequence).map_err(RunError::Simulated)?;
    report.sequences += 1;
    report.count(sequence, &outcomes);
    if let Some(difference) = difference(sequence, &expected, &outcomes) {
        tell(Event::Differs(&sequence.name, &difference));
        let found = shortest(sequence, difference, simulated, real);
        report.found.push(found);
    }
    Ok(outcomes)
}

/// The shortest sequence with a difference at a step of the same kind.
fn shortest(
    sequence: &Sequence,
    found: Difference,
    simulated: &mut Simulated,
    real: &mut impl Subject,
) -> Found {
    let mut seen = found;
    let kind = discriminant(&seen.step);
    let mut sequence = sequence.clone();
    sequence.steps.truncate(seen.index + 1);
    let name = sequence.name.clone();
    let mut shows = |shorter: &Sequence| {
        if !shorter.is_sound() {
            return false;
        }
        let (Ok(expected), Ok(outcomes)) = (simulated.play(shorter), real.play(shorter)) else {
            return false;
        };
        let difference = difference(shorter, &expected, &outcomes);
        let is_same = |it: &Difference| discriminant(&it.step) == kind;
        match difference.filter(is_same) {
            Some(difference) => {
                seen = difference;
                true
            }
            None => false,
        }
    };
    let quick = sequence.without_devices();
    if shows(&quick) {
        sequence = quick;
    }
    let plays = if sequence.has_devices() { SHRINK_DEVICE_PLAYS_MAX } else { SHRINK_PLAYS_MAX };
    let sequence = shrink(&sequence, plays, shows);
    Found { name, sequence, difference: seen }
}

impl Report {
    fn count(&mut self, sequence: &Sequence, outcomes: &[Outcome]) {
        for (step, outcome) in sequence.steps.iter().zip(outcomes) {
            self.steps += 1;
            let coverage = self.coverage.entry(step.name()).or_default();
            if outcome.answer.is_success() {
                coverage.succeeded += 1;
            } else {
                *coverage.refused.entry(outcome.answer.to_string()).or_default() += 1;
            }
        }
    }
}

impl Step {
    /// The operation, in the kernel's words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allocate { .. } => "allocate memory",
            Self::OpenContainer { .. } => "open a container",
            Self::OpenGroup { .. } => "open a group",
            Self::OpenDevice { .. } => "open a device",
            Self::Close { .. } => "close",
            Self::CheckExtension { .. } => "CHECK_EXTENSION",
            Self::SetIommu { .. } => "SET_IOMMU",
            Self::GroupStatus { .. } => "GROUP_GET_STATUS",
            Self::SetContainer { .. } => "GROUP_SET_CONTAINER",
            Self::UnsetContainer { .. } => "GROUP_UNSET_CONTAINER",
            Self::Info { .. } => "TCE_GET_INFO",
            Self::Register { .. } => "REGISTER_MEMORY",
            Self::Unregister { .. } => "UNREGISTER_MEMORY",
            Self::Create { .. } => "TCE_CREATE",
            Self::Remove { .. } => "TCE_REMOVE",
            Self::Map { .. } => "MAP_DMA",
            Self::Unmap { .. } => "UNMAP_DMA",
            Self::Eeh { .. } => "EEH_PE_OP",
            Self::ResetDevice { .. } => "DEVICE_RESET",
            Self::EnableInterrupts { .. } | Self::DisableInterrupts { .. } => "DEVICE_SET_IRQS",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::CreateLink => "KVM_CREATE_DEVICE",
            Self::CreateTable { .. } => "KVM_CREATE_SPAPR_TCE_64",
            Self::AddGroup { .. } => "KVM_DEV_VFIO_GROUP_ADD",
            Self::DeleteGroup { .. } => "KVM_DEV_VFIO_GROUP_DEL",
            Self::AttachTable { .. } => "KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE",
            Self::Transfer { .. } => "DMA",
            Self::Elsewhere { .. } => "in another process",
        }
    }
}
