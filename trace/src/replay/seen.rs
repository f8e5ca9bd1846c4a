//! What an observer of a replay sees.

use tce_engine::{
    addr::{Bytes, Iova},
    kernel::ContainerFd,
};
use tce_sim::{SimMachine, WindowView};

use super::ContainerId;
use crate::{
    event::Event,
    format::Place,
    intent::{Belief, Piece, Unmapped},
};

/// A container at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Its windows.
    pub windows: Vec<WindowView>,
    /// Groups in it.
    pub groups: usize,
    /// Locked memory of the process.
    pub locked: Bytes,
    /// TCEs that were ever set.
    pub tces_set: u64,
}

impl Moment {
    /// TCEs that are set.
    #[must_use]
    pub fn live_tces(&self) -> u64 {
        self.windows.iter().map(|window| window.live_tces).sum()
    }

    /// The window of an address.
    #[must_use]
    pub fn window(&self, iova: Iova) -> Option<&WindowView> {
        self.windows.iter().find(|window| {
            iova.offset_from(window.start).is_some_and(|offset| offset < window.size)
        })
    }
}

/// One call, as lint sees it.
#[derive(Debug)]
pub struct Step<'a> {
    /// Its line.
    pub place: Place,
    /// The call.
    pub event: &'a Event,
    /// The container it is on, or that its group is in.
    pub container: Option<ContainerId>,
    /// The container before the call.
    pub before: Moment,
    /// The container after it.
    pub after: Moment,
    /// An unmap before it that this call made clear.
    pub settled: Option<Unmapped>,
    /// For `UNREGISTER`: what the program believed to be still mapped of the memory.
    pub left: Vec<Piece>,
    /// The machine after the call.
    pub machine: &'a SimMachine,
    /// Locked memory as recorded before the call, if it was.
    pub locked_before: Option<Bytes>,
}

/// A container that is about to lose its backend, or the end of the trace.
#[derive(Debug)]
pub struct Leaving<'a> {
    /// The line at which it happens.
    pub place: Place,
    /// The container.
    pub container: ContainerId,
    /// The container, still whole.
    pub moment: Moment,
    /// An unmap that nothing made clear.
    pub settled: Option<Unmapped>,
    /// What the program believes to be mapped.
    pub belief: &'a Belief,
    /// The machine.
    pub machine: &'a SimMachine,
    /// The container's descriptor on the machine.
    pub fd: ContainerFd,
}

/// Who looks on while a trace is replayed.
pub trait Observer {
    /// A call was made.
    fn step(&mut self, step: &Step<'_>);
    /// A container is about to lose its backend.
    fn leaving(&mut self, leaving: &Leaving<'_>);
}
