//! What a guest says, and may change at any moment.

use std::cell::{Cell, RefCell};

use tce_engine::{
    addr::{Bytes, GuestAddress, HostAddr, Iova, PageShift},
    kernel::{MemoryRange, Raw},
    machine::Machine as _,
    papr::{
        BusRequest, Buses, GuestMemory, GuestTce, Hypercall, Liobn, NotGuestMemory, Placement,
        ReturnCode,
    },
    region::RegionId,
};
use tce_sim::{SimKernel, SimMachine};
use tce_tests::peers::Bare;

use crate::bench::{NOW, Ours, PAGE, bare, machine, memory, part, reached};

const LIOBN: Liobn = Liobn(1);
const GUEST: Bytes = Bytes::mib(1);
/// Where the guest puts its list.
const LIST: u64 = 0x8_0000;
const READ_WRITE: u64 = 3;

/// Memory of the process, of which the first MiB is the guest's. What lies behind is registered for something else.
struct Memory {
    machine: SimMachine,
    all: MemoryRange,
    region: Option<RegionId>,
    /// What another processor of the guest's writes over its list once that was read.
    written_after_read: RefCell<Option<Vec<u64>>>,
}

impl Memory {
    fn new(machine: &SimMachine) -> Self {
        let all = memory(machine, Bytes::mib(2));
        let machine = machine.clone();
        Self { machine, all, region: None, written_after_read: RefCell::default() }
    }

    fn write_list(&self, tces: &[u64]) {
        let bytes: Vec<u8> = tces.iter().flat_map(|tce| tce.to_be_bytes()).collect();
        self.machine.clone().write_memory(part(self.all, LIST), &bytes).expect("it is ours");
    }

    fn read_list(&self, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count * 8];
        self.read(GuestAddress::new(LIST), &mut bytes).expect("guest memory");
        bytes.chunks_exact(8).map(|tce| u64::from_be_bytes(tce.try_into().expect("8"))).collect()
    }
}

impl GuestMemory for Memory {
    fn locate(&self, at: GuestAddress, _: Bytes) -> Result<Placement, NotGuestMemory> {
        let offset = Bytes::new(at.raw());
        let size = GUEST.checked_sub(offset).filter(|left| !left.is_zero());
        let region = self.region.ok_or(NotGuestMemory(at))?;
        Ok(Placement { region, offset, size: size.ok_or(NotGuestMemory(at))? })
    }

    fn read(&self, at: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory> {
        let read = self.machine.clone().read_memory(part(self.all, at.raw()), into);
        if let Some(tces) = self.written_after_read.take() {
            self.write_list(&tces);
        }
        read.map_err(|_| NotGuestMemory(at))
    }

    fn guest_address(&self, _: RegionId, offset: Bytes) -> Option<GuestAddress> {
        (offset < GUEST).then_some(GuestAddress::new(offset.raw()))
    }
}

/// A front end that reads a list to check it, and again to do it, under a lock that it forgets where it returns early.
struct Careless {
    bare: Bare<SimKernel>,
    is_locked: Cell<bool>,
}

/// A hypercall that does not come back.
#[derive(Debug, PartialEq, Eq)]
struct Hangs;

impl Careless {
    fn put_list(&mut self, memory: &Memory, count: usize) -> Result<ReturnCode, Hangs> {
        if self.is_locked.replace(true) {
            return Err(Hangs);
        }
        let is_guests = |tce: &u64| tce & !READ_WRITE < GUEST.raw();
        if !memory.read_list(count).iter().all(is_guests) {
            return Ok(ReturnCode::Parameter);
        }
        for (index, tce) in (0..).zip(memory.read_list(count)) {
            let address = part(memory.all, tce & !READ_WRITE);
            let _ = self.bare.map(Iova::new(index * PAGE), address, Bytes::new(PAGE));
        }
        self.is_locked.set(false);
        Ok(ReturnCode::Success)
    }
}

fn entry(page: u64) -> u64 {
    (page * PAGE) | READ_WRITE
}

/// The first page behind the guest's memory.
const SECRET: u64 = 256;

/// ddfd151f3def: a guest changed its list between two readings, and the early return that followed kept a lock.
#[test]
fn a_list_counts_as_it_was_read_and_no_refusal_holds_up_the_next_call() {
    let machine = machine("powernv9");
    {
        let memory = Memory::new(&machine);
        let mut careless = Careless { bare: bare(&machine), is_locked: Cell::new(false) };
        assert_eq!(careless.bare.register(memory.all), Raw::OK);
        memory.write_list(&[entry(1), entry(2)]);
        *memory.written_after_read.borrow_mut() = Some(vec![entry(1), entry(SECRET)]);
        assert_eq!(careless.put_list(&memory, 2), Ok(ReturnCode::Success));
        let found = reached(&machine, careless.bare.container(), Iova::new(PAGE));
        assert_eq!(found, Some(part(memory.all, GUEST.raw())), "memory that is not the guest's");
        assert_eq!(careless.put_list(&memory, 2), Ok(ReturnCode::Parameter));
        assert_eq!(careless.put_list(&memory, 2), Err(Hangs), "the lock is held by nobody");
    }

    let (mut ours, mut memory) = (Ours::new(&machine), Memory::new(&machine));
    memory.region = Some(ours.register(memory.all));
    let buses = bus(&ours, PageShift::K4);
    let call = Hypercall::PutTceIndirect {
        liobn: LIOBN.0.into(),
        ioba: ours.claim.start.raw(),
        list: LIST,
        count: 2,
    };
    let serve = |ours: &mut Ours| match buses.serve(&mut ours.engine, &memory, &call, NOW) {
        Ok(answer) => answer.code(),
        Err(failure) => failure.code(),
    };
    memory.write_list(&[entry(1), entry(2)]);
    *memory.written_after_read.borrow_mut() = Some(vec![entry(1), entry(SECRET)]);
    assert_eq!(serve(&mut ours), ReturnCode::Success);
    assert_eq!(ours.reaches(PAGE), Some(part(memory.all, 2 * PAGE)), "as it was read");
    assert_eq!(serve(&mut ours), ReturnCode::Parameter, "as it is now");
    assert_eq!(ours.reaches(PAGE), Some(part(memory.all, 2 * PAGE)));
    memory.write_list(&[entry(3), entry(4)]);
    assert_eq!(serve(&mut ours), ReturnCode::Success, "the next call is served");
    assert_eq!(ours.reaches(PAGE), Some(part(memory.all, 4 * PAGE)));
    ours.close();
}

fn bus(ours: &Ours, page: PageShift) -> Buses {
    let mut buses = Buses::default();
    let request = BusRequest { liobn: LIOBN, lease: ours.lease, claim: ours.claim, page };
    buses.add(&ours.engine, request, NOW).expect("the lease has it");
    buses
}

/// 26a62b750a4e: a guest's pages are larger than the window's, and its index was used for the hardware's.
#[test]
fn a_guests_index_is_not_the_windows() {
    let machine = machine("powernv9");
    let guest_page = PageShift::K64;
    let (index, page) = (3, guest_page.bytes().raw());
    let whole = |reaches: &dyn Fn(u64) -> Option<HostAddr>, memory: MemoryRange| {
        let expected = |small: u64| Some(part(memory, small * PAGE));
        (0..16).all(|small| reaches(index * page + small * PAGE) == expected(small))
    };
    {
        let memory = memory(&machine, GUEST);
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        let wrong = Iova::new(index * PAGE);
        assert_eq!(bare.map(wrong, memory.address, Bytes::new(page)), Raw::OK);
        let reaches = |at: u64| reached(&machine, bare.container(), Iova::new(at));
        assert!(!whole(&reaches, memory), "not where the guest's device looks");
        assert_eq!(reaches(index * PAGE), Some(memory.address), "but where another page is");
    }

    let (mut ours, mut memory) = (Ours::new(&machine), Memory::new(&machine));
    memory.region = Some(ours.register(memory.all));
    let buses = bus(&ours, guest_page);
    let put = |tce: u64| Hypercall::PutTce {
        liobn: LIOBN.0.into(),
        ioba: ours.claim.start.raw() + index * page,
        tce: GuestTce::new(tce),
    };
    let (map, unmap) = (put(READ_WRITE), put(0));
    buses.serve(&mut ours.engine, &memory, &map, NOW).expect("nothing speaks against it");
    assert!(whole(&|at| ours.reaches(at), memory.all));
    assert_eq!(machine.live_tces(), 16, "and nowhere else");
    buses.serve(&mut ours.engine, &memory, &unmap, NOW).expect("nothing speaks against it");
    assert_eq!(machine.live_tces(), 0);
    ours.close();
}
