//! What [`Engine::apply`] costs beside its kernel calls, on the simulated kernel.

use std::{hint::black_box, time::Duration};

use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift, Pages},
    edit::Edit,
    facts::Slot,
    kernel::{ContainerFd, Kernel, MapCall, MemoryRange, Raw},
    layout::{Need, WindowChoice},
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, Machine as _, MemoryRequest},
    region::RegionId,
};
use tce_sim::{Profile, SimKernel, SimMachine};

use super::{
    candidate::PAGE,
    measure::{Effort, median, ns_each, scattered, time},
};

const NOW: Timestamp = Timestamp(0);
/// TCEs of the window, and pages of the memory.
const WINDOW: u64 = 1 << 16;

/// A load: each edit maps one TCE.
struct Load {
    name: &'static str,
    /// Edits of a batch.
    edits: u64,
    /// The calls that a batch takes.
    calls: u64,
    /// The page of memory that the TCE of a number shall point to, in a round.
    page: fn(tce: u64, round: u64) -> u64,
    /// How many TCEs there are from an edit to the next one.
    stride: u64,
}

const LOADS: [Load; 5] = [
    Load { name: "1 edit", edits: 1, calls: 1, page: apart, stride: 1 },
    Load { name: "512 edits, one run", edits: 512, calls: 1, page: in_order, stride: 1 },
    Load { name: "512 edits, no two together", edits: 512, calls: 512, page: apart, stride: 1 },
    Load { name: "512 edits, strided", edits: 512, calls: 512, page: in_order, stride: 16 },
    Load { name: "16384 edits, one run", edits: 1 << 14, calls: 1, page: in_order, stride: 1 },
];

/// Pages in a row, other ones in each round.
const fn in_order(tce: u64, round: u64) -> u64 {
    (tce + round) % WINDOW
}

/// Pages of which no two in a row go together.
const fn apart(tce: u64, round: u64) -> u64 {
    scattered(tce << 32 | round) % WINDOW
}

pub(crate) fn measure(effort: Effort) {
    println!(
        "\nEngine::apply on the simulated kernel, and the same calls made bare; ns per batch\n"
    );
    println!(
        "{:<28} {:>7} {:>10} {:>10} {:>10} {:>12}",
        "batch", "calls", "apply", "bare", "more", "more/edit"
    );
    let mut bench = Bench::new();
    for load in &LOADS {
        bench.measure(load, effort);
    }
}

struct Bench {
    engine: Engine<SimKernel>,
    kernel: SimKernel,
    container: ContainerFd,
    memory: MemoryRange,
    region: RegionId,
    lease: LeaseId,
    start: Iova,
}

impl Bench {
    fn new() -> Self {
        let mut machine = SimMachine::new(Profile::powernv9());
        let mut engine = Engine::open(machine.kernel()).expect("a fresh machine");
        let group = machine.groups()[0];
        engine.attach(group).expect("the group is free");
        let device = &machine.devices_of(group)[0].address;
        engine.open_device(group, device).expect("the device is VFIO's");
        let size = bytes(WINDOW);
        let request = MemoryRequest { size, backing: Backing::Anonymous, align: PageShift::K64 };
        let memory = machine.allocate(&request).expect("there is memory");
        let region = engine.register(memory, PageShift::K64).expect("it is memory of ours");
        let needs = vec![Need { size, backing: PageShift::K64, at: None }];
        let (slot, page) = (Slot::One, PAGE);
        let choice = WindowChoice { slot, page, size, fallback: None, levels: 1, needs };
        let grant = engine.grant_layout(&[choice]).expect("the slot is free");
        let windows = engine.create_windows(grant).expect("there is memory");
        let holder = Holder::new("bench").expect("a name");
        let request = LeaseRequest::new(holder, windows[0], size);
        let grant = engine.grant_lease(request).expect("the window is free");
        let start = grant.claim().start;
        let lease = engine.lease(grant).expect("it was granted");
        let container = ContainerFd::new(engine.descriptor());
        Self { kernel: machine.kernel(), engine, container, memory, region, lease, start }
    }

    fn measure(&mut self, load: &Load, effort: Effort) {
        let rounds = if effort == Effort::Full { (1 << 20) / load.edits.max(64) } else { 2 };
        let (mut ours, mut bare): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let edits = self.edits(load, round);
            ours.push(time(|| self.apply(&edits)));
            let calls = self.calls(load, round);
            bare.push(time(|| self.make(&calls)));
        }
        let (ours, bare) = (ns_each(median(ours), 1), ns_each(median(bare), 1));
        let edits = u32::try_from(load.edits).expect("it is small");
        println!(
            "{:<28} {:>7} {ours:>10.0} {bare:>10.0} {:>10.0} {:>12.1}",
            load.name,
            load.calls,
            ours - bare,
            (ours - bare) / f64::from(edits),
        );
    }

    fn edits(&self, load: &Load, round: u64) -> Vec<Edit> {
        let edit = |number: u64| Edit::Map {
            iova: self.iova(number * load.stride),
            region: self.region,
            offset: bytes((load.page)(number, round)),
            size: PAGE.bytes(),
            access: Access::ReadWrite,
        };
        (0..load.edits).map(edit).collect()
    }

    fn calls(&self, load: &Load, round: u64) -> Vec<MapCall> {
        let size = bytes(load.edits / load.calls);
        let call = |number: u64| {
            let tce = number * load.edits / load.calls;
            let offset = bytes((load.page)(tce, round));
            let address = self.memory.address.checked_add(offset).expect("inside");
            let iova = self.iova(tce * load.stride);
            MapCall { flags: Access::ReadWrite.flags(), address, iova, size }
        };
        (0..load.calls).map(call).collect()
    }

    fn iova(&self, tce: u64) -> Iova {
        self.start.checked_add(bytes(tce)).expect("inside the window")
    }

    fn apply(&mut self, edits: &[Edit]) {
        let applied = self.engine.apply(self.lease, edits, NOW).expect("all are right");
        black_box(applied);
    }

    fn make(&mut self, calls: &[MapCall]) {
        for call in calls {
            assert_eq!(self.kernel.map(self.container, *call), Raw::OK);
        }
    }
}

fn bytes(pages: u64) -> Bytes {
    Pages::new(pages).bytes(PAGE).expect("it is small")
}
