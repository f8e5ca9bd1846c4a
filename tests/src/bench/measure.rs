//! Rounds: each contender does each load once a round, so that whatever disturbs the machine disturbs all.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::{Iova, PageShift, Pages},
    kernel::{ContainerFd, Kernel, SystemFacts},
    machine::{Backing, Machine, MemoryRequest},
};

use super::{
    contender::{Calls, Contender, PAGE, Place, Shape, Who},
    load::{ByPhase, Load, Phase},
};
use crate::rig::{Seat, seat};

/// Times by phase, of those that a contender can do.
pub type Times = ByPhase<Option<Duration>>;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// TCEs of each load: a power of two, 4,096 or more.
    pub tces: u64,
    /// Rounds that count; one more comes before them.
    pub rounds: usize,
}

/// What a contender did with a load.
pub struct Figures {
    /// Who.
    pub who: Who,
    /// Its calls in each phase, those that it can do.
    pub calls: ByPhase<Option<Calls>>,
    /// Its times in each phase, by round.
    pub rounds: Vec<Times>,
}

/// What can be looked at after each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose work it is.
    pub who: Who,
    /// What was done last.
    pub phase: Phase,
    /// The container.
    pub container: ContainerFd,
    /// Where the window starts.
    pub start: Iova,
}

/// Has a load done by everyone who can. `look` may look at the machine after each phase.
///
/// # Errors
/// If something fails, or a contender makes other calls than it has to.
pub fn measure<M>(
    machine: &mut M,
    load: &Load,
    scale: Scale,
    look: &mut dyn FnMut(&M, Seen),
) -> Result<Vec<Figures>>
where
    M: Machine,
    M::Kernel: 'static,
{
    let Seat { group, address: device, .. } = seat(machine)?;
    let SystemFacts { page_shift: backing, .. } = machine.kernel().system();
    let size = Pages::new(scale.tces).bytes(PAGE).context("memory of that size")?;
    let request = MemoryRequest { size, backing: Backing::Anonymous, align: PageShift::M2 };
    let memory = machine.allocate(&request)?;
    // Twice as many TCEs as are set, for loads that leave some out.
    let window = Shape::find(machine.kernel(), group, 2 * scale.tces)?;
    let place = Place { group, device, memory, backing, window };
    let does = |who: &Who| who.expected(load, Phase::Map, scale.tces).is_some();
    let mut figures: Vec<Figures> = Who::ALL
        .into_iter()
        .filter(does)
        .map(|who| Figures { who, calls: ByPhase::default(), rounds: Vec::new() })
        .collect();
    let count = figures.len();
    for round in 0..=scale.rounds {
        for turn in 0..count {
            let Some(figures) = figures.get_mut((round + turn) % count) else { continue };
            let mut contender = figures.who.open(machine.kernel(), place.clone(), load)?;
            let times =
                one_round(load, scale, figures, &mut *contender, |seen| look(machine, seen))
                    .with_context(|| format!("{}, {}", load.name, figures.who.name()))?;
            // The first round is for whatever happens only once, such as memory that is touched.
            if round > 0 {
                figures.rounds.push(times);
            }
        }
    }
    machine.free(memory)?;
    Ok(figures)
}

fn one_round(
    load: &Load,
    scale: Scale,
    figures: &mut Figures,
    contender: &mut dyn Contender,
    mut look: impl FnMut(Seen),
) -> Result<Times> {
    let who = figures.who;
    let mut times = Times::default();
    for phase in Phase::ALL {
        let Some(expected) = who.expected(load, phase, scale.tces) else { continue };
        let requests = load.requests(phase, scale.tces);
        let before = contender.calls();
        *times.at(phase) = Some(contender.perform(phase, &requests)?);
        let after = contender.calls();
        let made = Calls { memory: after.memory - before.memory, tces: after.tces - before.tces };
        ensure!(made == expected, "to {phase:?} took {made:?}, and should take {expected:?}");
        *figures.calls.at(phase) = Some(made);
        let (container, start) = contender.window();
        look(Seen { who, phase, container, start });
    }
    Ok(times)
}
