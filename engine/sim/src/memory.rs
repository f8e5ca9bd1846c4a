//! The memory of the simulated process: blocks with fake addresses, contents kept for touched pages only.
//!
//! Addresses rise and are never used twice, with a gap before each block, so that a stale address hits nothing. A
//! block that was given back while the kernel still pins it keeps its contents for DMA, and its huge pages, until
//! the pin goes.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, HostAddr, PageShift},
    errno::Errno,
    kernel::MemoryRange,
    machine::{Backing, MemoryRequest},
};

use crate::profile::HugetlbPool;

mod contents;
mod pinning;

pub use pinning::Protection;
pub(crate) use pinning::Stretch;

/// Where the kernel puts mappings of a ppc64 process, more or less.
const MAPPINGS_START: u64 = 0x7000_0000_0000;
/// End of the process's address space: `DEFAULT_MAP_WINDOW`, 128 TiB.
const MAPPINGS_END: u64 = 1 << 47;
/// Unmapped bytes before each block, at least.
const GUARD_BYTES: u64 = 1 << 16;
/// The memory.
#[derive(Debug)]
pub(crate) struct Memory {
    page_shift: PageShift,
    blocks: BTreeMap<u64, Block>,
    next: u64,
    pools: Vec<HugetlbPool>,
}

#[derive(Debug)]
struct Block {
    size: u64,
    backing: Backing,
    source: HugeSource,
    protection: Protection,
    state: BlockState,
    pieces: BTreeMap<u64, Box<[u8]>>,
}

/// Where huge pages of a block come from, and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HugeSource {
    /// The machine's pool.
    Pool,
    /// Beside it.
    Beside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockState {
    /// Mapped by the process.
    Mapped,
    /// Unmapped by the process, but pinned.
    PinnedOnly,
}

impl Memory {
    pub(crate) fn new(page_shift: PageShift, pools: &[HugetlbPool]) -> Self {
        Self { page_shift, blocks: BTreeMap::new(), next: MAPPINGS_START, pools: pools.to_vec() }
    }

    /// Maps new memory, as `mmap` would.
    pub(crate) fn allocate(&mut self, request: &MemoryRequest) -> Result<MemoryRange, Errno> {
        let page = self.page_of(request.backing);
        let align = request.align.max(page).bytes().raw();
        let after_guard = self.next.checked_add(GUARD_BYTES).ok_or(Errno::ENOMEM)?;
        let start = self.first_free(after_guard, request.size.raw(), align)?;
        self.insert_from_pool(start, request)
    }

    /// The first aligned address from `start` on that has room.
    fn first_free(&self, start: u64, size: u64, align: u64) -> Result<u64, Errno> {
        let mut at = start;
        loop {
            at = at.checked_next_multiple_of(align).ok_or(Errno::ENOMEM)?;
            let end = at.checked_add(size).ok_or(Errno::ENOMEM)?;
            match self.overlapping(at, end) {
                Some(block_end) => at = block_end,
                None => return Ok(at),
            }
        }
    }

    /// The end of the last block that reaches into a range.
    fn overlapping(&self, start: u64, end: u64) -> Option<u64> {
        let (block_start, block) = self.blocks.range(..end).next_back()?;
        let block_end = block_start + block.size;
        (block_end > start).then_some(block_end)
    }

    /// Maps new memory at this address; its huge pages are not the pool's. `EEXIST` where something is mapped or
    /// pinned.
    pub(crate) fn place_at(
        &mut self,
        start: u64,
        request: &MemoryRequest,
    ) -> Result<MemoryRange, Errno> {
        let end = start.checked_add(request.size.raw()).ok_or(Errno::ENOMEM)?;
        if self.overlapping(start, end).is_some() {
            return Err(Errno::EEXIST);
        }
        self.insert(start, request, HugeSource::Beside)
    }

    /// Maps new memory right behind the newest block, so that one range may cover both.
    pub(crate) fn allocate_behind(
        &mut self,
        request: &MemoryRequest,
    ) -> Result<MemoryRange, Errno> {
        let start = self.next;
        let end = start.checked_add(request.size.raw()).ok_or(Errno::ENOMEM)?;
        if self.overlapping(start, end).is_some() {
            return Err(Errno::ENOMEM);
        }
        self.insert_from_pool(start, request)
    }

    fn insert_from_pool(
        &mut self,
        start: u64,
        request: &MemoryRequest,
    ) -> Result<MemoryRange, Errno> {
        self.check(start, request)?;
        self.take_huge_pages(request)?;
        let range = self.insert(start, request, HugeSource::Pool)?;
        self.next = start.saturating_add(request.size.raw());
        Ok(range)
    }

    /// Whether a block of whole pages can be at this address.
    fn check(&self, start: u64, request: &MemoryRequest) -> Result<(), Errno> {
        let page = self.page_of(request.backing);
        let is_aligned = start.is_multiple_of(page.bytes().raw());
        if request.size.is_zero() || !request.size.is_multiple_of(page) || !is_aligned {
            return Err(Errno::EINVAL);
        }
        let end = start.checked_add(request.size.raw()).filter(|end| *end <= MAPPINGS_END);
        end.map(|_| ()).ok_or(Errno::ENOMEM)
    }

    fn insert(
        &mut self,
        start: u64,
        request: &MemoryRequest,
        source: HugeSource,
    ) -> Result<MemoryRange, Errno> {
        self.check(start, request)?;
        let block = Block {
            size: request.size.raw(),
            backing: request.backing,
            source,
            protection: Protection::ReadWrite,
            state: BlockState::Mapped,
            pieces: BTreeMap::new(),
        };
        self.blocks.insert(start, block);
        Ok(MemoryRange { address: HostAddr::new(start), size: request.size })
    }

    fn take_huge_pages(&mut self, request: &MemoryRequest) -> Result<(), Errno> {
        let Backing::Hugetlb(page) = request.backing else { return Ok(()) };
        let wanted = request.size.pages_up(page).raw();
        let pool = self.pools.iter_mut().find(|pool| pool.page == page).ok_or(Errno::ENOMEM)?;
        pool.free = pool.free.checked_sub(wanted).ok_or(Errno::ENOMEM)?;
        Ok(())
    }

    /// Unmaps exactly one block. What is pinned stays until [`Memory::drop_unpinned`].
    pub(crate) fn unmap(&mut self, range: MemoryRange) -> Option<()> {
        let block = self.blocks.get_mut(&range.address.raw())?;
        if block.size != range.size.raw() || block.state != BlockState::Mapped {
            return None;
        }
        block.state = BlockState::PinnedOnly;
        Some(())
    }

    /// Drops blocks that neither the process nor a pin holds.
    pub(crate) fn drop_unpinned(&mut self, is_pinned: impl Fn(u64, u64) -> bool) {
        let pools = &mut self.pools;
        self.blocks.retain(|start, block| {
            if block.state == BlockState::Mapped || is_pinned(*start, start + block.size) {
                return true;
            }
            if let (Backing::Hugetlb(page), HugeSource::Pool) = (block.backing, block.source)
                && let Some(pool) = pools.iter_mut().find(|pool| pool.page == page)
            {
                pool.free += Bytes::new(block.size).pages_up(page).raw();
            }
            false
        });
    }

    /// Huge pages of a size that are free.
    pub(crate) fn free_huge_pages(&self, page: PageShift) -> u64 {
        self.pools.iter().find(|pool| pool.page == page).map_or(0, |pool| pool.free)
    }

    /// Bytes the process has mapped.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        let mapped = self.blocks.values().filter(|block| block.state == BlockState::Mapped);
        mapped.map(|block| block.size).sum()
    }

    fn block_at(&self, address: u64) -> Option<(u64, &Block)> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        (address < start + block.size).then_some((*start, block))
    }

    fn page_of(&self, backing: Backing) -> PageShift {
        match backing {
            Backing::Hugetlb(page) => page,
            Backing::Anonymous | Backing::Memfd => self.page_shift,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(PageShift::K4, &[HugetlbPool { page: PageShift::M2, free: 3 }])
    }

    fn request(size: Bytes, backing: Backing) -> MemoryRequest {
        MemoryRequest { size, backing, align: PageShift::K4 }
    }

    #[test]
    fn blocks_keep_their_distance_and_their_alignment() {
        let mut memory = memory();
        let small = request(Bytes::kib(4), Backing::Anonymous);
        let first = memory.allocate(&small).expect("there is room");
        let second = memory
            .allocate(&MemoryRequest { align: PageShift::G1, ..small })
            .expect("there is room");
        assert!(second.address.is_aligned(PageShift::G1));
        assert!(second.address.raw() - first.address.raw() > GUARD_BYTES);
        let start = first.address.raw();
        let stretches = memory.stretches(start, start + 4097);
        assert_eq!(stretches, [Stretch { start, end: start + 4096, page_shift: 12 }]);
    }

    #[test]
    fn a_gigabyte_costs_nothing_until_written() {
        let mut memory = memory();
        let block = memory.allocate(&request(Bytes::gib(64), Backing::Memfd)).expect("room");
        let far = block.address.raw() + (63 << 30) + 4094;
        memory.write_mapped(far, b"abcd").expect("it is mapped");
        let mut bytes = [1; 6];
        memory.read_mapped(far - 1, &mut bytes).expect("it is mapped");
        assert_eq!(&bytes, b"\0abcd\0");
        assert_eq!(memory.blocks.values().map(|block| block.pieces.len()).sum::<usize>(), 2);
    }

    #[test]
    fn huge_pages_run_out_and_come_back() {
        let mut memory = memory();
        let two = request(Bytes::mib(4), Backing::Hugetlb(PageShift::M2));
        let block = memory.allocate(&two).expect("three are free");
        assert!(block.address.is_aligned(PageShift::M2));
        assert_eq!(memory.allocate(&two), Err(Errno::ENOMEM));
        let unknown = request(Bytes::mib(16), Backing::Hugetlb(PageShift::M16));
        assert_eq!(memory.allocate(&unknown), Err(Errno::ENOMEM));
        assert_eq!(memory.unmap(block), Some(()));
        memory.drop_unpinned(|_, _| false);
        assert!(memory.allocate(&two).is_ok());
    }

    #[test]
    fn odd_sizes_are_no_mapping() {
        let mut memory = memory();
        for size in [Bytes::ZERO, Bytes::new(100)] {
            assert_eq!(memory.allocate(&request(size, Backing::Memfd)), Err(Errno::EINVAL));
        }
        let part = request(Bytes::kib(64), Backing::Hugetlb(PageShift::M2));
        assert_eq!(memory.allocate(&part), Err(Errno::EINVAL));
        let huge = request(Bytes::new(1 << 48), Backing::Anonymous);
        assert_eq!(memory.allocate(&huge), Err(Errno::ENOMEM));
    }

    #[test]
    fn unmapped_memory_is_out_of_reach_of_the_process_but_not_of_its_pins() {
        let mut memory = memory();
        let block = memory.allocate(&request(Bytes::kib(8), Backing::Anonymous)).expect("room");
        let at = block.address.raw();
        memory.write_mapped(at, b"old").expect("it is mapped");
        assert_eq!(memory.unmap(MemoryRange { size: Bytes::kib(4), ..block }), None);
        assert_eq!(memory.unmap(block), Some(()));
        memory.drop_unpinned(|_, _| true);
        let mut bytes = [0; 3];
        assert_eq!(memory.read_mapped(at, &mut bytes), None);
        assert_eq!(memory.read(at, &mut bytes), Some(()));
        assert_eq!(&bytes, b"old");
    }
}
