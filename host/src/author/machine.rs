//! Facts and candidates of a simulated machine, so that nobody needs a POWER machine, or write candidates by hand.

use tce_engine::{
    Engine,
    addr::{Bytes, Iova},
    facts::{ContainerFacts, Slot},
    kernel::GroupNumber,
    layout::{CandidateQuery, Layouts, SlotUse},
    machine::Machine as _,
};
use tce_sim::{Profile, SimMachine};
use thiserror::Error;

use crate::{policy::wit, question};

/// A simulated machine whose first group is in a container, as policies are told of it.
#[derive(Clone, Debug)]
pub struct Machine {
    facts: ContainerFacts,
    slots: [SlotUse; 2],
    default_made: bool,
    dynamic_made: bool,
    group: GroupNumber,
    locked: Bytes,
}

/// Why there is no such machine.
#[derive(Debug, Error)]
pub enum MachineError {
    /// No profile has this name.
    #[error("there is no simulated machine `{name}`: there are {}", Profile::NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// It has no group, or the engine does not get at it.
    #[error("the simulated machine `{name}` cannot be used: {what}")]
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        what: String,
    },
}

impl Machine {
    /// The machine of this profile.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn named(name: &str) -> Result<Self, MachineError> {
        let unknown = || MachineError::Unknown { name: name.to_owned() };
        let unusable = |what: String| MachineError::Unusable { name: name.to_owned(), what };
        let machine = SimMachine::new(Profile::named(name).ok_or_else(unknown)?);
        let group = machine.groups().first().copied();
        let group = group.ok_or_else(|| unusable("it has no group".to_owned()))?;
        Self::look(&machine, group).map_err(|error| unusable(error.to_string()))
    }

    fn look(machine: &SimMachine, group: GroupNumber) -> Result<Self, tce_engine::Error> {
        let mut engine = Engine::open(machine.kernel())?;
        engine.attach(group)?;
        let locked = engine.locked()?.locked;
        let layouts = engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
        let Layouts { facts, slots, default_made, dynamic_made } = layouts;
        let facts = facts.clone();
        engine.close()?;
        Ok(Self { facts, slots, default_made, dynamic_made, group, locked })
    }

    /// The arithmetic of its layouts.
    #[must_use]
    pub const fn layouts(&self) -> Layouts<'_> {
        let Self { ref facts, slots, default_made, dynamic_made, .. } = *self;
        Layouts { facts, slots, default_made, dynamic_made }
    }

    /// The same machine with windows in these slots. Numbers that no slot has are left out.
    #[must_use]
    pub fn with_windows(mut self, slots: impl IntoIterator<Item = u8>) -> Self {
        for slot in slots.into_iter().filter_map(Slot::numbered) {
            self.slots[slot.index()] = SlotUse::Taken;
        }
        self
    }

    /// The facts, with so much charged beside what the machine has locked already.
    #[must_use]
    pub fn facts(&self, charged: u64) -> wit::ContainerFacts {
        let charged = self.locked.saturating_add(Bytes::new(charged));
        question::container_facts(&self.layouts(), &[self.group], charged)
    }

    /// The candidates that a run lists for this demand.
    #[must_use]
    pub fn candidates(&self, demand: &wit::Demand) -> Vec<wit::Candidate> {
        let layouts = self.layouts();
        question::candidates(&layouts.candidates(&question::query(demand, &layouts)))
    }

    /// The candidates for a lease that grows to this size.
    #[must_use]
    pub fn candidates_to_grow(&self, size: u64) -> Vec<wit::Candidate> {
        let size_max = Bytes::new(size.saturating_mul(4));
        let device_mask = Iova::new(u64::MAX);
        let query = CandidateQuery { size_min: Bytes::new(size), size_max, device_mask };
        let found = self.layouts().candidates(&query);
        question::candidates(&found).into_iter().filter(|it| it.size >= size).collect()
    }
}
