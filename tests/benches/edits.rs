//! Kernel calls and time per TCE: contiguous, half-contiguous and random edits of 1 Mi TCEs through the engine, beside
//! the bare calls that have the same effect, and beside one call for each TCE, as peers make them.
//!
//! On the simulated kernel, so the calls themselves cost less than real ones; the counts are exact, and the ratios say
//! what the engine adds.

#![forbid(unsafe_code)]

use std::time::Duration;

use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift, Pages},
    edit::Edit,
    fault::Operation,
    kernel::{Kernel, MapCall, MemoryRange, Raw},
    layout::{CandidateQuery, Need, WindowChoice},
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, Machine as _, MemoryRequest},
    region::RegionId,
};
use tce_sim::{Profile, SimKernel, SimMachine};
use tce_tests::{clock::median, rig::seat};

const TCES: u64 = 1 << 20;
const TCES_U32: u32 = 1 << 20;
const RUNS: u32 = 5;
const PAGE: PageShift = PageShift::K4;
const NOW: Timestamp = Timestamp(0);

/// A permutation of pages.
type Order = fn(u64) -> u64;

/// A simulated machine with a window and a region of [`TCES`] pages.
struct Bench {
    engine: Engine<SimKernel>,
    kernel: SimKernel,
    lease: LeaseId,
    region: RegionId,
    memory: MemoryRange,
    start: Iova,
}

fn main() {
    // Cargo passes flags of its own, which mean nothing here.
    println!("edits of {TCES} TCEs, {PAGE} pages, simulated powernv9, median of {RUNS} runs");
    println!(
        "{:<16} {:>10} {:>10} {:>12} {:>12} {:>8} {:>12} {:>8}",
        "edits", "calls", "TCEs/call", "engine ns", "bare ns", "ratio", "1/TCE ns", "ratio"
    );
    for (name, order) in LOADS {
        measure(name, order);
    }
}

/// Which page of the memory each page of the window points to.
const LOADS: [(&str, Order); 3] =
    [("contiguous", contiguous), ("half-contiguous", half_contiguous), ("random", random)];

const fn contiguous(index: u64) -> u64 {
    index
}

/// Of four pages two stay together, and the two others are swapped with those of the block that mirrors theirs.
const fn half_contiguous(index: u64) -> u64 {
    let (block, place) = (index / 4, index % 4);
    if place < 2 { index } else { (TCES / 4 - 1 - block) * 4 + place }
}

/// A permutation without neighbours: multiplication by an odd number, modulo a power of two.
const fn random(index: u64) -> u64 {
    index.wrapping_mul(0x9e37_79b1) % TCES
}

fn measure(name: &str, order: Order) {
    let mut calls = 0;
    let engine = median(
        RUNS,
        || {
            let bench = Bench::new();
            let edits = bench.edits(order);
            (bench, edits)
        },
        |(mut bench, edits)| {
            bench.engine.apply(bench.lease, &edits, NOW).expect("the edits are valid");
            calls = bench.engine.calls().of(Operation::Map);
        },
    );
    let bare = median(RUNS, || Bench::new().with_plan(order), |(bench, plan)| bench.make(&plan));
    let single =
        median(RUNS, || Bench::new().with_singles(order), |(bench, plan)| bench.make(&plan));
    let per_tce = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(TCES_U32);
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "{name:<16} {calls:>10} {:>10} {:>12.2} {:>12.2} {:>8.2} {:>12.2} {:>8.2}",
        TCES / calls.max(1),
        per_tce(engine),
        per_tce(bare),
        ratio(engine, bare),
        per_tce(single),
        ratio(single, engine),
    );
}

impl Bench {
    fn new() -> Self {
        let mut machine = SimMachine::new(Profile::powernv9());
        let seat = seat(&machine).expect("the machine has an edu");
        let mut engine = Engine::open(machine.kernel()).expect("a container");
        engine.attach(seat.group).expect("a group");
        let size = Pages::new(TCES).bytes(PAGE).expect("it fits");
        // Slot 1: no reserved range in the way.
        let query =
            CandidateQuery { size_min: size, size_max: size, device_mask: Iova::new(u64::MAX) };
        let layouts = engine.layouts().expect("a backend");
        let found = layouts.candidates(&query).into_iter();
        let window = found
            .filter(|it| it.slot.number() == 1 && it.page == PAGE)
            .min_by_key(|it| it.table.levels)
            .expect("a window");
        let choice = WindowChoice {
            slot: window.slot,
            page: PAGE,
            size,
            fallback: None,
            levels: window.table.levels,
            needs: vec![Need { size, backing: PAGE, at: None }],
        };
        let grant = engine.grant_layout(&[choice]).expect("a layout");
        let window = engine.create_windows(grant).expect("a window")[0];
        let request = MemoryRequest { size, backing: Backing::Anonymous, align: PAGE };
        let memory = machine.allocate(&request).expect("memory");
        let region = engine.register(memory, PAGE).expect("a region");
        let grant = engine
            .grant_lease(LeaseRequest {
                holder: Holder::new("bench").expect("a name"),
                window,
                at: None,
                size,
                access: Access::ReadWrite,
                tces_max: TCES,
                expires: None,
                unmapping: tce_engine::lingering::Unmapping::Strict,
            })
            .expect("room");
        let start = grant.claim().start;
        let lease = engine.lease(grant).expect("a lease");
        Self { engine, kernel: machine.kernel(), lease, region, memory, start }
    }

    /// Page `index` of the window points to page `order(index)` of the memory, one edit for each.
    fn edits(&self, order: Order) -> Vec<Edit> {
        (0..TCES)
            .map(|index| Edit::Map {
                iova: self.start.checked_add(offset(index)).expect("it fits"),
                region: self.region,
                offset: offset(order(index)),
                size: PAGE.bytes(),
                access: Access::ReadWrite,
            })
            .collect()
    }

    /// The calls that the engine would make.
    fn with_plan(self, order: Order) -> (Self, Vec<MapCall>) {
        let plan = self.engine.plan(self.lease, &self.edits(order), NOW).expect("valid edits");
        let first = self.start;
        let calls = plan[0].plan.calls.iter().map(|call| {
            let tce_engine::plan::Action::Map { address, access } = call.action else {
                unreachable!("the edits only map")
            };
            MapCall {
                flags: access.flags(),
                address,
                iova: first.checked_add(offset(call.first)).expect("it fits"),
                size: Pages::new(call.pages).bytes(PAGE).expect("it fits"),
            }
        });
        let calls = calls.collect();
        (self, calls)
    }

    /// One call for each TCE.
    fn with_singles(self, order: Order) -> (Self, Vec<MapCall>) {
        let calls = (0..TCES).map(|index| MapCall {
            flags: Access::ReadWrite.flags(),
            address: self.memory.address.checked_add(offset(order(index))).expect("it fits"),
            iova: self.start.checked_add(offset(index)).expect("it fits"),
            size: PAGE.bytes(),
        });
        let calls = calls.collect();
        (self, calls)
    }

    fn make(mut self, calls: &[MapCall]) {
        let container = tce_engine::kernel::ContainerFd::new(self.engine.descriptor());
        for call in calls {
            assert_eq!(self.kernel.map(container, *call), Raw::OK);
        }
    }
}

fn offset(page: u64) -> Bytes {
    Pages::new(page).bytes(PAGE).expect("it fits")
}
