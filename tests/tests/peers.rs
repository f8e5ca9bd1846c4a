//! Mistakes of other programs: on the simulated kernel each has the effect that it has on a real one, and the engine,
//! asked for the same, has none.

use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, HostAddr, Iova, PageShift, Pages},
    edit::Edit,
    error::{EditRefusal, Undone},
    facts::Slot,
    fault::Operation,
    kernel::{ContainerFd, Kernel as _, MemoryRange, Raw},
    layout::{CandidateQuery, WindowChoice},
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, Machine as _, MemoryRequest},
    region::{RegionId, RegionRefusal},
    window::Claim,
};
use tce_sim::{Profile, SimKernel, SimMachine};
use tce_tests::peers::{Bare, Dpdk, Qemu, Spdk, VirtioIommu};

const NOW: Timestamp = Timestamp(0);
const K4: PageShift = PageShift::K4;
const M2: PageShift = PageShift::M2;

fn machine(name: &str) -> SimMachine {
    SimMachine::new(Profile::named(name).expect("a known profile"))
}

fn bare(machine: &SimMachine) -> Bare<SimKernel> {
    Bare::open(machine.kernel(), machine.groups()[0]).expect("the group is free")
}

fn memory(
    machine: &mut SimMachine,
    size: Bytes,
    backing: Backing,
    align: PageShift,
) -> MemoryRange {
    machine.allocate(&MemoryRequest { size, backing, align }).expect("there is memory")
}

fn part(memory: MemoryRange, offset: u64) -> HostAddr {
    memory.address.checked_add(Bytes::new(offset)).expect("inside the memory")
}

/// The engine with a window, the whole of it leased.
struct Ours {
    engine: Engine<SimKernel>,
    lease: LeaseId,
    claim: Claim,
}

impl Ours {
    /// A window of this size, and as much of it leased.
    fn new(machine: &SimMachine, page: PageShift, size: Bytes, leased: Bytes) -> Self {
        let slot = Slot::Zero;
        let mut engine = Engine::open(machine.kernel()).expect("a container");
        let group = machine.groups()[0];
        engine.attach(group).expect("the group is free");
        let device = &machine.devices_of(group)[0].address;
        engine.open_device(group, device).expect("the device is VFIO's");
        let query = CandidateQuery { size_min: size, size_max: size, device_mask: Iova::new(!0) };
        let candidates = engine.layouts().expect("a backend").candidates(&query);
        let mut fitting = candidates.iter().filter(|it| (it.slot, it.page) == (slot, page));
        let levels = fitting.next().expect("there is such a window").table.levels;
        let choice = WindowChoice { slot, page, size, fallback: None, levels, needs: Vec::new() };
        let grant = engine.grant_layout(&[choice]).expect("it can be made");
        let window = engine.create_windows(grant).expect("nothing fails")[0];
        let holder = Holder::new("peer").expect("a name");
        let grant = engine.grant_lease(LeaseRequest::new(holder, window, leased));
        let grant = grant.expect("there is room");
        let claim = grant.claim();
        let lease = engine.lease(grant).expect("there is room");
        Self { engine, lease, claim }
    }

    fn map(&self, at: u64, region: RegionId, offset: u64, size: u64) -> Edit {
        let iova = self.claim.start.checked_add(Bytes::new(at)).expect("inside the lease");
        let (offset, size) = (Bytes::new(offset), Bytes::new(size));
        Edit::Map { iova, region, offset, size, access: Access::ReadWrite }
    }

    fn unmap(&self, at: u64, size: u64) -> Edit {
        let start = self.claim.start.checked_add(Bytes::new(at)).expect("inside the lease");
        Edit::Unmap(Claim { start, size: Bytes::new(size) })
    }

    fn apply(&mut self, edits: &[Edit]) {
        self.engine.apply(self.lease, edits, NOW).expect("nothing speaks against it");
    }

    fn reaches(&self, machine: &SimMachine, at: u64) -> Option<HostAddr> {
        let iova = self.claim.start.checked_add(Bytes::new(at)).expect("inside the lease");
        machine.tce(ContainerFd::new(self.engine.descriptor()), iova).map(|tce| tce.address)
    }

    fn close(self, machine: &SimMachine) {
        let closed = self.engine.close().expect("nothing fails");
        assert_eq!((closed.locked, closed.pinned), (Bytes::ZERO, Bytes::ZERO));
        assert_eq!(machine.host_corruption(), None);
    }
}

const PAGE: u64 = 2 << 20;

/// DPDK frees one huge page: everything below it is unmapped, it stays mapped, and its memory is lost to the host.
#[test]
fn dpdk_unmaps_what_it_keeps_and_keeps_what_it_unmaps() {
    let mut machine = machine("powernv9");
    let memory = memory(&mut machine, Bytes::mib(8), Backing::Hugetlb(M2), M2);
    {
        let mut dpdk = Dpdk::new(bare(&machine), M2);
        assert_eq!(dpdk.create_window(Bytes::gib(4), 5), Some(Iova::new(0)));
        for page in 0..4 {
            assert!(dpdk.map(Iova::new(page * PAGE), part(memory, page * PAGE)));
        }
        let at = |page: u64| Iova::new(page * PAGE);
        assert!(dpdk.unmap(at(2), part(memory, 2 * PAGE)), "it believes that it worked");
        let tces = (0..4).map(|page| machine.tce(dpdk.bare.container(), at(page)).is_some());
        assert_eq!(tces.collect::<Vec<_>>(), [false, false, true, true]);
    }
    assert!(machine.regions().iter().any(|region| region.has_leaked()));

    let mut ours = Ours::new(&machine, M2, Bytes::gib(4), Bytes::gib(2));
    let fresh = self::memory(&mut machine, Bytes::mib(8), Backing::Hugetlb(M2), M2);
    let pages = (0..4)
        .map(|page| MemoryRange { address: part(fresh, page * PAGE), size: Bytes::new(PAGE) });
    let regions: Vec<RegionId> =
        pages.map(|page| ours.engine.register(page, M2).expect("it can be pinned")).collect();
    let maps: Vec<Edit> =
        (0..4).zip(&regions).map(|(page, it)| ours.map(page * PAGE, *it, 0, PAGE)).collect();
    ours.apply(&maps);
    let refused = ours.engine.unregister(regions[2]);
    let mapped = RegionRefusal::Mapped { region: regions[2], tces: 1 };
    assert_eq!(refused, Err(mapped.into()), "not before it is unmapped");
    let unmap = ours.unmap(2 * PAGE, PAGE);
    ours.apply(&[unmap]);
    ours.engine.unregister(regions[2]).expect("nothing points into it");
    let tces = (0..4).map(|page| ours.reaches(&machine, page * PAGE).is_some());
    assert_eq!(tces.collect::<Vec<_>>(), [true, true, false, true]);
    ours.close(&machine);
}

/// SPDK maps memory that nobody registered, and takes +1 for success.
#[test]
fn spdk_believes_in_maps_that_failed_and_in_unmaps_that_did_nothing() {
    let mut machine = machine("powernv9");
    let memory = memory(&mut machine, Bytes::mib(4), Backing::Hugetlb(M2), M2);
    {
        let mut spdk = Spdk::new(bare(&machine));
        let registered = MemoryRange { size: Bytes::new(PAGE), ..memory };
        assert_eq!(spdk.bare.register(registered), Raw::OK);
        spdk.map(Iova::new(PAGE), part(memory, PAGE), Bytes::new(PAGE));
        assert!(spdk.believed.contains_key(&PAGE));
        assert!(machine.tce(spdk.bare.container(), Iova::new(PAGE)).is_none(), "nothing is there");
        spdk.map(Iova::new(0), memory.address, Bytes::new(PAGE));
        assert!(spdk.unmap(Iova::new(1), Bytes::new(PAGE)), "it believes that it worked");
        assert!(machine.tce(spdk.bare.container(), Iova::new(0)).is_some(), "the device disagrees");
    }

    let mut ours = Ours::new(&machine, K4, Bytes::gib(2), Bytes::gib(2));
    let half = MemoryRange { size: Bytes::new(PAGE), ..memory };
    let region = ours.engine.register(half, M2).expect("it can be pinned");
    let calls = ours.engine.calls().total();
    let beyond = ours.map(PAGE, region, PAGE, PAGE);
    let told = ours.engine.apply(ours.lease, &[beyond], NOW).expect_err("not registered");
    assert!(matches!(told, tce_engine::Error::Edit(EditRefusal::Region { .. })), "{told}");
    let misaligned = ours.unmap(1, PAGE);
    let told = ours.engine.apply(ours.lease, &[misaligned], NOW).expect_err("not whole pages");
    assert!(matches!(told, tce_engine::Error::Edit(EditRefusal::Claim { .. })), "{told}");
    assert_eq!(ours.engine.calls().total(), calls, "neither reached the kernel");
    ours.close(&machine);
}

/// QEMU resets the 1 GiB window of a guest with one call for each of its 262,144 TCEs; all that is mapped goes in one.
#[test]
fn qemu_resets_a_window_with_262_144_calls() {
    let mut machine = machine("powernv9");
    let memory = memory(&mut machine, Bytes::mib(4), Backing::Anonymous, K4);
    let gib = Bytes::gib(1);
    let tces = gib.pages_up(K4).raw();
    {
        let mut qemu = Qemu::new(bare(&machine), K4);
        assert_eq!(qemu.bare.register(memory), Raw::OK);
        let addresses: Vec<HostAddr> = (0..512).map(|page| part(memory, page << 12)).collect();
        qemu.put_list(Iova::new(0), &addresses);
        assert_eq!(qemu.bare.calls, 512, "for one hypercall");
        qemu.bare.calls = 0;
        qemu.clear(Iova::new(0), tces);
        assert_eq!(qemu.bare.calls, 262_144);
    }

    let mut ours = Ours::new(&machine, K4, Bytes::gib(2), Bytes::gib(2));
    let region = ours.engine.register(memory, K4).expect("it can be pinned");
    let list: Vec<Edit> =
        (0..512).map(|page| ours.map(page << 12, region, page << 12, 4096)).collect();
    ours.apply(&list);
    assert_eq!(ours.engine.calls().of(Operation::Map), 1);
    let far = ours.map(gib.raw() - 4096, region, 0, 4096);
    ours.apply(&[far]);
    let all = ours.unmap(0, gib.raw());
    ours.apply(&[all]);
    assert_eq!((ours.engine.calls().of(Operation::Unmap), machine.live_tces()), (1, 0));
    ours.close(&machine);
}

/// DPDK and QEMU look for the levels of a table by trying: each failure stays charged.
#[test]
fn levels_that_are_tried_out_leak_their_charge() {
    let machine = machine("powernv9");
    let size = Bytes::new(1 << 46);
    let locked =
        |machine: &SimMachine| machine.kernel().locked_memory().expect("it is told").locked;
    {
        let mut dpdk = Dpdk::new(bare(&machine), M2);
        assert_eq!(dpdk.create_window(size, 5), Some(Iova::new(0)));
    }
    assert_eq!(locked(&machine), Bytes::mib(512), "one level was tried, failed, and is paid for");

    let ours = Ours::new(&machine, M2, size, Bytes::gib(2));
    assert_eq!(ours.engine.leaked(), Bytes::ZERO);
    assert_eq!(ours.engine.calls().of(Operation::Create), 1);
    ours.close(&machine);
    assert_eq!(locked(&machine), Bytes::mib(512), "what DPDK left, and no more");
}

/// A map over live TCEs fails half-way: the kernel leaves nothing where something was.
#[test]
fn a_map_that_fails_half_way_takes_what_was_there_with_it() {
    for name in ["powernv9", "pseries"] {
        let mut machine = machine(name);
        let memory = memory(&mut machine, Bytes::mib(1), Backing::Anonymous, K4);
        let half = MemoryRange { size: Bytes::kib(512), ..memory };
        {
            let mut virtio = VirtioIommu::new(bare(&machine));
            assert_eq!(virtio.bare.register(half), Raw::OK);
            assert!(virtio.map(Iova::new(0), memory.address, Bytes::kib(16)));
            assert!(!virtio.map(Iova::new(0), memory.address, Bytes::kib(16)), "its own map knows");
            // What it does not know: the old mapping of another domain's code path, or after a reset.
            let failed = virtio.bare.map(Iova::new(0), part(memory, 0x7_e000), Bytes::kib(16));
            assert_ne!(failed, Raw::OK, "the last two pages are not registered");
            let left = (0..4)
                .filter_map(|page| machine.tce(virtio.bare.container(), Iova::new(page << 12)));
            assert_eq!(left.count(), 2, "of four; the two that it touched are empty");
        }

        let mut ours = Ours::new(&machine, K4, machine.profile().default_window, Bytes::gib(1));
        let region = ours.engine.register(half, K4).expect("it can be pinned");
        let old = ours.map(0, region, 0, 4 << 12);
        ours.apply(&[old]);
        let errno = tce_engine::errno::Errno::ENOMEM;
        machine.fail_next(tce_sim::Operation::Map, tce_sim::Fault::AfterTces { count: 2, errno });
        let new = ours.map(0, region, 64 << 12, 4 << 12);
        let failed = ours.engine.apply(ours.lease, &[new], NOW).expect_err("the kernel fails it");
        let tce_engine::Error::Batch(failure) = failed else { panic!("{failed}") };
        assert_eq!(failure.outcome, Undone::Restored);
        for page in 0..4 {
            assert_eq!(
                ours.reaches(&machine, page << 12),
                Some(part(memory, page << 12)),
                "{name}"
            );
        }
        ours.close(&machine);
    }
}

/// QEMU asks an LPAR for a table of two levels, and leaves the guest without a window.
#[test]
fn a_partition_makes_no_table_of_two_levels() {
    let machine = machine("pseries");
    let size = Bytes::gib(256);
    {
        let mut qemu = Qemu::new(bare(&machine), PageShift::K64);
        assert_eq!(qemu.create_window(Bytes::gib(512), K4), None);
    }
    let mut engine = Engine::open(machine.kernel()).expect("a container");
    engine.attach(machine.groups()[0]).expect("the group is free");
    let query = CandidateQuery { size_min: size, size_max: size, device_mask: Iova::new(!0) };
    let candidates = engine.layouts().expect("a backend").candidates(&query);
    assert!(!candidates.is_empty());
    assert!(candidates.iter().all(|candidate| candidate.table.levels == 1));
    let pages = Pages::new(1);
    assert!(candidates.iter().all(|it| pages.bytes(it.page).is_some()));
}
