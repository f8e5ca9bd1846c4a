//! The guest's memory: one region, from guest address 0 on.

use std::cell::RefCell;

use tce_engine::{
    addr::{Bytes, GuestAddress},
    kernel::MemoryRange,
    machine::Machine,
    papr::{GuestMemory, NotGuestMemory, Placement},
    region::RegionId,
};

/// The guest's memory, registered with the container. It is shared with the guest, so whoever reads it may find
/// something else the next time.
pub(crate) struct Memory<'m, M> {
    /// The machine that has it. A VMM with a mapping of its own needs no such thing.
    pub(crate) machine: &'m RefCell<M>,
    /// Where it lies in this process.
    pub(crate) range: MemoryRange,
    /// The region that it is.
    pub(crate) region: RegionId,
}

impl<M: Machine> GuestMemory for Memory<'_, M> {
    fn locate(&self, at: GuestAddress, wanted: Bytes) -> Result<Placement, NotGuestMemory> {
        let offset = Bytes::new(at.raw());
        let left = self.range.size.checked_sub(offset).filter(|left| !left.is_zero());
        let left = left.ok_or(NotGuestMemory(at))?;
        Ok(Placement { region: self.region, offset, size: left.min(wanted) })
    }

    fn read(&self, at: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory> {
        let address = self.range.address.checked_add(Bytes::new(at.raw()));
        let address = address.ok_or(NotGuestMemory(at))?;
        self.machine.borrow_mut().read_memory(address, into).map_err(|_| NotGuestMemory(at))
    }

    fn guest_address(&self, region: RegionId, offset: Bytes) -> Option<GuestAddress> {
        (region == self.region).then(|| GuestAddress::new(offset.raw()))
    }
}
