//! A machine with an engine on it.

use tce_engine::{
    Engine, Error, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift},
    edit::Edit,
    facts::{PlatformLimits, Slot},
    kernel::{ContainerFd, DeviceFd, GroupNumber, MemoryRange},
    layout::WindowChoice,
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, Machine, MemoryRequest},
    region::RegionId,
    window::{Claim, WindowId},
};
use tce_sim::{Operation, Profile, SimKernel, SimMachine};

pub(crate) const K4: PageShift = PageShift::K4;
pub(crate) const K64: PageShift = PageShift::K64;
/// Start of the second window.
pub(crate) const HIGH: u64 = 1 << 59;
/// The moment at which tests take place.
pub(crate) const NOW: Timestamp = Timestamp(1000);
/// Profiles that differ in what tables cost.
pub(crate) const PROFILES: [&str; 5] =
    ["powernv9", "powernv9-64k", "powernv10", "pseries", "pseries-64k"];

/// An engine whose container has the machine's first group, with its first device open.
pub(crate) struct Bench {
    pub(crate) machine: SimMachine,
    pub(crate) engine: Engine<SimKernel>,
    pub(crate) group: GroupNumber,
    pub(crate) device: DeviceFd,
}

/// A lease of a whole window with 64 pages of registered memory.
pub(crate) struct Tenant {
    pub(crate) window: WindowId,
    pub(crate) lease: LeaseId,
    pub(crate) claim: Claim,
    pub(crate) region: RegionId,
    pub(crate) memory: MemoryRange,
    pub(crate) page: PageShift,
}

impl Bench {
    pub(crate) fn new(profile: Profile) -> Self {
        Self::with_limits(profile, PlatformLimits::default())
    }

    pub(crate) fn with_limits(profile: Profile, limits: PlatformLimits) -> Self {
        let machine = SimMachine::new(profile);
        let engine = Engine::open(machine.kernel()).expect("a fresh machine");
        let mut engine = engine.with_limits(limits);
        let group = machine.groups()[0];
        engine.attach(group).expect("the group is free");
        let address = &machine.devices_of(group)[0].address;
        let device = engine.open_device(group, address).expect("the device is VFIO's");
        Self { machine, engine, group, device }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::new(Profile::named(name).expect("it is a known name"))
    }

    /// One with a tenant in a new window of 4K pages, 64 MiB at 1 << 59.
    pub(crate) fn with_tenant(name: &str) -> (Self, Tenant) {
        let mut bench = Self::named(name);
        let window = bench.window(Slot::One, K4, Bytes::mib(64));
        let tenant = bench.tenant(window, Bytes::mib(64));
        (bench, tenant)
    }

    pub(crate) fn container(&self) -> ContainerFd {
        ContainerFd::new(self.engine.descriptor())
    }

    /// Kernel calls so far, without readings of the locked memory.
    pub(crate) fn calls(&self) -> u64 {
        self.machine.all_calls() - self.machine.calls(Operation::LockedMemory)
    }

    pub(crate) fn memory(&mut self, size: Bytes, backing: Backing) -> MemoryRange {
        let request = MemoryRequest { size, backing, align: PageShift::M2 };
        self.machine.allocate(&request).expect("there is memory")
    }

    pub(crate) fn region(&mut self, size: Bytes) -> (RegionId, MemoryRange) {
        let memory = self.memory(size, Backing::Anonymous);
        let page = self.engine.system().page_shift;
        (self.engine.register(memory, page).expect("it can be pinned"), memory)
    }

    pub(crate) fn try_windows(&mut self, choices: &[WindowChoice]) -> Result<Vec<WindowId>, Error> {
        let grant = self.engine.grant_layout(choices)?;
        self.engine.create_windows(grant)
    }

    pub(crate) fn window(&mut self, slot: Slot, page: PageShift, size: Bytes) -> WindowId {
        self.try_windows(&[choice(slot, page, size)]).expect("it can be made")[0]
    }

    /// Makes the default window, as it comes, one of ours.
    pub(crate) fn default_window(&mut self) -> WindowId {
        let size = self.engine.facts().expect("a group is there").default_window;
        self.window(Slot::Zero, K4, size)
    }

    pub(crate) fn try_lease(&mut self, request: LeaseRequest) -> Result<LeaseId, Error> {
        let grant = self.engine.grant_lease(request)?;
        self.engine.lease(grant)
    }

    pub(crate) fn tenant(&mut self, window: WindowId, size: Bytes) -> Tenant {
        let lease = self.try_lease(request(window, size)).expect("there is room");
        let claim = self.engine.leases().get(lease).expect("it was just made").home().claim;
        let state = self.engine.windows().find(|it| it.window().id == window);
        let page = state.expect("it is there").window().page;
        let (region, memory) = self.region(Bytes::new(64 * page.bytes().raw()));
        Tenant { window, lease, claim, region, memory, page }
    }

    /// Attaches a group and opens its first device.
    pub(crate) fn attach(&mut self, group: GroupNumber) -> DeviceFd {
        self.engine.attach(group).expect("the group is free");
        let address = &self.machine.devices_of(group)[0].address;
        self.engine.open_device(group, address).expect("the device is VFIO's")
    }

    /// Attaches a second group to the container and opens its device.
    pub(crate) fn join(&mut self) -> GroupNumber {
        let group = self.machine.groups()[1];
        self.attach(group);
        group
    }

    pub(crate) fn apply(&mut self, tenant: &Tenant, edits: &[Edit]) {
        self.engine.apply(tenant.lease, edits, NOW).expect("nothing speaks against it");
    }

    /// Closes the engine, frees memory, and checks that nothing is left.
    #[track_caller]
    pub(crate) fn close(self) {
        let Self { machine, engine, .. } = self;
        let closed = engine.close().expect("nothing fails");
        assert_eq!((closed.locked, closed.pinned), (Bytes::ZERO, Bytes::ZERO));
        assert_nothing_left(&machine);
    }
}

/// Nothing of the engine's: memory is the test's own.
#[track_caller]
pub(crate) fn assert_nothing_left(machine: &SimMachine) {
    let left = machine.left_behind();
    assert_eq!((left.descriptors, left.regions, left.live_tces), (Vec::new(), Vec::new(), 0));
    assert_eq!(left.locked, Bytes::ZERO);
    assert_eq!(machine.host_corruption(), None);
}

pub(crate) const fn choice(slot: Slot, page: PageShift, size: Bytes) -> WindowChoice {
    WindowChoice { slot, page, size, fallback: None, levels: 1, needs: Vec::new() }
}

pub(crate) fn request(window: WindowId, size: Bytes) -> LeaseRequest {
    LeaseRequest::new(Holder::new("tenant").expect("a name"), window, size)
}

impl Tenant {
    fn bytes(&self, pages: u64) -> Bytes {
        Bytes::new(pages * self.page.bytes().raw())
    }

    pub(crate) fn iova(&self, index: u64) -> Iova {
        self.claim.start.checked_add(self.bytes(index)).expect("inside the lease")
    }

    /// `pages` TCEs from `index`, to memory from its page `memory_page`.
    pub(crate) fn map(&self, index: u64, pages: u64, memory_page: u64) -> Edit {
        Edit::Map {
            iova: self.iova(index),
            region: self.region,
            offset: self.bytes(memory_page),
            size: self.bytes(pages),
            access: Access::ReadWrite,
        }
    }

    pub(crate) fn unmap(&self, index: u64, pages: u64) -> Edit {
        Edit::Unmap(self.range(index, pages))
    }

    pub(crate) fn range(&self, index: u64, pages: u64) -> Claim {
        Claim { start: self.iova(index), size: self.bytes(pages) }
    }
}
