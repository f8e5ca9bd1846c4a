//! From a hypercall to edits, without an engine: everything about the guest's registers, its list and its memory is
//! checked here.

use super::{
    Bus, Buses, GuestMemory, GuestTce, Hypercall, HypercallRefusal, LIST_TCES_MAX, Liobn,
    NotGuestMemory, Placement, tce::Meaning,
};
use crate::{
    access::Access,
    addr::{Bytes, GuestAddress, PageShift, Pages},
    edit::{BATCH_EDITS_MAX, Edit},
    lease::LeaseId,
    window::{Claim, WindowId},
};

const TCE_BYTES: usize = size_of::<u64>();
/// A list begins on a border of its own greatest size, so it never crosses one.
const LIST_ALIGNMENT: PageShift = PageShift::K4;

/// What a hypercall asks of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The lease that it is about.
    pub lease: LeaseId,
    /// The window that it is about.
    pub window: WindowId,
    /// What shall be done there.
    pub wanted: Wanted,
}

/// What a guest wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Edits in ascending order, all or none. There are none if there is nothing to do.
    Edits(Vec<Edit>),
    /// To know what is mapped in this page of its own.
    Reading(Claim),
}

impl Buses {
    /// Checks a hypercall in full and says what it asks of the engine. A list is read once.
    ///
    /// # Errors
    /// [`HypercallRefusal`], upon which nothing of the call may be done.
    pub fn translate(
        &self,
        call: &Hypercall,
        memory: &impl GuestMemory,
    ) -> Result<Request, HypercallRefusal> {
        let bus = self.bus_of(call)?;
        let wanted = match *call {
            Hypercall::GetTce { ioba, .. } => Wanted::Reading(bus.range(ioba, 1)?),
            Hypercall::PutTce { ioba, tce, .. } => {
                Wanted::Edits(edits_of(bus.request().page, bus.range(ioba, 1)?, &[tce], memory)?)
            }
            Hypercall::PutTceIndirect { ioba, list, count, .. } => {
                let list = check_list(GuestAddress::new(list), count)?;
                let range = bus.range(ioba, count)?;
                let tces = read_list(memory, list, count)?;
                Wanted::Edits(edits_of(bus.request().page, range, &tces, memory)?)
            }
            Hypercall::StuffTce { ioba, tce, count, .. } => {
                let range = bus.range(ioba, count)?;
                if tce.is_mapping() {
                    return Err(HypercallRefusal::StuffedMapping(tce));
                }
                let is_nothing = range.size.is_zero();
                Wanted::Edits(if is_nothing { Vec::new() } else { vec![Edit::Unmap(range)] })
            }
        };
        Ok(Request { lease: bus.request().lease, window: bus.window(), wanted })
    }

    fn bus_of(&self, call: &Hypercall) -> Result<&Bus, HypercallRefusal> {
        let liobn = call.liobn();
        let is_list = matches!(call, Hypercall::PutTceIndirect { .. });
        if is_list && liobn.cast_signed().is_negative() {
            return Err(HypercallRefusal::SeveralTables(liobn));
        }
        let bus = Liobn::of_register(liobn).and_then(|liobn| self.get(liobn));
        bus.ok_or(HypercallRefusal::NoBus(liobn))
    }
}

fn check_list(list: GuestAddress, count: u64) -> Result<GuestAddress, HypercallRefusal> {
    if count > LIST_TCES_MAX {
        return Err(HypercallRefusal::ListTooLong(count));
    }
    if !list.is_aligned(LIST_ALIGNMENT) {
        return Err(HypercallRefusal::ListMisaligned(list));
    }
    Ok(list)
}

/// Copies a list out of guest memory. The guest may change it at any time, so it is never looked at again.
fn read_list(
    memory: &impl GuestMemory,
    list: GuestAddress,
    count: u64,
) -> Result<Vec<GuestTce>, HypercallRefusal> {
    let count = usize::try_from(count).map_err(|_| HypercallRefusal::ListTooLong(count))?;
    let mut bytes = vec![0; count * TCE_BYTES];
    if !bytes.is_empty() {
        memory.read(list, &mut bytes).map_err(HypercallRefusal::NoList)?;
    }
    let (tces, _) = bytes.as_chunks::<TCE_BYTES>();
    Ok(tces.iter().map(|tce| GuestTce::new(u64::from_be_bytes(*tce))).collect())
}

/// TCEs that follow each other: all map nothing, or pages that follow each other in guest memory.
struct GuestRun {
    /// The number of its first TCE in the call.
    first: u64,
    count: u64,
    page: Option<(GuestAddress, Access)>,
}

impl GuestRun {
    /// What the next TCE must say to belong to the run.
    fn next(&self, page: PageShift) -> Meaning {
        let Some((address, access)) = self.page else { return Meaning::Nothing };
        let size = Pages::new(self.count).bytes(page);
        let next = size.and_then(|size| address.checked_add(size));
        next.map_or(Meaning::Malformed, |next| Meaning::Page(next, access))
    }
}

fn runs_of(tces: &[GuestTce], page: PageShift) -> Result<Vec<GuestRun>, HypercallRefusal> {
    let mut runs: Vec<GuestRun> = Vec::new();
    for (first, tce) in (0..).zip(tces) {
        let meaning = tce.meaning(page);
        let target = match meaning {
            Meaning::Nothing => None,
            Meaning::Page(address, access) => Some((address, access)),
            Meaning::Malformed => {
                return Err(HypercallRefusal::MalformedTce { number: first, tce: *tce, page });
            }
        };
        match runs.last_mut() {
            Some(run) if run.next(page) == meaning => run.count += 1,
            _ => runs.push(GuestRun { first, count: 1, page: target }),
        }
    }
    Ok(runs)
}

/// The edits that set these TCEs in a range of as many pages of the guest's.
pub(crate) fn edits_of(
    page: PageShift,
    range: Claim,
    tces: &[GuestTce],
    memory: &(impl GuestMemory + ?Sized),
) -> Result<Vec<Edit>, HypercallRefusal> {
    let mut edits = Vec::new();
    for run in runs_of(tces, page)? {
        let claim = part_of(range, &run, page);
        match run.page {
            None => edits.push(Edit::Unmap(claim)),
            Some((address, access)) => {
                let map = RunMap { first: run.first, page, claim, address, access };
                map.add_edits(memory, &mut edits)?;
            }
        }
    }
    Ok(edits)
}

/// The bus addresses of a run.
fn part_of(range: Claim, run: &GuestRun, page: PageShift) -> Claim {
    let bytes = |tces| Pages::new(tces).bytes(page).expect("no more than the range has");
    let start = range.start.checked_add(bytes(run.first)).expect("inside the range");
    Claim { start, size: bytes(run.count) }
}

/// A run of TCEs that map guest memory in a row.
struct RunMap {
    /// The number of its first TCE in the call.
    first: u64,
    page: PageShift,
    claim: Claim,
    address: GuestAddress,
    access: Access,
}

impl RunMap {
    /// Adds an edit for each range in host memory that the guest's memory is in.
    fn add_edits(
        &self,
        memory: &(impl GuestMemory + ?Sized),
        edits: &mut Vec<Edit>,
    ) -> Result<(), HypercallRefusal> {
        let left = |done| self.claim.size.checked_sub(done).filter(|left| !left.is_zero());
        let mut done = Bytes::ZERO;
        while let Some(left) = left(done) {
            let placement = self.locate(memory, done, left).map_err(|cause| {
                let number = self.first + (done.raw() >> self.page.raw());
                HypercallRefusal::NoMemory { number, cause }
            })?;
            if edits.len() >= BATCH_EDITS_MAX {
                return Err(HypercallRefusal::TooScattered);
            }
            let iova = self.claim.start.checked_add(done).expect("inside the range");
            let Placement { region, offset, size } = placement;
            edits.push(Edit::Map { iova, region, offset, size, access: self.access });
            done = done.saturating_add(size);
        }
        Ok(())
    }

    /// Where the memory so far behind the run's start lies, not empty and no larger than what is left.
    fn locate(
        &self,
        memory: &(impl GuestMemory + ?Sized),
        done: Bytes,
        left: Bytes,
    ) -> Result<Placement, NotGuestMemory> {
        let at = self.address.checked_add(done).ok_or(NotGuestMemory(self.address))?;
        let placement = memory.locate(at, left)?;
        if placement.size.is_zero() {
            return Err(NotGuestMemory(at));
        }
        Ok(Placement { size: placement.size.min(left), ..placement })
    }
}
