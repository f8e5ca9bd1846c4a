//! The scene of a guest's TCE hypercalls.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::{Bytes, GuestAddress, Iova, PageShift},
    lingering::Unmapping,
    machine::Machine,
    papr::{
        Answer, BusRequest, Buses, Failure, GuestMemory, GuestTce, Hypercall, Liobn,
        NotGuestMemory, Placement, ReturnCode,
    },
    region::RegionId,
    window::Claim,
};

use crate::{
    rig::NOW,
    spoiled::Spoil,
    stage::{Memory, Stage, TceCalls},
};

const LIOBN: Liobn = Liobn(0x8000_0001);
/// The guest's page: sixteen TCEs of the default window.
const GUEST_PAGE: PageShift = PageShift::K64;
/// The guest's memory and its bus, in its pages.
const PAGES: u64 = 16;
/// The page whose first bytes are the guest's list.
const LIST: u64 = 15;
const READ_WRITE: u64 = 3;

/// A guest's list becomes the fewest calls, and all of it is done or nothing: not where it is wrong in its middle, not
/// where the kernel fails one of its calls. Its whole table is cleared by one call.
///
/// # Errors
/// What did not come out so.
pub fn a_guests_list_is_done_wholly_or_not_at_all<M: Machine>(
    stage: &mut Stage<'_, M>,
) -> Result<()> {
    let mut guest = Guest::new(stage)?;
    let rising: Vec<u64> = (0..8).map(entry).collect();
    guest.put(0, &rising, ReturnCode::Success, TceCalls { map: 1, unmap: 0 })?;
    guest.stage.load_stamp(guest.iova(0, 0)?, guest.memory.at(page_start(0)))?;
    guest.leads(0, 0, 0).context("the first TCE of a list")?;
    guest.leads(7, 7, 15).context("the last TCE of a list")?;

    let falling: Vec<u64> = (0..8).rev().map(entry).collect();
    guest.put(0, &falling, ReturnCode::Success, TceCalls { map: 8, unmap: 0 })?;
    guest.leads(0, 7, 0).context("a list that replaces another")?;
    guest.leads(7, 0, 15).context("a list that replaces another")?;

    let mut wrong = rising.clone();
    wrong[5] = entry(PAGES);
    guest.put(0, &wrong, ReturnCode::Parameter, TceCalls::default())?;
    guest.leads(0, 7, 15).context("after a list with a wrong entry")?;

    // Every other entry is new, so each takes a call; the third one fails, and the two before it are put back.
    let scattered = [2, 6, 0, 4, 1].map(entry);
    let stranger = guest.stage.allocate(GUEST_PAGE.bytes())?.address;
    guest.stage.saboteur.spoil([None, None, Some(Spoil::Memory(stranger))]);
    guest.put(0, &scattered, ReturnCode::Hardware, TceCalls { map: 6, unmap: 0 })?;
    for (at, page) in [(0, 7), (1, 6), (2, 5), (3, 4)] {
        guest.leads(at, page, 3).context("after a list that failed in its middle")?;
    }
    guest.reads(3, entry(4))?;

    let stuff = Hypercall::StuffTce {
        liobn: LIOBN.0.into(),
        ioba: guest.start.raw(),
        tce: GuestTce::default(),
        count: PAGES,
    };
    guest.call(&stuff, ReturnCode::Success, TceCalls { map: 0, unmap: 1 })?;
    for at in [0, 7] {
        let iova = guest.iova(at, 0)?;
        let was = guest.memory.at(page_start(7 - at));
        guest.stage.leads_nowhere(iova, was).context("after the whole table was cleared")?;
    }
    guest.reads(3, 0)?;
    Ok(())
}

/// A TCE of the guest's that maps one of its pages.
fn entry(page: u64) -> u64 {
    page_start(page).raw() | READ_WRITE
}

fn page_start(page: u64) -> Bytes {
    Bytes::new(page * GUEST_PAGE.bytes().raw())
}

/// A guest with a bus in the default window, all of whose memory is one region.
struct Guest<'s, 'm, M: Machine> {
    stage: &'s mut Stage<'m, M>,
    buses: Buses,
    memory: Memory,
    start: Iova,
}

impl<'s, 'm, M: Machine> Guest<'s, 'm, M> {
    fn new(stage: &'s mut Stage<'m, M>) -> Result<Self> {
        let window = stage.default_window()?;
        let size = page_start(PAGES);
        let range = stage.allocate(size)?;
        let memory = Memory { range, region: stage.engine.register(range, stage.page())? };
        let (lease, claim) = stage.lease(window, size, Unmapping::Strict)?;
        let mut buses = Buses::default();
        let request = BusRequest { liobn: LIOBN, lease, claim, page: GUEST_PAGE };
        buses.add(&stage.engine, request, NOW)?;
        let Claim { start, .. } = claim;
        Ok(Self { stage, buses, memory, start })
    }

    /// The bus address of a small TCE in a page of the guest's.
    fn iova(&self, page: u64, small: u64) -> Result<Iova> {
        let offset = page_start(page).raw() + small * PageShift::K4.bytes().raw();
        self.start.checked_add(Bytes::new(offset)).context("inside the bus")
    }

    /// A device finds a page of the guest's memory at a page of its bus.
    fn leads(&mut self, at: u64, page: u64, small: u64) -> Result<()> {
        let offset = page_start(page).raw() + small * PageShift::K4.bytes().raw();
        let iova = self.iova(at, small)?;
        self.stage.leads(iova, self.memory.at(Bytes::new(offset)))
    }

    /// `H_PUT_TCE_INDIRECT` from a page of the bus on.
    fn put(
        &mut self,
        first: u64,
        entries: &[u64],
        code: ReturnCode,
        expected: TceCalls,
    ) -> Result<()> {
        let list: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        let at = page_start(LIST);
        self.stage.machine.write_memory(self.memory.at(at), &list)?;
        let put = Hypercall::PutTceIndirect {
            liobn: LIOBN.0.into(),
            ioba: self.iova(first, 0)?.raw(),
            list: at.raw(),
            count: u64::try_from(entries.len())?,
        };
        self.call(&put, code, expected)
    }

    /// `H_GET_TCE` says this.
    fn reads(&mut self, page: u64, expected: u64) -> Result<()> {
        let get = Hypercall::GetTce { liobn: LIOBN.0.into(), ioba: self.iova(page, 0)?.raw() };
        let answer = self.serve(&get)?;
        let tce = GuestTce::new(expected);
        ensure!(answer == Answer::Tce(tce), "the TCE reads {answer:?}, not {tce}");
        Ok(())
    }

    /// The guest makes a call, which has this answer and takes these calls of the kernel's.
    fn call(&mut self, call: &Hypercall, code: ReturnCode, expected: TceCalls) -> Result<()> {
        let before = self.stage.calls();
        let served = self.serve(call);
        let told = served.as_ref().map_or_else(Failure::code, Answer::code);
        ensure!(told == code, "{call:?} gave {served:?}");
        let made = self.stage.calls_since(before);
        ensure!(made == expected, "{call:?} took {made:?}");
        Ok(())
    }

    fn serve(&mut self, call: &Hypercall) -> Result<Answer, Failure> {
        let Self { stage, buses, memory, .. } = self;
        let guest = GuestView { machine: RefCell::new(&mut *stage.machine), memory: *memory };
        buses.serve(&mut stage.engine, &guest, call, NOW)
    }
}

/// The guest's memory, as its VMM sees it.
struct GuestView<'m, M> {
    machine: RefCell<&'m mut M>,
    memory: Memory,
}

impl<M: Machine> GuestMemory for GuestView<'_, M> {
    fn locate(&self, at: GuestAddress, _: Bytes) -> Result<Placement, NotGuestMemory> {
        let offset = Bytes::new(at.raw());
        let left = self.memory.range.size.checked_sub(offset).filter(|left| !left.is_zero());
        let size = left.ok_or(NotGuestMemory(at))?;
        Ok(Placement { region: self.memory.region, offset, size })
    }

    fn read(&self, at: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory> {
        let from = self.memory.range.address.checked_add(Bytes::new(at.raw()));
        let from = from.ok_or(NotGuestMemory(at))?;
        let read = self.machine.borrow_mut().read_memory(from, into);
        read.map_err(|_| NotGuestMemory(at))
    }

    fn guest_address(&self, region: RegionId, offset: Bytes) -> Option<GuestAddress> {
        (region == self.memory.region).then(|| GuestAddress::new(offset.raw()))
    }
}
