//! One run: a machine, an engine, every handle there ever was, and what they should amount to.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use tce_engine::{
    Engine, Error,
    addr::{Bytes, HostAddr, PageShift},
    error::{DeviceRefusal, GroupRefusal},
    kernel::{ContainerFd, DescriptorKind, DeviceFd, GroupNumber, Kernel},
    layout::LayoutRefusal,
    lease::{EndCause, Holder, LeaseId, News},
    machine::{Backing, Machine},
    region::{RegionId, Registration},
    window::{Claim, WindowId},
};
use tce_sim::{Operation, Profile, SimMachine};

use crate::dice::Dice;

use super::{
    canary::Canary,
    faults::Mixture,
    guest::Guest,
    kernel::WatchedKernel,
    model::Model,
    operations::{self, Need},
    sights::{Sight, Sights},
    watch::Watch,
};

/// Where the memory is: blocks in a row, every other one of huge pages.
pub(super) const MEMORY: u64 = 0x7100_0000_0000;
pub(super) const BLOCKS: u64 = 6;
pub(super) const BLOCK: u64 = 2 << 20;
/// After so many steps other faults come.
const MIXTURE_STEPS: u64 = 100;
/// So many addresses of what was mapped under leases that ended are remembered.
const GRAVES: usize = 64;
/// So many steps are named when a run fails.
const TOLD_STEPS: usize = 12;

pub(super) struct Run {
    pub(super) dice: Dice,
    pub(super) machine: SimMachine,
    pub(super) engine: Engine<WatchedKernel>,
    pub(super) watch: Rc<RefCell<Watch>>,
    mixture: Mixture,
    has_lasting_faults: bool,
    pub(super) model: Model,
    pub(super) guest: Guest,
    /// Whose leases there were when a driver left something in a device.
    pub(super) marks: BTreeMap<DeviceFd, BTreeSet<Holder>>,
    /// What leases that ended had mapped: bus addresses, and where they led.
    pub(super) graves: VecDeque<(u64, u64)>,
    /// Leases were told of a freeze that no recovery has ended.
    pub(super) is_frozen_told: bool,
    /// How many users each region has.
    pub(super) users: BTreeMap<RegionId, u64>,
    pub(super) registrations: Vec<Registration>,
    pub(super) windows: Vec<WindowId>,
    pub(super) leases: Vec<LeaseId>,
    pub(super) regions: Vec<RegionId>,
    /// Leases that are on their way out or gone, with the reason.
    pub(super) ending: BTreeMap<LeaseId, EndCause>,
    /// Leases that are gone, whose event was not taken yet.
    pub(super) ended: BTreeMap<LeaseId, EndCause>,
    /// What else is to be told, and was not yet.
    pub(super) news: Vec<(LeaseId, News)>,
    /// Quarantines that holders have to be told of, and were not yet.
    pub(super) lost: Vec<Claim>,
    /// Leases whose end was told.
    pub(super) told_ends: BTreeSet<LeaseId>,
    /// Groups that the host waits for.
    pub(super) asked: BTreeSet<GroupNumber>,
    /// Those of them whose event nobody has read.
    pub(super) unread: BTreeSet<GroupNumber>,
    /// Why a lease may end in this step.
    pub(super) cause: Option<EndCause>,
    /// The lease whose books this step may have changed.
    pub(super) touched: Option<LeaseId>,
    pub(super) now: u64,
    pub(super) step: u64,
    pub(super) charges_seen: usize,
    pub(super) revived: u64,
    /// What engines before this one have leaked.
    pub(super) leaked_before: u64,
    names: Vec<&'static str>,
    pub(super) sights: Sights,
    pub(super) done: u64,
}

impl Run {
    pub(super) fn new(profile: Profile, seed: u64, canary: Option<Canary>) -> Self {
        let mut dice = Dice::new(seed);
        let mut machine = SimMachine::new(profile);
        for block in 0..BLOCKS {
            let huge = Backing::Hugetlb(PageShift::M2);
            let backing = if block % 2 == 0 { Backing::Memfd } else { huge };
            let address = HostAddr::new(MEMORY + block * BLOCK);
            machine.place(address, Bytes::new(BLOCK), backing).expect("nothing is there");
        }
        let has_reset = !dice.one_in(3);
        let guest = Guest::new(&mut machine);
        let watch = Rc::new(RefCell::new(Watch::new(machine.clone(), has_reset, canary)));
        let kernel = WatchedKernel::new(machine.kernel(), watch.clone());
        let has_lasting_faults = dice.one_in(2);
        let mixture = Mixture::of(&mut dice, has_lasting_faults);
        Self {
            dice,
            engine: Engine::open(kernel).expect("a fresh machine"),
            machine,
            watch,
            mixture,
            has_lasting_faults,
            model: Model::default(),
            guest,
            marks: BTreeMap::new(),
            graves: VecDeque::new(),
            is_frozen_told: false,
            users: BTreeMap::new(),
            registrations: Vec::new(),
            windows: Vec::new(),
            leases: Vec::new(),
            regions: Vec::new(),
            ending: BTreeMap::new(),
            ended: BTreeMap::new(),
            news: Vec::new(),
            lost: Vec::new(),
            told_ends: BTreeSet::new(),
            asked: BTreeSet::new(),
            unread: BTreeSet::new(),
            cause: None,
            touched: None,
            now: 0,
            step: 0,
            charges_seen: 0,
            revived: 0,
            leaked_before: 0,
            names: Vec::new(),
            sights: Sights::default(),
            done: 0,
        }
    }

    pub(super) fn container(&self) -> ContainerFd {
        ContainerFd::new(self.engine.descriptor())
    }

    /// Kernel calls so far, without readings of the locked memory.
    pub(super) fn calls(&self) -> u64 {
        self.machine.all_calls() - self.machine.calls(Operation::LockedMemory)
    }

    pub(super) fn play_step(&mut self) {
        self.step += 1;
        if self.step.is_multiple_of(MIXTURE_STEPS) {
            self.mixture = Mixture::of(&mut self.dice, self.has_lasting_faults);
        }
        for (operation, nth, fault) in self.mixture.order(&mut self.dice) {
            self.watch.borrow_mut().order(operation, nth, fault);
        }
        self.watch.borrow_mut().begin_step();
        (self.cause, self.touched, self.guest.may_return) = (None, None, None);
        let need = self.need();
        let (name, operation) = operations::choose(&mut self.dice, need);
        self.names.push(name);
        let calls = self.calls();
        let done = operation(self);
        self.guest.is_certain &= done.is_ok() || !self.watch.borrow().has_link_failed;
        match done {
            Ok(()) => self.done += 1,
            Err(error) if must_make_no_call(&error) => {
                assert_eq!(self.calls(), calls, "{name}: {error}");
            }
            Err(_) => {}
        }
        self.follow_host();
        self.check();
        self.look_around();
        if self.dice.one_in(5) {
            self.take_events();
        }
    }

    fn need(&self) -> Need {
        let mut groups = self.machine.groups().into_iter();
        Need {
            backend: self.engine.facts().is_none(),
            device: groups.any(|group| !self.machine.devices_of(group)[0].is_bound()),
            windows: self.engine.windows().count() < 2,
            memory: self.users.len() < 3,
            link: self.guest.vm.is_some() && !self.has_link(),
            guest: !self.guest.lent.is_empty(),
            recovery: !self.frozen_groups().is_empty() || self.engine.recovery_step().is_some(),
        }
    }

    /// Whether the container is linked to the virtual machine.
    fn has_link(&self) -> bool {
        let open = self.machine.descriptors();
        open.iter().any(|(_, kind)| *kind == DescriptorKind::KvmVfio)
    }

    pub(super) fn saw(&mut self, sight: Sight) {
        self.sights.add(sight);
    }

    pub(super) fn saw_if(&mut self, is_seen: bool, sight: Sight) {
        if is_seen {
            self.saw(sight);
        }
    }

    /// What lasting faults have left behind.
    fn look_around(&mut self) {
        let watch = self.watch.borrow();
        let (stale, forgotten) = (!watch.stale.is_empty(), !watch.forgotten.is_empty());
        let (leaked, revived) = (!watch.leaked.is_empty(), watch.revived > 0);
        drop(watch);
        self.saw_if(stale, Sight::StaleTce);
        self.saw_if(forgotten, Sight::ForgottenTce);
        self.saw_if(leaked, Sight::RegionLeaked);
        self.saw_if(revived, Sight::RegionRevived);
    }

    /// What a lease that has ended had mapped.
    pub(super) fn bury(&mut self, id: LeaseId) {
        let parts = self.model.parts_of(id).flat_map(|(_, part)| part.wished.iter().take(4));
        let mapped = parts.map(|(at, tce)| (*at, tce.address));
        let lent = self.guest.lent.get(&id).into_iter().flat_map(|it| it.hardware.iter().take(4));
        let lent = lent.map(|(at, tce)| (*at, tce.address.raw()));
        self.graves.extend(mapped.chain(lent).collect::<Vec<_>>());
        self.graves.drain(..self.graves.len().saturating_sub(GRAVES));
    }

    /// The newest steps by name, oldest first.
    pub(super) fn told(&self) -> String {
        self.names[self.names.len().saturating_sub(TOLD_STEPS)..].join(", ")
    }

    /// Ends the engine without faults, and sees that nothing is left.
    pub(super) fn end(self) {
        let Self { machine, engine, watch, guest, .. } = self;
        watch.borrow_mut().forget_orders();
        drop(engine);
        watch.borrow().assert_nothing_found();
        assert_nothing_left(&machine, &watch.borrow());
        if let Some(vm) = guest.vm {
            machine.kernel().close(vm.fd()).expect("it is open");
        }
        assert_eq!(machine.descriptors(), Vec::new());
    }
}

/// Nothing of an engine's is left but what leaked for a reason.
#[track_caller]
pub(super) fn assert_nothing_left(machine: &SimMachine, watch: &Watch) {
    assert_eq!(machine.live_tces(), 0);
    let regions = machine.regions();
    let starts = regions.iter().map(|region| region.range.address.raw());
    assert!(starts.clone().all(|start| watch.leaked.contains(&start)), "{regions:?}");
    let leaked: u64 = regions.iter().map(|region| region.range.size.raw()).sum();
    assert_eq!(machine.locked().raw(), leaked + watch.leaked_tables);
    assert_eq!(machine.host_corruption(), None);
}

/// Whether the error says that a request was wrong, rather than the kernel or the machine.
pub(crate) const fn must_make_no_call(error: &Error) -> bool {
    match error {
        Error::Group(refusal) => matches!(
            refusal,
            GroupRefusal::Attached { .. }
                | GroupRefusal::OneGroupOnly(_)
                | GroupRefusal::OthersPresent(_)
                | GroupRefusal::LastGroup(_)
        ),
        Error::Layout(refusal) => !matches!(
            refusal,
            LayoutRefusal::Unreachable { .. } | LayoutRefusal::FirmwareHasLess { .. }
        ),
        Error::NoBackend
        | Error::Loan(_)
        | Error::Region(_)
        | Error::Lease(_)
        | Error::Growth(_)
        | Error::Addresses(_)
        | Error::Edit(_)
        | Error::Device(DeviceRefusal::NoReset { .. }) => true,
        Error::Fault(_)
        | Error::Batch(_)
        | Error::Registration(_)
        | Error::Parting(_)
        | Error::Device(DeviceRefusal::Silent { .. })
        | Error::Freeze(_) => false,
    }
}
