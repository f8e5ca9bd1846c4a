//! A guest that asks for lists of TCEs. All its memory is one region; its lists lie beside it.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    access::Access,
    addr::{Bytes, GuestAddress, Iova},
    papr::{GuestMemory, GuestTce, Hypercall, LIST_TCES_MAX, Liobn, NotGuestMemory, Placement},
    region::RegionId,
};

use super::{PAGE, bytes, iova};
use crate::bench::load::Request;

/// What the guest calls its bus.
pub(super) const LIOBN: Liobn = Liobn(0x8000_0001);
/// Where its lists are: above all of its other memory.
const LISTS: GuestAddress = GuestAddress::new(1 << 48);

/// The guest's memory.
pub(super) struct Guest {
    pub(super) region: RegionId,
    pub(super) size: Bytes,
    lists: Vec<u8>,
}

impl Guest {
    pub(super) const fn new(region: RegionId, size: Bytes) -> Self {
        Self { region, size, lists: Vec::new() }
    }

    /// Writes the lists that requests need, and makes the hypercalls: a list for each 512 TCEs in a row, or one
    /// `H_STUFF_TCE` for what is unmapped.
    pub(super) fn hypercalls(
        &mut self,
        start: Iova,
        requests: &[Request],
    ) -> Result<Vec<Hypercall>> {
        self.lists.clear();
        let longest = usize::try_from(LIST_TCES_MAX)?;
        requests.chunks(longest).map(|requests| self.hypercall(start, requests)).collect()
    }

    fn hypercall(&mut self, start: Iova, requests: &[Request]) -> Result<Hypercall> {
        let first = requests.first().context("a list has entries")?;
        let (liobn, ioba) = (u64::from(LIOBN.0), iova(start, first.first())?.raw());
        if let [Request::Unmap { tces, .. }] = *requests {
            return Ok(Hypercall::StuffTce { liobn, ioba, tce: GuestTce::default(), count: tces });
        }
        let at = u64::try_from(self.lists.len())?;
        for (request, tce) in requests.iter().zip(first.first()..) {
            let Request::Map { first, tces: 1, page } = *request else {
                anyhow::bail!("a list has one page for each TCE, and is not {request:?}");
            };
            ensure!(first == tce, "the TCEs of a list are in a row, and TCE {tce} is not there");
            let address = GuestAddress::new(bytes(page)?.raw());
            let entry = GuestTce::of_page(address, Access::ReadWrite);
            self.lists.extend(entry.raw().to_be_bytes());
        }
        // Each list begins on a page of its own.
        self.lists
            .resize(self.lists.len().next_multiple_of(usize::try_from(PAGE.bytes().raw())?), 0);
        let list = LISTS.checked_add(Bytes::new(at)).context("the lists fit")?.raw();
        let count = u64::try_from(requests.len())?;
        Ok(Hypercall::PutTceIndirect { liobn, ioba, list, count })
    }
}

impl GuestMemory for Guest {
    fn locate(&self, at: GuestAddress, _: Bytes) -> Result<Placement, NotGuestMemory> {
        let offset = Bytes::new(at.raw());
        match self.size.checked_sub(offset) {
            Some(size) if !size.is_zero() => Ok(Placement { region: self.region, offset, size }),
            _ => Err(NotGuestMemory(at)),
        }
    }

    fn read(&self, at: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory> {
        let offset = at.offset_from(LISTS).and_then(|it| usize::try_from(it.raw()).ok());
        let list = offset.and_then(|from| self.lists.get(from..from.checked_add(into.len())?));
        into.copy_from_slice(list.ok_or(NotGuestMemory(at))?);
        Ok(())
    }

    fn guest_address(&self, region: RegionId, offset: Bytes) -> Option<GuestAddress> {
        (region == self.region).then(|| GuestAddress::new(offset.raw()))
    }
}
