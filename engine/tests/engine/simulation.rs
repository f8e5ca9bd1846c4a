//! Random operations over random faults: after each step the engine and the simulated hardware agree.
//!
//! `TCE_SEED` replays one seed; `TCE_STEPS` says how many steps each takes.

use tce_engine::{
    Engine, Error, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift},
    edit::Edit,
    errno::Errno,
    error::GroupRefusal,
    facts::Slot,
    kernel::MemoryRange,
    layout::LayoutRefusal,
    lease::{LeaseId, Timestamp},
    lingering::Unmapping,
    machine::{Backing, Machine, MemoryRequest},
    region::RegionId,
    window::{Claim, Window, WindowId},
};
use tce_sim::{Fault, Operation, Profile, SimKernel, SimMachine};

use crate::{
    bench::{K4, K64, PROFILES, assert_nothing_left, choice, request},
    truth::assert_agreement,
};

const STEPS: u64 = 1500;
/// Calls that random faults meet. `close` is not among them: a real one lets go of its descriptor even if it fails.
const FAULTY: [Operation; 18] = [
    Operation::LockedMemory,
    Operation::CheckExtension,
    Operation::SetIommu,
    Operation::OpenGroup,
    Operation::GroupStatus,
    Operation::SetContainer,
    Operation::UnsetContainer,
    Operation::OpenDevice,
    Operation::ReadDevice,
    Operation::WriteDevice,
    Operation::Info,
    Operation::Register,
    Operation::Unregister,
    Operation::Create,
    Operation::Remove,
    Operation::Map,
    Operation::Map,
    Operation::Unmap,
];

/// Xorshift: good enough to choose, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let sides = u64::try_from(all.len()).expect("it fits");
        let index = (sides > 0).then(|| self.roll(sides))?;
        all.get(usize::try_from(index).expect("it fits")).copied()
    }
}

/// One run: a machine, an engine, and every handle there ever was.
struct Run {
    dice: Dice,
    machine: SimMachine,
    engine: Engine<SimKernel>,
    memory: Vec<MemoryRange>,
    windows: Vec<WindowId>,
    leases: Vec<LeaseId>,
    regions: Vec<RegionId>,
    now: u64,
    done: u64,
}

impl Run {
    fn new(profile: Profile, seed: u64) -> Self {
        let mut machine = SimMachine::new(profile);
        let backings = [Backing::Anonymous, Backing::Memfd, Backing::Hugetlb(PageShift::M2)];
        let memory = (0..6).map(|n| {
            let request = MemoryRequest {
                size: Bytes::mib(2),
                backing: backings[n % 3],
                align: PageShift::M2,
            };
            machine.allocate(&request).expect("there is memory")
        });
        let memory = memory.collect();
        let engine = Engine::open(machine.kernel()).expect("a fresh machine");
        let (windows, leases, regions) = (Vec::new(), Vec::new(), Vec::new());
        // Seeds in a row are spread out; 0 would stay 0.
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { dice, machine, engine, memory, windows, leases, regions, now: 0, done: 0 }
    }

    fn calls(&self) -> u64 {
        self.machine.all_calls() - self.machine.calls(Operation::LockedMemory)
    }

    fn step(&mut self) {
        if self.dice.one_in(8) {
            self.order_fault();
        }
        let calls = self.calls();
        let result = self.operate();
        match result {
            Ok(()) => self.done += 1,
            Err(error) if must_make_no_call(&error) => {
                assert_eq!(self.calls(), calls, "{error}");
            }
            Err(_) => {}
        }
        assert_agreement(&self.machine, &self.engine);
    }

    fn order_fault(&mut self) {
        let operation = self.dice.pick(&FAULTY).expect("there are some");
        let errno = self.dice.pick(&[Errno::EIO, Errno::ENOMEM, Errno::EINVAL, Errno::EINTR]);
        let errno = errno.expect("there are some");
        let nth = 1 + self.dice.roll(4);
        let fault = match (operation, self.dice.roll(4)) {
            (Operation::Map, 0..3) => Fault::AfterTces { count: self.dice.roll(20), errno },
            (Operation::Map | Operation::Unmap, _) => Fault::Value(1),
            _ => Fault::Errno(errno),
        };
        self.machine.fail_nth(operation, nth, fault);
    }

    fn operate(&mut self) -> Result<(), Error> {
        if self.engine.facts().is_none() && !self.dice.one_in(8) {
            return self.attach();
        }
        match self.dice.roll(40) {
            0 => self.attach(),
            1 => self.detach(),
            2 => self.open_device(),
            3..6 => self.register(),
            6 => self.unregister(),
            7..10 => self.create_windows(),
            10..15 => self.lease(),
            15 => self.revoke(),
            16 => self.expire(),
            17 => self.engine.quiesce_devices(),
            18 => self.engine.resume_devices(),
            19 => self.reopen(),
            _ => self.apply(),
        }
    }

    fn attach(&mut self) -> Result<(), Error> {
        let group = self.dice.pick(&self.machine.groups()).expect("there are some");
        self.engine.attach(group)
    }

    fn detach(&mut self) -> Result<(), Error> {
        if !self.dice.one_in(3) {
            return Ok(());
        }
        let group = self.dice.pick(&self.machine.groups()).expect("there are some");
        self.engine.detach(group)
    }

    fn open_device(&mut self) -> Result<(), Error> {
        let group = self.dice.pick(&self.machine.groups()).expect("there are some");
        let address = self.machine.devices_of(group)[0].address.clone();
        self.engine.open_device(group, &address).map(|_| ())
    }

    fn register(&mut self) -> Result<(), Error> {
        let mut range = self.dice.pick(&self.memory).expect("there are some");
        match self.dice.roll(8) {
            0 => range.size = Bytes::new(self.dice.roll(u64::MAX)),
            1 => range.size = Bytes::mib(1),
            2 => range.address = range.address.checked_add(Bytes::kib(64)).expect("it fits"),
            _ => {}
        }
        let index = self.memory.iter().position(|memory| memory.address == range.address);
        let is_huge = index.is_some_and(|index| index % 3 == 2);
        let page = if is_huge { PageShift::M2 } else { self.engine.system().page_shift };
        self.regions.push(self.engine.register(range, page)?);
        Ok(())
    }

    fn unregister(&mut self) -> Result<(), Error> {
        let Some(region) = self.dice.pick(&self.regions) else { return Ok(()) };
        // Of all its users, or it would be a rare thing that a region goes.
        let users = self.engine.regions().and_then(|all| all.get(region).ok()).map(|it| it.users);
        (0..users.unwrap_or(1)).try_for_each(|_| self.engine.unregister(region))
    }

    fn create_windows(&mut self) -> Result<(), Error> {
        let default = self.engine.facts().map_or(Bytes::gib(2), |facts| facts.default_window);
        let mut choices = Vec::new();
        for slot in [Slot::Zero, Slot::One] {
            let page = self.dice.pick(&[K4, K64, PageShift::M2]).expect("there are some");
            let size = match self.dice.roll(10) {
                0 => Bytes::new(self.dice.roll(u64::MAX)),
                pages => Bytes::new(page.bytes().raw() << pages),
            };
            match self.dice.roll(4) {
                0 | 1 => choices.push(choice(slot, page, size)),
                2 if slot == Slot::Zero => choices.push(choice(slot, K4, default)),
                _ => {}
            }
        }
        let grant = self.engine.grant_layout(&choices)?;
        self.windows.extend(self.engine.create_windows(grant)?);
        Ok(())
    }

    fn live_window(&mut self) -> Option<Window> {
        let all: Vec<Window> = self.engine.windows().map(|state| *state.window()).collect();
        self.dice.pick(&all)
    }

    fn lease(&mut self) -> Result<(), Error> {
        let old = self.dice.pick(&self.windows);
        let live = self.live_window();
        let Some(id) = live.map(|it| it.id).filter(|_| !self.dice.one_in(10)).or(old) else {
            return Ok(());
        };
        let page = live.map_or(K4, |window| window.page).bytes().raw();
        let at = live.filter(|_| self.dice.one_in(4));
        let at = at.map(|it| it.iova_of(self.dice.roll(it.tces().raw())));
        let access = [Access::Read, Access::Write, Access::ReadWrite, Access::ReadWrite];
        let wanted = LeaseRequest {
            at,
            access: self.dice.pick(&access).expect("there are some"),
            tces_max: if self.dice.one_in(3) { self.dice.roll(40) } else { u64::MAX },
            unmapping: Unmapping::Strict,
            expires: self.dice.one_in(3).then(|| Timestamp(self.now + self.dice.roll(300))),
            ..request(id, Bytes::new(page * self.dice.roll(200)))
        };
        let grant = self.engine.grant_lease(wanted)?;
        self.leases.push(self.engine.lease(grant)?);
        Ok(())
    }

    fn revoke(&mut self) -> Result<(), Error> {
        let Some(lease) = self.dice.pick(&self.leases) else { return Ok(()) };
        self.engine.revoke(lease)
    }

    fn expire(&mut self) -> Result<(), Error> {
        self.now += self.dice.roll(50);
        self.engine.expire(Timestamp(self.now))
    }

    fn apply(&mut self) -> Result<(), Error> {
        let live: Vec<LeaseId> = self.engine.leases().live().map(|(id, _)| id).collect();
        let old = self.dice.pick(&self.leases);
        let Some(id) = self.dice.pick(&live).filter(|_| !self.dice.one_in(20)).or(old) else {
            return Ok(());
        };
        let known = self.engine.leases().get(id);
        let Ok((claim, access, window)) =
            known.map(|it| (it.home().claim, it.access, it.home().window))
        else {
            return self.engine.apply(id, &[], Timestamp(self.now)).map(|_| ());
        };
        let page = self.engine.windows().find(|state| state.window().id == window);
        let page = page.map_or(K4, |state| state.window().page);
        let count = 1 + self.dice.roll(5);
        let edits: Vec<Edit> = (0..count).map(|_| self.edit(claim, page, access)).collect();
        self.engine.apply(id, &edits, Timestamp(self.now)).map(|_| ())
    }

    fn edit(&mut self, claim: Claim, page: PageShift, access: Access) -> Edit {
        let page_bytes = page.bytes().raw();
        let pages = claim.size.raw() / page_bytes;
        let first = self.dice.roll(pages);
        let count = 1 + self.dice.roll((pages - first).min(24));
        let odd = if self.dice.one_in(100) { self.dice.roll(u64::MAX) } else { 0 };
        let offset = Bytes::new(first * page_bytes);
        let iova = claim.start.checked_add(offset).unwrap_or(Iova::new(odd));
        let size = Bytes::new((count * page_bytes).saturating_add(odd));
        let regions: Vec<RegionId> =
            self.engine.regions().into_iter().flat_map(|all| all.iter().map(|it| it.0)).collect();
        let old = self.dice.pick(&self.regions);
        let region = self.dice.pick(&regions).filter(|_| !self.dice.one_in(100)).or(old);
        match region {
            Some(region) if !self.dice.one_in(3) => {
                // Few places in memory, so that mappings repeat and join.
                let offset = Bytes::new(self.dice.roll(3) * 16 * page_bytes % (1 << 21));
                Edit::Map { iova, region, offset, size, access }
            }
            _ => Edit::Unmap(Claim { start: iova, size }),
        }
    }

    /// Ends the engine, in order or not, and starts another. Handles are the new engine's from here on.
    fn reopen(&mut self) -> Result<(), Error> {
        if !self.dice.one_in(5) {
            return Ok(());
        }
        let next = Engine::open(self.machine.kernel())?;
        let old = std::mem::replace(&mut self.engine, next);
        let is_leaky =
            old.charges().iter().any(|it| it.subject == tce_engine::ChargeSubject::Leaked);
        (self.windows, self.leases, self.regions) = (Vec::new(), Vec::new(), Vec::new());
        let closed = if self.dice.one_in(2) {
            old.close().map(|_| ())
        } else {
            drop(old);
            Ok(())
        };
        assert!(is_leaky || self.machine.locked() == Bytes::ZERO);
        assert_eq!((self.machine.live_tces(), self.machine.regions()), (0, Vec::new()));
        assert_eq!(self.machine.descriptors().len(), 1, "the new container");
        closed
    }
}

/// Whether the error says that a request was wrong, rather than the kernel or the machine.
const fn must_make_no_call(error: &Error) -> bool {
    match error {
        Error::Group(refusal) => matches!(
            refusal,
            GroupRefusal::Attached { .. }
                | GroupRefusal::OneGroupOnly(_)
                | GroupRefusal::OthersPresent(_)
        ),
        Error::Layout(refusal) => !matches!(
            refusal,
            LayoutRefusal::Unreachable { .. } | LayoutRefusal::FirmwareHasLess { .. }
        ),
        Error::NoBackend
        | Error::Region(_)
        | Error::Lease(_)
        | Error::Growth(_)
        | Error::Addresses(_)
        | Error::Edit(_) => true,
        Error::Fault(_) | Error::Batch(_) | Error::Registration(_) => false,
    }
}

fn simulate(name: &str, seed: u64, steps: u64) -> u64 {
    let mut run = Run::new(Profile::named(name).expect("it is a known name"), seed);
    for step in 0..steps {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.step()));
        if let Err(panic) = told {
            eprintln!("{name}, step {step}: replay with TCE_SEED={seed} TCE_STEPS={}", step + 1);
            std::panic::resume_unwind(panic);
        }
    }
    let Run { machine, engine, done, .. } = run;
    drop(engine);
    assert_nothing_left(&machine);
    done
}

#[test]
fn random_operations_under_random_faults_never_part_engine_and_hardware() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let steps = number("TCE_STEPS").unwrap_or(STEPS);
    let seeds = number("TCE_SEED").map_or(1..5, |seed| seed..seed + 1);
    for seed in seeds {
        for name in PROFILES {
            let done = simulate(name, seed, steps);
            assert!(steps < STEPS || done > steps / 5, "{name}, seed {seed}: {done} of {steps}");
        }
    }
}
