//! A guest on a simulated machine.

use std::{cell::Cell, collections::BTreeMap};

use tce_engine::{
    Engine,
    access::Access,
    addr::{Bytes, GuestAddress, Iova, PageShift},
    facts::Slot,
    fault::Operation,
    kernel::{MemoryRange, Platform},
    lease::{LeaseId, Quota},
    machine::{Backing, Machine},
    papr::{
        Answer, Bus, BusRequest, Buses, Failure, GuestMemory, GuestTce, Hypercall, Liobn,
        NotGuestMemory, Placement, ReturnCode,
    },
    region::RegionId,
    window::Claim,
};
use tce_sim::{SimKernel, SimMachine, TceAccess, TceView};

use crate::bench::{Bench, HIGH, NOW, request};

/// What the guest calls its bus.
pub(crate) const LIOBN: u64 = 0x8000_0001;
/// Where it puts its lists.
pub(crate) const LIST: u64 = 0x10_0000;
/// Where its first slice of memory ends and the second one, which is elsewhere in the host, begins.
pub(crate) const SEAM: u64 = 4 << 20;
/// Where its memory ends.
pub(crate) const MEMORY_END: u64 = 6 << 20;

/// How a guest is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) profile: &'static str,
    pub(crate) window_page: PageShift,
    pub(crate) guest_page: PageShift,
    pub(crate) window_size: Bytes,
    /// TCEs of the guest's bus; absent: all of the window.
    pub(crate) tces: Option<u64>,
    pub(crate) access: Access,
    pub(crate) tces_max: u64,
}

impl Setup {
    pub(crate) const fn new(
        profile: &'static str,
        window_page: PageShift,
        guest_page: PageShift,
    ) -> Self {
        let window_size = Bytes::mib(64);
        let (tces, access, tces_max) = (None, Access::ReadWrite, u64::MAX);
        Self { profile, window_page, guest_page, window_size, tces, access, tces_max }
    }

    /// Both platforms, both system pages; guest pages as large as the window's and larger.
    pub(crate) const ALL: [Self; 8] = {
        const K4: PageShift = PageShift::K4;
        const K64: PageShift = PageShift::K64;
        [
            Self::new("powernv9", K4, K4),
            Self::new("powernv9", K4, K64),
            Self::new("powernv9-64k", K4, K4),
            Self::new("powernv9-64k", K64, K64),
            Self::new("pseries", K4, K4),
            Self::new("pseries", K4, K64),
            Self::new("pseries-64k", K4, K64),
            Self::new("pseries-64k", K64, K64),
        ]
    };
}

/// A part of the guest's memory, all of one region.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) start: u64,
    pub(crate) host: MemoryRange,
    pub(crate) region: RegionId,
}

/// The guest's memory, which counts how often it is read.
pub(crate) struct Memory {
    machine: SimMachine,
    pub(crate) slices: Vec<Slice>,
    pub(crate) reads: Cell<u64>,
    /// What another of the guest's processors writes over what was just read.
    pub(crate) written_after_read: Option<Vec<u8>>,
}

impl Memory {
    fn slice_at(&self, at: GuestAddress) -> Result<(&Slice, Bytes), NotGuestMemory> {
        let offset = |slice: &Slice| at.offset_from(GuestAddress::new(slice.start));
        let inside = |slice: &Slice| offset(slice).filter(|offset| *offset < slice.host.size);
        let mut found = self.slices.iter().filter_map(|slice| Some((slice, inside(slice)?)));
        found.next().ok_or(NotGuestMemory(at))
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let (slice, offset) = self.slice_at(GuestAddress::new(at)).expect("guest memory");
        let address = slice.host.address.checked_add(offset).expect("it fits");
        self.machine.clone().write_memory(address, bytes).expect("it is ours");
    }

    pub(crate) fn host_of(&self, at: GuestAddress) -> Option<tce_engine::addr::HostAddr> {
        let (slice, offset) = self.slice_at(at).ok()?;
        slice.host.address.checked_add(offset)
    }
}

impl GuestMemory for Memory {
    fn locate(&self, at: GuestAddress, _: Bytes) -> Result<Placement, NotGuestMemory> {
        let (slice, offset) = self.slice_at(at)?;
        let size = slice.host.size.checked_sub(offset).expect("inside");
        Ok(Placement { region: slice.region, offset, size })
    }

    fn read(&self, at: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory> {
        self.reads.set(self.reads.get() + 1);
        let address = self.host_of(at).ok_or(NotGuestMemory(at))?;
        let read = self.machine.clone().read_memory(address, into);
        read.map_err(|_| NotGuestMemory(at))?;
        if let Some(bytes) = &self.written_after_read {
            self.write(at.raw(), bytes);
        }
        Ok(())
    }

    fn guest_address(&self, region: RegionId, offset: Bytes) -> Option<GuestAddress> {
        let slice = self.slices.iter().find(|slice| slice.region == region)?;
        GuestAddress::new(slice.start).checked_add(offset)
    }
}

/// A guest with 6 MiB of memory in two slices and a bus over a window at 1 << 59.
pub(crate) struct Guest {
    pub(crate) bench: Bench,
    pub(crate) buses: Buses,
    pub(crate) memory: Memory,
    pub(crate) lease: LeaseId,
    pub(crate) setup: Setup,
}

impl Guest {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut bench = Bench::named(setup.profile);
        let window = bench.window(Slot::One, setup.window_page, setup.window_size);
        let wanted = tce_engine::LeaseRequest {
            access: setup.access,
            quota: Quota::of_tces(setup.tces_max),
            ..request(window, setup.window_size)
        };
        let lease = bench.try_lease(wanted).expect("there is room");
        let slices = [(0, 4), (SEAM, 2)].map(|(start, size)| {
            // A gap, so that the host's memory does not follow on where the guest's does.
            bench.memory(Bytes::mib(2), Backing::Anonymous);
            let (region, host) = bench.region(Bytes::mib(size));
            Slice { start, host, region }
        });
        let machine = bench.machine.clone();
        let memory = Memory {
            machine,
            slices: slices.into(),
            reads: Cell::new(0),
            written_after_read: None,
        };
        let mut guest = Self { bench, buses: Buses::default(), memory, lease, setup };
        let size = setup.tces.map(|tces| guest.bytes(tces));
        let claim = Claim { start: Iova::new(HIGH), size: size.unwrap_or(setup.window_size) };
        let bus = BusRequest { liobn: liobn(), lease, claim, page: setup.guest_page };
        guest.buses.add(&guest.bench.engine, bus, NOW).expect("the lease has it");
        guest
    }

    pub(crate) fn bus(&self) -> &Bus {
        self.buses.get(liobn()).expect("it was added")
    }

    pub(crate) fn engine(&mut self) -> &mut Engine<SimKernel> {
        &mut self.bench.engine
    }

    pub(crate) fn page_bytes(&self) -> u64 {
        self.setup.guest_page.bytes().raw()
    }

    pub(crate) fn bytes(&self, pages: u64) -> Bytes {
        Bytes::new(pages * self.page_bytes())
    }

    /// The bus address of a TCE of the guest.
    pub(crate) fn ioba(&self, index: u64) -> u64 {
        HIGH + index * self.page_bytes()
    }

    /// A TCE that maps a page of the guest's memory for reading and writing.
    pub(crate) fn tce(&self, page: u64) -> u64 {
        (page * self.page_bytes()) | 3
    }

    pub(crate) fn serve(&mut self, call: &Hypercall) -> Result<Answer, Failure> {
        self.buses.serve(&mut self.bench.engine, &self.memory, call, NOW)
    }

    pub(crate) fn code(&mut self, call: &Hypercall) -> ReturnCode {
        match self.serve(call) {
            Ok(answer) => answer.code(),
            Err(failure) => failure.code(),
        }
    }

    pub(crate) fn put(&mut self, index: u64, tce: u64) -> ReturnCode {
        let call =
            Hypercall::PutTce { liobn: LIOBN, ioba: self.ioba(index), tce: GuestTce::new(tce) };
        self.code(&call)
    }

    pub(crate) fn put_list(&mut self, index: u64, tces: &[u64]) -> ReturnCode {
        let call = self.list_call(index, tces);
        self.code(&call)
    }

    /// Writes a list and makes the call for it.
    pub(crate) fn list_call(&self, index: u64, tces: &[u64]) -> Hypercall {
        self.memory.write(LIST, &list_bytes(tces));
        let count = u64::try_from(tces.len()).expect("it is short");
        Hypercall::PutTceIndirect { liobn: LIOBN, ioba: self.ioba(index), list: LIST, count }
    }

    pub(crate) fn stuff(&mut self, index: u64, count: u64) -> ReturnCode {
        let tce = GuestTce::default();
        self.code(&Hypercall::StuffTce { liobn: LIOBN, ioba: self.ioba(index), tce, count })
    }

    pub(crate) fn get(&mut self, index: u64) -> (ReturnCode, Option<u64>) {
        let call = Hypercall::GetTce { liobn: LIOBN, ioba: self.ioba(index) };
        match self.serve(&call) {
            Ok(answer) => (answer.code(), answer.value()),
            Err(failure) => (failure.code(), None),
        }
    }

    /// `MAP_DMA` and `UNMAP_DMA` calls that are made meanwhile.
    pub(crate) fn calls_of<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> (T, (u64, u64)) {
        let before = self.calls();
        let done = work(self);
        let after = self.calls();
        (done, (after.0 - before.0, after.1 - before.1))
    }

    fn calls(&self) -> (u64, u64) {
        let calls = self.bench.engine.calls();
        (calls.of(Operation::Map), calls.of(Operation::Unmap))
    }

    /// What devices may do with a page, once the kernel has it.
    pub(crate) fn made(&self, access: Access) -> TceAccess {
        match (access, self.bench.engine.system().platform) {
            (Access::Read, _) => TceAccess::Read,
            (Access::Write, Platform::Pseries) => TceAccess::Write,
            (Access::Write, Platform::Powernv) | (Access::ReadWrite, _) => TceAccess::ReadWrite,
        }
    }

    /// The simulated hardware has what the guest's TCEs say, and nothing else.
    #[track_caller]
    pub(crate) fn assert_hardware(&self, tces: &BTreeMap<u64, (GuestAddress, Access)>) {
        let step = self.setup.window_page.bytes().raw();
        let pages = tces.iter().flat_map(|(index, (address, access))| {
            (0..self.page_bytes()).step_by(usize::try_from(step).expect("it fits")).map(
                move |offset| {
                    let at = address.checked_add(Bytes::new(offset)).expect("guest memory");
                    let address = self.memory.host_of(at).expect("guest memory");
                    let view = TceView { address, access: self.made(*access) };
                    (self.ioba(*index) + offset, view)
                },
            )
        });
        let expected: BTreeMap<u64, TceView> = pages.collect();
        assert_eq!(self.hardware(), expected);
        assert_eq!(self.bench.machine.host_corruption(), None);
    }

    /// Every TCE that is set in the window, by bus address.
    fn hardware(&self) -> BTreeMap<u64, TceView> {
        let (container, size) = (self.bench.container(), self.setup.window_size);
        let runs = self.bench.machine.mapped_runs(container, Iova::new(HIGH), size, usize::MAX);
        let tces = runs.iter().flat_map(|run| {
            let step = run.page_shift.bytes().raw();
            (0..run.memory.size.raw() / step).map(move |n| {
                let offset = Bytes::new(n * step);
                let address = run.memory.address.checked_add(offset).expect("it fits");
                (run.iova.raw() + n * step, TceView { address, access: run.access })
            })
        });
        tces.collect()
    }
}

pub(crate) fn liobn() -> Liobn {
    Liobn::of_register(LIOBN).expect("32 bits")
}

/// A list as it lies in guest memory.
pub(crate) fn list_bytes(tces: &[u64]) -> Vec<u8> {
    tces.iter().flat_map(|tce| tce.to_be_bytes()).collect()
}
