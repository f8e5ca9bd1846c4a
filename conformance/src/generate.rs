//! Sequences from a seed: sensible calls, calls at the edges, and nonsense.
//!
//! While a sequence is made it is played on the simulated machine, so that most steps fit the state they meet, and so
//! that steps the simulated machine knows to break a kernel are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use fastrand::Rng;
use tce_engine::kernel::ContainerFd;
use tce_sim::{SimMachine, WindowView, profile::Kvm};

use crate::{
    outcome::Outcome,
    sequence::Sequence,
    stage::{Stage, StageError},
    step::{File, Place, Step},
    subject::Simulated,
};

mod arguments;
mod bring_up;
mod dma;
mod guard;
mod kvm;
mod over;
mod steps;

/// Proposals for one step, of which one must be harmless.
const PROPOSALS_MAX: u32 = 1000;
/// One sequence in so many has a limit on locked memory.
const LIMITED_ONE_IN: u32 = 6;
/// One sequence in so many has a guest, where there can be one.
const GUEST_ONE_IN: u32 = 3;

/// Makes sequences for one machine.
#[derive(Clone, Debug)]
pub struct Generator {
    simulated: Simulated,
    seed: u64,
    devices_one_in: NonZeroU32,
}

impl Generator {
    /// For machines of this kind. One sequence in `devices_one_in` opens devices and lets them do DMA.
    #[must_use]
    pub const fn new(simulated: Simulated, seed: u64, devices_one_in: NonZeroU32) -> Self {
        Self { simulated, seed, devices_one_in }
    }

    /// The sequence of this number: always the same one for a seed and a kind of machine.
    ///
    /// # Errors
    /// [`StageError`], if the simulated machine cannot play it.
    pub fn sequence(&self, number: u64, steps: usize) -> Result<Sequence, StageError> {
        // Numbers that are close by shall not give sequences that are.
        let mixed = self.seed.rotate_left(32) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Rng::with_seed(mixed);
        let locked_limit =
            arguments::one_in(&mut rng, LIMITED_ONE_IN).then(|| 1 << rng.u64(16..=26));
        let mut draft = Draft::new(self.simulated.clone(), rng, locked_limit);
        draft.has_devices = arguments::one_in(&mut draft.rng, self.devices_one_in.get());
        while draft.steps.len() < steps {
            draft.add()?;
        }
        let name = format!("seed {}, sequence {number}", self.seed);
        Ok(Sequence { name, locked_limit, steps: draft.steps })
    }
}

/// A sequence in the making.
struct Draft {
    simulated: Simulated,
    locked_limit: Option<u64>,
    rng: Rng,
    stage: Stage<SimMachine>,
    steps: Vec<Step>,
    /// Whether this sequence opens devices.
    has_devices: bool,
    /// Whether this sequence has much to do with KVM.
    has_guest: bool,
    /// Groups that were added to the link.
    added: BTreeSet<u8>,
    /// Which container each group is in.
    attached: BTreeMap<u8, u8>,
    /// Containers with a backend.
    backends: BTreeSet<u8>,
    /// What is tried next, to see what the last step did.
    next: Option<Step>,
    /// Maps that succeeded, newest last. Not all of them may still be there.
    maps: Vec<Mapped>,
    /// Ranges that were registered, newest last.
    ranges: Vec<(Place, u64)>,
    /// Containers in which something was registered, so that maps are not refused as a whole.
    enabled: BTreeSet<u8>,
    /// Which container registered memory of a block of huge pages. No other may use the block from then on; none at all
    /// if another container came to have its name.
    huge_users: BTreeMap<u8, Option<u8>>,
}

/// A map that succeeded.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    container: u8,
    iova: u64,
    size: u64,
}

impl Draft {
    fn new(simulated: Simulated, mut rng: Rng, locked_limit: Option<u64>) -> Self {
        let stage = simulated.stage(locked_limit);
        let has_guest =
            simulated.profile().kvm == Kvm::Available && arguments::one_in(&mut rng, GUEST_ONE_IN);
        Self {
            simulated,
            locked_limit,
            rng,
            stage,
            steps: Vec::new(),
            has_devices: false,
            has_guest,
            added: BTreeSet::new(),
            attached: BTreeMap::new(),
            backends: BTreeSet::new(),
            next: None,
            maps: Vec::new(),
            ranges: Vec::new(),
            enabled: BTreeSet::new(),
            huge_users: BTreeMap::new(),
        }
    }

    /// Adds a step that breaks nothing.
    fn add(&mut self) -> Result<(), StageError> {
        for _ in 0..PROPOSALS_MAX {
            let step = self.propose();
            if self.is_forbidden(&step) {
                continue;
            }
            let outcome = self.stage.take(&step)?;
            if self.is_broken() {
                self.replay()?;
                continue;
            }
            self.note(&step, &outcome);
            self.steps.push(step);
            return Ok(());
        }
        // Closing nothing is always harmless.
        self.steps.push(Step::Close { file: File::Nothing });
        Ok(())
    }

    /// Back to the state before the last proposal.
    fn replay(&mut self) -> Result<(), StageError> {
        self.stage = self.simulated.stage(self.locked_limit);
        for step in &self.steps {
            self.stage.take(step)?;
        }
        Ok(())
    }

    fn note(&mut self, step: &Step, outcome: &Outcome) {
        if !outcome.answer.is_success() {
            return;
        }
        match *step {
            Step::Map { file: File::Container(container), iova, size, .. } => {
                self.maps.push(Mapped { container, iova, size });
            }
            Step::Register { memory, size, file } => {
                self.ranges.push((memory, size));
                if let File::Container(container) = file {
                    self.enabled.insert(container);
                    if let Some(block) = memory.block.filter(|block| self.is_huge(*block)) {
                        self.huge_users.entry(block).or_insert(Some(container));
                    }
                }
            }
            Step::OpenContainer { container } => {
                let users = self.huge_users.values_mut();
                users.filter(|user| **user == Some(container)).for_each(|user| *user = None);
            }
            Step::SetContainer { file: File::Group(group), container: File::Container(into) } => {
                self.attached.insert(group, into);
            }
            Step::SetIommu { file: File::Container(container), .. } => {
                self.backends.insert(container);
            }
            Step::AddGroup { group: File::Group(group) } => {
                self.added.insert(group);
            }
            Step::DeleteGroup { group: File::Group(group) } => {
                self.added.remove(&group);
            }
            Step::Close { file: File::Link } => self.added.clear(),
            Step::UnsetContainer { file: File::Group(group) }
            | Step::Close { file: File::Group(group) } => self.note_detached(group),
            _ => {}
        }
    }

    /// Closing a group that has an open device detaches it later; then the container is asked in vain for a while, which
    /// is worth a try, too.
    fn note_detached(&mut self, group: u8) {
        let Some(container) = self.attached.remove(&group) else { return };
        if !self.attached.values().any(|it| *it == container) {
            self.backends.remove(&container);
            self.enabled.remove(&container);
        }
    }

    /// Whether mappings can be made in some container.
    fn is_up(&self) -> bool {
        !self.backends.is_empty() && !self.ranges.is_empty()
    }

    /// Windows of a container.
    fn windows(&self, container: u8) -> Vec<WindowView> {
        let fd = self.stage.fd(File::Container(container));
        fd.map_or_else(Vec::new, |fd| self.stage.machine().windows(ContainerFd::new(fd)))
    }

    /// Whether a group's container has a backend.
    fn has_backend(&self, group: u8) -> bool {
        self.attached.get(&group).is_some_and(|container| self.backends.contains(container))
    }

    fn is_open(&self, file: File) -> bool {
        self.stage.fd(file).is_some()
    }

    /// A container, most often one that can do something.
    fn container(&mut self) -> u8 {
        let able: Vec<u8> = self.backends.iter().copied().collect();
        match arguments::any(&mut self.rng, &able) {
            Some(able) if !arguments::one_in(&mut self.rng, 10) => able,
            _ => u8::from(arguments::one_in(&mut self.rng, 5)),
        }
    }

    /// A group, most often the first.
    fn group(&mut self) -> u8 {
        let other = self.stage.seats().len() > 1 && arguments::one_in(&mut self.rng, 4);
        u8::from(other)
    }

    /// What a call on a container is made on: now and then something else.
    fn container_file(&mut self) -> File {
        match self.rng.u8(..60) {
            0 => File::Group(0),
            1 => File::Nothing,
            _ => File::Container(self.container()),
        }
    }

    /// The same for a group.
    fn group_file(&mut self) -> File {
        match self.rng.u8(..40) {
            0 => File::Container(0),
            1 => File::Nothing,
            _ => File::Group(self.group()),
        }
    }
}
