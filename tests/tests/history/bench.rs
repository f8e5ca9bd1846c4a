//! A machine, what naive programs do on it, and an engine beside them.

use tce_engine::{
    Engine, Error, LeaseRequest,
    access::Access,
    addr::{Bytes, HostAddr, Iova, PageShift},
    edit::Edit,
    facts::Slot,
    kernel::{ContainerFd, GroupNumber, MemoryRange},
    layout::WindowChoice,
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, Machine as _, MemoryRequest},
    region::RegionId,
    window::{Claim, WindowId},
};
use tce_sim::{Profile, SimKernel, SimMachine};
use tce_tests::peers::Bare;

pub(crate) const NOW: Timestamp = Timestamp(0);
pub(crate) const K4: PageShift = PageShift::K4;
pub(crate) const PAGE: u64 = 1 << 12;
/// The window that the engine has in these tests: the second one.
const WINDOW: Bytes = Bytes::mib(64);

pub(crate) fn machine(name: &str) -> SimMachine {
    SimMachine::new(Profile::named(name).expect("a known profile"))
}

/// A container with the machine's first group and calls that nobody checks.
pub(crate) fn bare(machine: &SimMachine) -> Bare<SimKernel> {
    Bare::open(machine.kernel(), machine.groups()[0]).expect("the group is free")
}

pub(crate) fn memory(machine: &SimMachine, size: Bytes) -> MemoryRange {
    backed(machine, size, Backing::Anonymous)
}

pub(crate) fn backed(machine: &SimMachine, size: Bytes, backing: Backing) -> MemoryRange {
    let request = MemoryRequest { size, backing, align: PageShift::M2 };
    machine.clone().allocate(&request).expect("there is memory")
}

pub(crate) fn part(memory: MemoryRange, offset: u64) -> HostAddr {
    memory.address.checked_add(Bytes::new(offset)).expect("inside the memory")
}

/// The memory that a device of the container reaches at a bus address.
pub(crate) fn reached(
    machine: &SimMachine,
    container: ContainerFd,
    iova: Iova,
) -> Option<HostAddr> {
    machine.tce(container, iova).map(|tce| tce.address)
}

/// The engine with the first group, and a lease of all of a window.
pub(crate) struct Ours {
    pub(crate) machine: SimMachine,
    pub(crate) engine: Engine<SimKernel>,
    pub(crate) group: GroupNumber,
    pub(crate) window: WindowId,
    pub(crate) lease: LeaseId,
    pub(crate) claim: Claim,
}

impl Ours {
    pub(crate) fn new(machine: &SimMachine) -> Self {
        Self::with(machine, K4, WINDOW)
    }

    pub(crate) fn with(machine: &SimMachine, page: PageShift, size: Bytes) -> Self {
        let mut engine = Engine::open(machine.kernel()).expect("a container");
        let group = machine.groups()[0];
        attach(machine, &mut engine, group);
        let window = window(&mut engine, Slot::One, page, size);
        let (lease, claim) = lease(&mut engine, window, size);
        Self { machine: machine.clone(), engine, group, window, lease, claim }
    }

    pub(crate) fn container(&self) -> ContainerFd {
        ContainerFd::new(self.engine.descriptor())
    }

    pub(crate) fn register(&mut self, memory: MemoryRange) -> RegionId {
        let page = self.engine.system().page_shift;
        self.engine.register(memory, page).expect("it can be pinned")
    }

    pub(crate) fn iova(&self, at: u64) -> Iova {
        self.claim.start.checked_add(Bytes::new(at)).expect("an address")
    }

    /// Maps a part of a region at an offset of the lease.
    pub(crate) fn map(&self, at: u64, region: RegionId, offset: u64, size: u64) -> Edit {
        let (offset, size) = (Bytes::new(offset), Bytes::new(size));
        Edit::Map { iova: self.iova(at), region, offset, size, access: Access::ReadWrite }
    }

    pub(crate) fn unmap(&self, at: u64, size: u64) -> Edit {
        Edit::Unmap(Claim { start: self.iova(at), size: Bytes::new(size) })
    }

    pub(crate) fn apply(&mut self, edits: &[Edit]) {
        self.engine.apply(self.lease, edits, NOW).expect("nothing speaks against it");
    }

    /// What speaks against an edit, before any call was made for it.
    #[track_caller]
    pub(crate) fn refusal(&mut self, edit: Edit) -> Error {
        let calls = self.machine.all_calls();
        let refused = self.engine.apply(self.lease, &[edit], NOW).expect_err("it cannot be");
        assert_eq!(self.machine.all_calls(), calls, "it was refused before any call");
        assert!(refused.fault().is_none(), "{refused}");
        refused
    }

    /// What a device reaches at an offset of the lease.
    pub(crate) fn reaches(&self, at: u64) -> Option<HostAddr> {
        reached(&self.machine, self.container(), self.iova(at))
    }

    /// Everything goes, and the host is as it was.
    #[track_caller]
    pub(crate) fn close(self) {
        let closed = self.engine.close().expect("nothing fails");
        assert_eq!((closed.locked, closed.pinned), (Bytes::ZERO, Bytes::ZERO));
        assert_eq!(self.machine.host_corruption(), None);
    }
}

/// Attaches a group and opens its first device.
pub(crate) fn attach(machine: &SimMachine, engine: &mut Engine<SimKernel>, group: GroupNumber) {
    engine.attach(group).expect("the group is free");
    let address = &machine.devices_of(group)[0].address;
    engine.open_device(group, address).expect("the device is VFIO's");
}

pub(crate) fn choice(slot: Slot, page: PageShift, size: Bytes) -> WindowChoice {
    WindowChoice { slot, page, size, fallback: None, levels: 1, needs: Vec::new() }
}

pub(crate) fn window(
    engine: &mut Engine<SimKernel>,
    slot: Slot,
    page: PageShift,
    size: Bytes,
) -> WindowId {
    let grant = engine.grant_layout(&[choice(slot, page, size)]).expect("it can be made");
    engine.create_windows(grant).expect("nothing fails")[0]
}

pub(crate) fn lease(
    engine: &mut Engine<SimKernel>,
    window: WindowId,
    size: Bytes,
) -> (LeaseId, Claim) {
    let holder = Holder::new("holder").expect("a name");
    let grant = engine.grant_lease(LeaseRequest::new(holder, window, size)).expect("there is room");
    let claim = grant.claim();
    (engine.lease(grant).expect("nothing changed"), claim)
}
