//! A trace on the simulated kernel, call by call.
//!
//! The memory lies at the trace's own addresses; descriptors are translated. Where the simulated kernel answers
//! otherwise than the recorded one, that is noted, and the replay goes on with what was recorded as far as it can.

mod answers;
mod execute;
mod files;
mod seen;

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, Iova},
    kernel::{ContainerFd, Fd},
    machine::{Machine, MachineError},
};
use tce_sim::{SimKernel, SimMachine};
use thiserror::Error;

use crate::{
    descriptors::Descriptors,
    event::{Answer, Call, Event},
    format::{Place, ReadError},
    intent::{Belief, IovaRange, Piece, Unmapped},
    survey::Survey,
    trace::Trace,
};

use files::File;
pub use seen::{Leaving, Moment, Observer, Step};

/// Differences that are kept; more are counted.
pub const DISAGREEMENTS_MAX: usize = 20;

/// A container of the trace, in the order in which they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub usize);

/// Why a trace cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its memory does not fit the simulated machine.
    #[error("the trace's memory cannot be simulated: {0}")]
    Memory(#[from] MachineError),
}

/// A call that the simulated kernel answers otherwise than the recorded one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The line.
    pub place: Place,
    /// The call's name.
    pub call: &'static str,
    /// What the recorded kernel said.
    pub recorded: String,
    /// What the simulated one says.
    pub simulated: String,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Calls that were made on the simulated kernel.
    pub replayed: u64,
    /// Calls that it answered otherwise.
    pub disagreed: u64,
    /// The first of them.
    pub disagreements: Vec<Disagreement>,
}

/// What is known of a container.
#[derive(Debug)]
struct Container {
    /// Who opened it.
    process: u32,
    fd: ContainerFd,
    groups: usize,
    belief: Belief,
}

/// A replay under way.
pub struct Replay {
    machine: SimMachine,
    /// The machine as each process sees it.
    processes: BTreeMap<u32, SimKernel>,
    descriptors: Descriptors<File>,
    containers: Vec<Container>,
    /// The container that each group is in.
    members: BTreeMap<u32, ContainerId>,
    locked: BTreeMap<u32, Bytes>,
    outcome: Outcome,
}

/// Replays a whole trace.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(
    trace: &Trace,
    survey: &Survey,
    observer: &mut dyn Observer,
) -> Result<Outcome, ReplayError> {
    let mut replay = Replay::new(survey)?;
    let mut last = Place(1);
    for event in trace.events()? {
        let (place, event) = event?;
        replay.event(place, &event, observer);
        last = place;
    }
    Ok(replay.end(last, observer))
}

impl Replay {
    /// A machine like the trace's, with its memory.
    ///
    /// # Errors
    /// [`ReplayError::Memory`].
    pub fn new(survey: &Survey) -> Result<Self, ReplayError> {
        let machine = SimMachine::new(survey.profile());
        let mut processes = BTreeMap::new();
        for process in &survey.processes {
            let kernel =
                if processes.is_empty() { machine.kernel() } else { machine.other_process() };
            processes.insert(*process, kernel);
        }
        for block in &survey.memory {
            if let Some(kernel) = processes.get(&block.process) {
                let mut memory = kernel.machine().clone();
                memory.place(block.range.address, block.range.size, block.backing)?;
            }
        }
        Ok(Self {
            machine,
            processes,
            descriptors: Descriptors::default(),
            containers: Vec::new(),
            members: BTreeMap::new(),
            locked: BTreeMap::new(),
            outcome: Outcome::default(),
        })
    }

    /// The kernel as a process sees it. The survey has seen every process.
    fn kernel(&mut self, process: u32) -> &mut SimKernel {
        let machine = &self.machine;
        self.processes.entry(process).or_insert_with(|| machine.other_process())
    }

    /// The machine as a process sees it.
    fn machine(&self, process: u32) -> &SimMachine {
        self.processes.get(&process).map_or(&self.machine, SimKernel::machine)
    }

    /// Makes one call.
    pub fn event(&mut self, place: Place, event: &Event, observer: &mut dyn Observer) {
        self.adopt(event);
        for container in self.losing(event) {
            self.leave(place, container, observer);
        }
        let container = self.container_of(event);
        let before = self.moment(event.process, container);
        let simulated = self.execute(event);
        if let Some(simulated) = simulated {
            self.outcome.replayed += 1;
            self.compare(place, event, simulated);
        }
        let after = self.moment(event.process, container);
        let cleared = before.live_tces().saturating_sub(after.live_tces());
        let (settled, left) = self.believe(place, event, container, cleared);
        let step = Step {
            place,
            event,
            container,
            before,
            after,
            settled,
            left,
            machine: self.machine(event.process),
            locked_before: self.locked.get(&event.process).copied(),
        };
        observer.step(&step);
        if let Some(locked) = event.locked {
            self.locked.insert(event.process, locked);
        }
    }

    /// Ends the trace.
    pub fn end(mut self, place: Place, observer: &mut dyn Observer) -> Outcome {
        let mut with_groups: Vec<ContainerId> = self.members.values().copied().collect();
        with_groups.sort_unstable();
        with_groups.dedup();
        for container in with_groups {
            self.leave(place, container, observer);
        }
        self.outcome
    }

    fn leave(&mut self, place: Place, id: ContainerId, observer: &mut dyn Observer) {
        let Some(process) = self.containers.get(id.0).map(|container| container.process) else {
            return;
        };
        let moment = self.moment(process, Some(id));
        let machine = self.machine(process).clone();
        let Some(container) = self.containers.get_mut(id.0) else { return };
        let settled = container.belief.settle();
        observer.leaving(&Leaving {
            place,
            container: id,
            moment,
            settled,
            belief: &container.belief,
            machine: &machine,
            fd: container.fd,
        });
        container.belief = Belief::default();
    }

    fn moment(&self, process: u32, container: Option<ContainerId>) -> Moment {
        let machine = self.machine(process);
        let Some(container) = container.and_then(|id| self.containers.get(id.0)) else {
            return Moment { locked: machine.locked(), ..Moment::default() };
        };
        Moment {
            windows: machine.windows(container.fd),
            groups: container.groups,
            locked: machine.locked(),
            tces_set: machine.tces_set(),
        }
    }

    /// What the call changes in what the program believes.
    fn believe(
        &mut self,
        place: Place,
        event: &Event,
        container: Option<ContainerId>,
        cleared: u64,
    ) -> (Option<Unmapped>, Vec<Piece>) {
        let Some(container) = container.and_then(|id| self.containers.get_mut(id.0)) else {
            return (None, Vec::new());
        };
        let belief = &mut container.belief;
        let is_done = event.answer.is_zero();
        let settled = match event.call {
            Call::Map { address, iova, size, flags, .. } if is_done && !size.is_zero() => {
                belief.map(Piece { iova, address, size, flags })
            }
            Call::Unmap { iova, size, .. } if is_done => {
                belief.unmap(place, IovaRange { iova, size }, cleared)
            }
            Call::Unregister { address, size, .. } if is_done => {
                let memory = tce_engine::kernel::MemoryRange { address, size };
                return belief.unregister(memory);
            }
            Call::Map { .. }
            | Call::Unmap { .. }
            | Call::Unregister { .. }
            | Call::Register { .. }
            | Call::Create { .. }
            | Call::Remove { .. }
            | Call::UnsetContainer { .. } => belief.settle(),
            _ => None,
        };
        (settled, Vec::new())
    }

    fn compare(&mut self, place: Place, event: &Event, simulated: Simulated) {
        if answers::agree(event, simulated) {
            return;
        }
        self.outcome.disagreed += 1;
        if self.outcome.disagreements.len() < DISAGREEMENTS_MAX {
            self.outcome.disagreements.push(Disagreement {
                place,
                call: event.call.name(),
                recorded: answers::shown(event.answer, answers::start_of(&event.call)),
                simulated: answers::shown(simulated.answer, simulated.start),
            });
        }
        self.follow(event, simulated);
    }
}

/// What the simulated kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Simulated {
    answer: Answer,
    /// A new window's start.
    start: Option<Iova>,
    /// A new descriptor.
    opened: Option<Fd>,
}

impl Simulated {
    const fn of(answer: Answer) -> Self {
        Self { answer, start: None, opened: None }
    }
}
