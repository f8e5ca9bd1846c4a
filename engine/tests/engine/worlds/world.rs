//! A machine with an engine, and what happened to them.

use std::{collections::BTreeMap, ops::Range};

use tce_engine::{
    Engine, Error,
    access::Access,
    addr::{Bytes, GuestAddress, HostAddr, PageShift},
    edit::Edit,
    errno::Errno,
    facts::Slot,
    kernel::{ContainerFd, GroupNumber, Kernel, MemoryRange, VmFd},
    lease::{self, Lease, LeaseId, Timestamp},
    machine::{Backing, Machine},
    region::RegionId,
    window::{Claim, WindowId},
};
use tce_sim::{Fault, Operation as KernelCall, Profile, SimKernel, SimMachine, Unbind};

use crate::{
    bench::{K4, choice},
    simulation::must_make_no_call,
};

use super::{
    guest::LentPage,
    operation::{FailedCall, Group, Holder, Step},
    view::Membership,
};

/// The page of both windows.
pub(super) const PAGE: PageShift = K4;
/// The moment at which all happens but [`super::Operation::Expire`].
pub(super) const NOW: Timestamp = Timestamp(1000);
/// The memory: page n is mapped at page n of a window, so that what different leases have goes together.
pub(super) const MEMORY: MemoryRange =
    MemoryRange { address: HostAddr::new(0x7100_0000_0000), size: Bytes::kib(64) };

/// What the host wants of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// It waits until the group's device is closed.
    pub(super) is_wanted: bool,
    /// It has said so, and nobody has read it.
    pub(super) is_unread: bool,
}

pub(super) struct World {
    pub(super) machine: SimMachine,
    /// `None` once it is closed.
    engine: Option<Engine<SimKernel>>,
    /// The newest lease of each holder.
    leases: [Option<LeaseId>; 2],
    region: Option<RegionId>,
    wanted: [Wanted; 2],
    pub(super) vm: VmFd,
    /// What the guest has set at the first page of each holder's lease, as long as that is lent.
    pub(super) guest: [Option<LentPage>; 2],
    way: Vec<Step>,
}

/// Takes a way on a fresh machine, and checks each step.
pub(super) fn walk(way: &[Step]) -> World {
    let mut world = World::new();
    for step in way {
        world.step(*step);
    }
    world
}

impl World {
    fn new() -> Self {
        let mut machine = SimMachine::new(Profile::powernv9());
        machine.place(MEMORY.address, MEMORY.size, Backing::Anonymous).expect("nothing is there");
        let vm = machine.kernel().create_vm().expect("there is KVM");
        machine.set_guest_memory(vm, GuestAddress::new(0), MEMORY).expect("whole pages");
        let engine = Engine::open(machine.kernel()).expect("a fresh machine");
        Self {
            machine,
            engine: Some(engine),
            leases: [None; 2],
            region: None,
            wanted: [Wanted::default(); 2],
            vm,
            guest: [None; 2],
            way: Vec::new(),
        }
    }

    /// Makes an operation, and checks what is told of it.
    pub(super) fn step(&mut self, step: Step) {
        self.way.push(step);
        if let Some(FailedCall { call, nth }) = step.fails {
            self.machine.fail_nth(call, nth, Fault::Errno(Errno::EIO));
        }
        let before: BTreeMap<LeaseId, Lease> =
            self.engine().leases().live().map(|(id, lease)| (id, lease.clone())).collect();
        let quarantines = self.quarantines();
        let done = self.carry_out(step.operation);
        self.follow_guest(step.operation);
        assert_eq!(self.machine.faults_waiting(), 0, "the call that fails is made");
        for group in Group::ALL {
            if !self.is_bound(group) {
                self.wanted[index(group)] = Wanted::default();
            }
        }
        let is_batch = matches!(done, Err(Error::Batch(_)));
        self.check_events(&before, !is_batch && quarantines < self.quarantines());
    }

    /// Whether a call of this kind has failed on the way.
    pub(super) fn has_failed(&self, call: KernelCall) -> bool {
        self.way.iter().any(|step| step.fails.is_some_and(|failed| failed.call == call))
    }

    /// Forgets the newest step, which has done nothing.
    pub(super) fn forget_step(&mut self) {
        self.way.pop();
    }

    pub(super) fn quarantines(&self) -> usize {
        self.engine().windows().map(|state| state.quarantined().count()).sum()
    }

    pub(super) fn engine(&self) -> &Engine<SimKernel> {
        self.engine.as_ref().expect("it is not closed")
    }

    pub(super) fn engine_mut(&mut self) -> &mut Engine<SimKernel> {
        self.engine.as_mut().expect("it is not closed")
    }

    /// Hands the engine out, to be closed.
    pub(super) fn take_engine(&mut self) -> Engine<SimKernel> {
        self.engine.take().expect("it is not closed")
    }

    /// Asks the engine for something. A refusal makes no call.
    pub(super) fn ask<T>(
        &mut self,
        what: impl FnOnce(&mut Engine<SimKernel>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let calls = self.machine.all_calls();
        let asked = what(self.engine_mut());
        if let Err(error) = &asked
            && must_make_no_call(error)
        {
            assert_eq!(self.machine.all_calls(), calls, "{error}");
        }
        asked
    }

    pub(super) fn container(&self) -> ContainerFd {
        ContainerFd::new(self.engine().descriptor())
    }

    pub(super) fn number(&self, group: Group) -> GroupNumber {
        self.machine.groups()[index(group)]
    }

    pub(super) fn address(&self, group: Group) -> String {
        self.machine.devices_of(self.number(group))[0].address.clone()
    }

    /// Whether the group is VFIO's.
    pub(super) fn is_bound(&self, group: Group) -> bool {
        self.machine.devices_of(self.number(group))[0].is_bound()
    }

    pub(super) const fn wanted(&self, group: Group) -> Wanted {
        self.wanted[index(group)]
    }

    pub(super) fn name(holder: Holder) -> lease::Holder {
        let name = match holder {
            Holder::First => "first",
            Holder::Second => "second",
        };
        lease::Holder::new(name).expect("a name")
    }

    pub(super) fn window_in(&self, slot: Slot) -> Option<WindowId> {
        self.engine().windows().map(|state| state.window().id).find(|id| id.slot == slot)
    }

    /// Pages of a window.
    pub(super) fn claim(&self, window: WindowId, pages: Range<u64>) -> Claim {
        let state = self.engine().windows().find(|state| state.window().id == window);
        let start = state.expect("it is there").window().iova_of(pages.start);
        Claim { start, size: Bytes::new((pages.end - pages.start) * PAGE.bytes().raw()) }
    }

    pub(super) fn region(&self) -> Option<RegionId> {
        self.region.filter(|id| self.engine().regions().is_some_and(|all| all.get(*id).is_ok()))
    }

    /// A holder's lease, if it has not ended.
    pub(super) fn live(&self, holder: Holder) -> Option<(LeaseId, &Lease)> {
        let id = self.leases[of(holder)]?;
        self.engine().leases().live().find(|(live, _)| *live == id)
    }

    pub(super) fn note_lease(&mut self, holder: Holder, lease: LeaseId) {
        self.leases[of(holder)] = Some(lease);
    }

    /// Does something with a holder's newest lease, ended or not.
    pub(super) fn with_lease(
        &mut self,
        holder: Holder,
        what: impl FnOnce(&mut Engine<SimKernel>, LeaseId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(id) = self.leases[of(holder)] else { return Ok(()) };
        self.ask(|engine| what(engine, id))
    }

    pub(super) fn make_window(&mut self, slot: Slot) -> Result<(), Error> {
        let default = self.engine().facts().map_or(Bytes::gib(2), |facts| facts.default_window);
        let size = if slot == Slot::Zero { default } else { Bytes::mib(2) };
        let grant = self.ask(|engine| engine.grant_layout(&[choice(slot, PAGE, size)]))?;
        self.ask(|engine| engine.create_windows(grant)).map(|_| ())
    }

    pub(super) fn register(&mut self) -> Result<(), Error> {
        if self.region().is_some() {
            return Ok(());
        }
        self.region = Some(self.ask(|engine| engine.register(MEMORY, PAGE))?);
        Ok(())
    }

    /// The edit that maps the first page of a lease.
    pub(super) fn map_of(&self, lease: &Lease) -> Option<Edit> {
        let (claim, region) = (lease.home().claim, self.region()?);
        let offset = Bytes::new(lease.home().run.first() * PAGE.bytes().raw());
        let (iova, size, access) = (claim.start, PAGE.bytes(), Access::ReadWrite);
        Some(Edit::Map { iova, region, offset, size, access })
    }

    pub(super) fn map(&mut self, holder: Holder) -> Result<(), Error> {
        let known = self.leases[of(holder)].and_then(|id| self.engine().leases().get(id).ok());
        let Some(edit) = known.and_then(|lease| self.map_of(lease)) else { return Ok(()) };
        self.with_lease(holder, |engine, id| engine.apply(id, &[edit], NOW).map(|_| ()))
    }

    pub(super) fn unmap(&mut self, holder: Holder) -> Result<(), Error> {
        self.with_lease(holder, |engine, id| {
            let start = engine.leases().get(id)?.home().claim.start;
            let edit = Edit::Unmap(Claim { start, size: PAGE.bytes() });
            engine.apply(id, &[edit], NOW).map(|_| ())
        })
    }

    pub(super) fn unbind(&mut self, group: Group) {
        if self.membership(group) == Membership::Unwatched {
            return;
        }
        if self.machine.unbind(self.number(group)) == Unbind::Waiting {
            self.wanted[index(group)] = Wanted { is_wanted: true, is_unread: true };
        }
    }

    pub(super) fn rebind(&mut self, group: Group) {
        self.machine.rebind(self.number(group));
    }

    pub(super) fn surrender(&mut self) -> Result<(), Error> {
        let wanted = self.ask(|engine| engine.take_requests())?;
        let can_miss = self.way.last().is_some_and(|step| step.fails.is_some());
        for group in Group::ALL {
            let (number, wants) = (self.number(group), &mut self.wanted[index(group)]);
            let is_told = wanted.contains(&number);
            assert!(is_told == wants.is_unread || can_miss && !is_told, "{group:?} is wanted");
            wants.is_unread &= !is_told;
        }
        wanted.into_iter().try_for_each(|group| self.ask(|engine| engine.surrender(group)))
    }
}

impl Drop for World {
    /// Tells the way of a world that broke a rule.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let steps = self.way.iter().map(|step| format!("        {step:?},\n"));
            eprintln!("the way:\n    holds(&[\n{}    ]);", steps.collect::<String>());
        }
    }
}

const fn index(group: Group) -> usize {
    match group {
        Group::A => 0,
        Group::B => 1,
    }
}

pub(super) const fn of(holder: Holder) -> usize {
    match holder {
        Holder::First => 0,
        Holder::Second => 1,
    }
}
