//! Our own engine, noted call by call: nothing to be found.

use std::sync::{Arc, Mutex};

use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift},
    edit::Edit,
    facts::Slot,
    kernel::{Kernel, MemoryRange},
    layout::WindowChoice,
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, Machine, MemoryRequest},
    region::RegionId,
    window::{Claim, WindowId},
};
use tce_sim::{Profile, SimMachine};
use tce_trace::{
    event::Event,
    kernel::NotedKernel,
    lint::{Report, lint},
    trace::Trace,
};

const NOW: Timestamp = Timestamp(1);

/// A lease with memory of its own.
struct Tenant {
    lease: LeaseId,
    region: RegionId,
    start: Iova,
    page: PageShift,
}

impl Tenant {
    fn at(&self, index: u64) -> Iova {
        self.start.checked_add(self.bytes(index)).unwrap()
    }

    fn bytes(&self, pages: u64) -> Bytes {
        Bytes::new(pages << self.page.raw())
    }

    fn map(&self, index: u64, pages: u64, memory: u64) -> Edit {
        Edit::Map {
            iova: self.at(index),
            region: self.region,
            offset: self.bytes(memory),
            size: self.bytes(pages),
            access: Access::ReadWrite,
        }
    }

    fn unmap(&self, index: u64, pages: u64) -> Edit {
        Edit::Unmap(Claim { start: self.at(index), size: self.bytes(pages) })
    }
}

fn tenant<K: Kernel>(
    engine: &mut Engine<K>,
    memory: MemoryRange,
    backing: PageShift,
    window: WindowId,
    size: Bytes,
) -> Tenant {
    let region = engine.register(memory, backing).unwrap();
    let request = LeaseRequest::new(Holder::new("tenant").unwrap(), window, size);
    let grant = engine.grant_lease(request).unwrap();
    let lease = engine.lease(grant).unwrap();
    let start = engine.leases().get(lease).unwrap().home().claim.start;
    let state = engine.windows().find(|state| state.window().id == window).unwrap();
    Tenant { lease, region, start, page: state.window().page }
}

/// Two windows, a lease in each, batches that map, unmap and move, one lease revoked, then all taken down.
fn run(profile: Profile) -> Report {
    let mut machine = SimMachine::new(profile);
    let events = Arc::new(Mutex::new(Vec::<Event>::new()));
    let sink = Arc::clone(&events);
    let kernel = NotedKernel::new(machine.kernel(), move |event| sink.lock().unwrap().push(event));
    let header = kernel.header(vec!["ours".to_owned()]);
    let mut allocate =
        |size, backing, align| machine.allocate(&MemoryRequest { size, backing, align }).unwrap();
    let page = header.page_shift().unwrap();
    let small = allocate(Bytes::mib(4), Backing::Anonymous, page);
    let huge = allocate(Bytes::mib(16), Backing::Hugetlb(PageShift::M2), PageShift::M2);
    let mut engine = Engine::open(kernel).unwrap();
    let group = machine.groups()[0];
    engine.attach(group).unwrap();
    engine.open_device(group, &machine.devices_of(group)[0].address).unwrap();
    let choice = |slot, page, size| WindowChoice {
        slot,
        page,
        size,
        fallback: None,
        levels: 1,
        needs: Vec::new(),
    };
    let choices = [
        choice(Slot::Zero, PageShift::K4, Bytes::mib(16)),
        choice(Slot::One, PageShift::M2, Bytes::mib(64)),
    ];
    let grant = engine.grant_layout(&choices).unwrap();
    let windows = engine.create_windows(grant).unwrap();
    let low = tenant(&mut engine, small, page, windows[0], Bytes::mib(4));
    let high = tenant(&mut engine, huge, PageShift::M2, windows[1], Bytes::mib(32));
    engine.apply(low.lease, &[low.map(0, 64, 0), low.map(64, 64, 64)], NOW).unwrap();
    engine.apply(high.lease, &[high.map(0, 8, 0)], NOW).unwrap();
    for turn in 0..32 {
        let edits = [low.unmap(turn, 1), low.map(128 + turn, 1, 128 + turn)];
        engine.apply(low.lease, &edits, NOW).unwrap();
    }
    engine.apply(high.lease, &[high.unmap(2, 3)], NOW).unwrap();
    engine.revoke(low.lease).unwrap();
    engine.close().unwrap();
    let events = events.lock().unwrap();
    assert!(events.len() > 80, "{}", events.len());
    lint(&Trace::of(&header, &events).unwrap()).unwrap()
}

#[test]
fn a_run_of_our_engine_has_no_finding() {
    for name in ["powernv9", "powernv9-64k", "powernv10", "pseries", "pseries-64k"] {
        let report = run(Profile::named(name).unwrap());
        assert_eq!(report.findings, [], "{name}");
        assert_eq!(report.disagreed, 0, "{name}: {:?}", report.disagreements);
        assert!(report.unchecked.is_empty());
        assert!(report.calls["map"].made > 30 && report.calls["create"].made == 2);
    }
}
