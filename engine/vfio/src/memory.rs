//! The memory of this process that devices may see.
//!
//! Invariant: what is registered with a container lies in memory made here, or vouched for. So Rust
//! never believes a byte to be its own that a device can write. Unmapping a block under a
//! registration is safe: the kernel has pinned the pages (`mm_iommu_new`) and goes on naming those,
//! whatever comes to lie at the address.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tce_engine::{
    addr::{Bytes, HostAddr, PageShift},
    errno::Errno,
    kernel::MemoryRange,
    machine::{MachineError, MemoryRequest},
};

use crate::mapping::Mapping;

/// The blocks of one process. The machine and all views on its kernel share them.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    blocks: BTreeMap<HostAddr, Arc<Mapping>>,
    vouched: Vec<MemoryRange>,
}

/// What makes a range fit to be registered. It lasts as long as this does.
#[derive(Debug)]
pub(crate) enum Ground {
    /// It lies in a block, which stays mapped as long as this lives.
    Block { _held: Arc<Mapping> },
    /// It was vouched for.
    Vouched,
    /// The kernel refuses it by its numbers alone.
    Refused,
}

impl Ground {
    /// A block that is in no table of blocks.
    pub(crate) const fn of(block: Arc<Mapping>) -> Self {
        Self::Block { _held: block }
    }
}

impl Memory {
    /// Maps a block; see [`tce_engine::machine::Machine::allocate`].
    pub(crate) fn allocate(
        &self,
        request: &MemoryRequest,
        system_page: PageShift,
    ) -> Result<MemoryRange, MachineError> {
        let failed = |errno| MachineError::NoMemory { request: *request, errno };
        let block = Mapping::new(request, system_page).map_err(failed)?;
        let address = block.address();
        self.table().blocks.insert(address, Arc::new(block));
        Ok(MemoryRange { address, size: request.size })
    }

    /// Unmaps exactly one block; later if a thread is just registering it.
    pub(crate) fn free(&self, memory: MemoryRange) -> Result<(), MachineError> {
        let mut table = self.table();
        match table.blocks.get(&memory.address) {
            Some(block) if block.size() == memory.size => {
                table.blocks.remove(&memory.address);
                Ok(())
            }
            _ => Err(MachineError::NotOurMemory(memory)),
        }
    }

    /// Unmaps all blocks.
    pub(crate) fn clear(&self) {
        self.table().blocks.clear();
    }

    /// Takes in memory that was not made here, as fit to be registered.
    pub(crate) fn vouch(&self, memory: MemoryRange) {
        self.table().vouched.push(memory);
    }

    /// Copies bytes into a block.
    pub(crate) fn write(&self, address: HostAddr, bytes: &[u8]) -> Result<(), MachineError> {
        let (block, offset) = self.place(address, bytes.len())?;
        block.write(offset, bytes);
        Ok(())
    }

    /// Copies bytes out of a block.
    pub(crate) fn read(&self, address: HostAddr, bytes: &mut [u8]) -> Result<(), MachineError> {
        let (block, offset) = self.place(address, bytes.len())?;
        block.read(offset, bytes);
        Ok(())
    }

    /// Whether a range may be registered, and why; `EFAULT`, as for memory that is not there, if it
    /// may not.
    pub(crate) fn ground(
        &self,
        memory: MemoryRange,
        system_page: PageShift,
    ) -> Result<Ground, Errno> {
        let Some(end) = memory.address.checked_add(memory.size) else { return Ok(Ground::Refused) };
        let whole_pages = memory.address.is_aligned(system_page)
            && memory.size.is_multiple_of(system_page)
            && !memory.size.is_zero();
        if !whole_pages {
            return Ok(Ground::Refused);
        }
        let table = self.table();
        if let Some((block, _)) = table.block_of(memory) {
            return Ok(Ground::Block { _held: block });
        }
        let holds = |outer: &MemoryRange| {
            outer.address <= memory.address
                && outer.address.checked_add(outer.size).is_some_and(|outer_end| end <= outer_end)
        };
        if table.vouched.iter().any(holds) { Ok(Ground::Vouched) } else { Err(Errno::EFAULT) }
    }

    fn place(
        &self,
        address: HostAddr,
        length: usize,
    ) -> Result<(Arc<Mapping>, Bytes), MachineError> {
        let size = u64::try_from(length).map_or(Bytes::new(u64::MAX), Bytes::new);
        let memory = MemoryRange { address, size };
        self.table().block_of(memory).ok_or(MachineError::NotOurMemory(memory))
    }

    /// The table. It is whole even after a panic elsewhere: each change of it is a single step.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The block that a range lies in, and where.
    fn block_of(&self, memory: MemoryRange) -> Option<(Arc<Mapping>, Bytes)> {
        let (start, block) = self.blocks.range(..=memory.address).next_back()?;
        let offset = memory.address.offset_from(*start)?;
        (offset.checked_add(memory.size)? <= block.size()).then(|| (Arc::clone(block), offset))
    }
}

#[cfg(test)]
mod tests {
    use tce_engine::machine::Backing;

    use super::*;

    const PAGE: PageShift = PageShift::K64;

    fn request(size: Bytes) -> MemoryRequest {
        MemoryRequest { size, backing: Backing::Anonymous, align: PAGE }
    }

    fn memory_with_a_block() -> (Memory, MemoryRange) {
        let memory = Memory::default();
        let block = memory.allocate(&request(Bytes::kib(128)), PageShift::K4).unwrap();
        (memory, block)
    }

    fn at(range: MemoryRange, offset: u64) -> HostAddr {
        range.address.checked_add(Bytes::new(offset)).unwrap()
    }

    fn part(range: MemoryRange, offset: u64, size: u64) -> MemoryRange {
        MemoryRange { address: at(range, offset), size: Bytes::new(size) }
    }

    #[test]
    fn what_is_written_is_read() {
        let (memory, block) = memory_with_a_block();
        for (offset, length) in [(0, 1), (0, 8), (1, 21), (7, 4096), (0x1fff0, 16), (13, 3)] {
            let bytes: Vec<u8> = (0..=255).cycle().skip(13).take(length).collect();
            memory.write(at(block, offset), &bytes).unwrap();
            let mut back = vec![0; bytes.len()];
            memory.read(at(block, offset), &mut back).unwrap();
            assert_eq!(back, bytes, "{length} bytes at {offset}");
        }
    }

    #[test]
    fn a_write_touches_no_byte_beside_it() {
        let (memory, block) = memory_with_a_block();
        memory.write(at(block, 3), &[0xff; 18]).unwrap();
        let mut around = [0; 24];
        memory.read(block.address, &mut around).unwrap();
        assert_eq!(&around[..3], [0; 3]);
        assert_eq!(&around[3..21], [0xff; 18]);
        assert_eq!(&around[21..], [0; 3]);
    }

    #[test]
    fn access_ends_where_the_block_ends() {
        let (memory, block) = memory_with_a_block();
        let refused = |address, length: u64| {
            let range = MemoryRange { address, size: Bytes::new(length) };
            assert_eq!(
                memory.read(address, &mut vec![0; usize::try_from(length).unwrap()]),
                Err(MachineError::NotOurMemory(range))
            );
        };
        refused(at(block, 0x1ffff), 2);
        refused(at(block, 0x20000), 1);
        refused(HostAddr::new(block.address.raw() - 1), 1);
        refused(HostAddr::new(u64::MAX), 2);
        refused(HostAddr::new(0), 1);
    }

    #[test]
    fn only_a_whole_block_is_freed_and_only_once() {
        let (memory, block) = memory_with_a_block();
        let half = part(block, 0, 0x10000);
        assert_eq!(memory.free(half), Err(MachineError::NotOurMemory(half)));
        let later = part(block, 0x10000, 0x10000);
        assert_eq!(memory.free(later), Err(MachineError::NotOurMemory(later)));
        assert_eq!(memory.free(block), Ok(()));
        assert_eq!(memory.free(block), Err(MachineError::NotOurMemory(block)));
        assert!(memory.read(block.address, &mut [0]).is_err());
    }

    #[test]
    fn memory_of_rust_is_never_registered() {
        let (memory, block) = memory_with_a_block();
        let heap = vec![0_u8; 4 << PAGE.raw()];
        let inside = heap.as_ptr().addr().next_multiple_of(1 << PAGE.raw());
        let heap = MemoryRange {
            address: HostAddr::new(u64::try_from(inside).unwrap()),
            size: PAGE.bytes(),
        };
        assert!(matches!(memory.ground(heap, PAGE), Err(Errno::EFAULT)));
        assert!(matches!(memory.ground(part(block, 0, 0x30000), PAGE), Err(Errno::EFAULT)));
    }

    #[test]
    fn any_part_of_a_block_is_registered() {
        let (memory, block) = memory_with_a_block();
        assert!(matches!(memory.ground(block, PAGE), Ok(Ground::Block { .. })));
        let part = part(block, 0x10000, 0x10000);
        assert!(matches!(memory.ground(part, PAGE), Ok(Ground::Block { .. })));
    }

    #[test]
    fn what_the_kernel_refuses_by_its_numbers_is_left_to_it() {
        let (memory, block) = memory_with_a_block();
        for range in [
            part(block, 0x100, 0x10000),
            part(block, 0, 0x100),
            part(block, 0, 0),
            MemoryRange { address: HostAddr::new(0u64.wrapping_sub(0x10000)), size: Bytes::gib(1) },
        ] {
            assert!(matches!(memory.ground(range, PAGE), Ok(Ground::Refused)), "{range:?}");
        }
    }

    #[test]
    fn a_block_being_registered_outlives_its_freeing() {
        let (memory, block) = memory_with_a_block();
        let Ok(Ground::Block { _held: held }) = memory.ground(block, PAGE) else { panic!() };
        memory.free(block).unwrap();
        let mut byte = [1];
        held.read(Bytes::ZERO, &mut byte);
        assert_eq!(byte, [0]);
    }

    #[test]
    fn vouched_memory_is_registered_but_not_read() {
        let memory = Memory::default();
        let guest = MemoryRange { address: HostAddr::new(1 << 32), size: Bytes::gib(1) };
        memory.vouch(guest);
        assert!(matches!(memory.ground(part(guest, 0x10000, 0x10000), PAGE), Ok(Ground::Vouched)));
        assert!(memory.ground(part(guest, 0x10000, guest.size.raw()), PAGE).is_err());
        assert!(memory.read(guest.address, &mut [0]).is_err());
    }
}
