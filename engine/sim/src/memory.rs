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

/// Where the kernel puts mappings of a ppc64 process, more or less.
const MAPPINGS_START: u64 = 0x7000_0000_0000;
/// End of the process's address space: `DEFAULT_MAP_WINDOW`, 128 TiB.
const MAPPINGS_END: u64 = 1 << 47;
/// Unmapped bytes before each block, at least.
const GUARD_BYTES: u64 = 1 << 16;
/// Contents are kept in pieces of this size.
const PIECE_BYTES: u64 = 1 << 12;

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
    state: BlockState,
    pieces: BTreeMap<u64, Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockState {
    /// Mapped by the process.
    Mapped,
    /// Unmapped by the process, but pinned.
    PinnedOnly,
}

/// A stretch of memory in pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its first address.
    pub(crate) start: u64,
    /// Its end.
    pub(crate) end: u64,
    /// The pages: `page_shift(compound_head(page))`.
    pub(crate) page_shift: u8,
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
        let start = after_guard.checked_next_multiple_of(align).ok_or(Errno::ENOMEM)?;
        self.place(start, request)
    }

    /// Maps new memory right behind the newest block, so that one range may cover both.
    pub(crate) fn allocate_behind(
        &mut self,
        request: &MemoryRequest,
    ) -> Result<MemoryRange, Errno> {
        self.place(self.next, request)
    }

    fn place(&mut self, start: u64, request: &MemoryRequest) -> Result<MemoryRange, Errno> {
        let page = self.page_of(request.backing);
        let size = request.size.raw();
        if size == 0
            || !request.size.is_multiple_of(page)
            || !start.is_multiple_of(page.bytes().raw())
        {
            return Err(Errno::EINVAL);
        }
        let end = start.checked_add(size).filter(|end| *end <= MAPPINGS_END);
        let end = end.ok_or(Errno::ENOMEM)?;
        self.take_huge_pages(request)?;
        let block = Block {
            size,
            backing: request.backing,
            state: BlockState::Mapped,
            pieces: BTreeMap::new(),
        };
        self.blocks.insert(start, block);
        self.next = end;
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
            if let Backing::Hugetlb(page) = block.backing
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

    /// The pages behind a range, as far as it is mapped without a hole (`pin_user_pages`).
    pub(crate) fn stretches(&self, start: u64, end: u64) -> Vec<Stretch> {
        let mut found = Vec::new();
        let mut at = start;
        while at < end {
            let Some((block_start, block)) = self.block_at(at) else { break };
            if block.state != BlockState::Mapped {
                break;
            }
            let until = end.min(block_start + block.size);
            let page_shift = self.page_of(block.backing).raw();
            found.push(Stretch { start: at, end: until, page_shift });
            at = until;
        }
        found
    }

    fn is_mapped(&self, start: u64, len: usize) -> Option<()> {
        let end = end_of(start, len)?;
        let covered = self.stretches(start, end).last().map_or(start, |stretch| stretch.end);
        (covered == end).then_some(())
    }

    /// Copies bytes in, for the process; `None` unless all of them lie in mapped memory.
    pub(crate) fn write_mapped(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        self.is_mapped(address, bytes.len())?;
        self.write(address, bytes)
    }

    /// Copies bytes out, for the process.
    pub(crate) fn read_mapped(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        self.is_mapped(address, bytes.len())?;
        self.read(address, bytes)
    }

    /// Copies bytes in, mapped or pinned. What lies in the way of the first missing byte is written.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        let mut left = bytes;
        let mut at = address;
        while !left.is_empty() {
            let (chunk, rest) = left.split_at(chunk_len(at, left.len()));
            let start = *self.blocks.range(..=at).next_back()?.0;
            let block = self.blocks.get_mut(&start).filter(|block| at < start + block.size)?;
            let piece = block.pieces.entry(at / PIECE_BYTES).or_insert_with(empty_piece);
            let offset = within_piece(at);
            piece[offset..offset + chunk.len()].copy_from_slice(chunk);
            at += as_bytes(chunk.len());
            left = rest;
        }
        Some(())
    }

    /// Copies bytes out, mapped or pinned.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let mut left = bytes;
        let mut at = address;
        while !left.is_empty() {
            let len = chunk_len(at, left.len());
            let (chunk, rest) = left.split_at_mut(len);
            let (_, block) = self.block_at(at)?;
            let offset = within_piece(at);
            match block.pieces.get(&(at / PIECE_BYTES)) {
                Some(piece) => chunk.copy_from_slice(&piece[offset..offset + len]),
                None => chunk.fill(0),
            }
            at += as_bytes(len);
            left = rest;
        }
        Some(())
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

fn end_of(address: u64, len: usize) -> Option<u64> {
    address.checked_add(as_bytes(len))
}

fn as_bytes(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}

/// As much of `len` as lies in the piece of `at`.
fn chunk_len(at: u64, len: usize) -> usize {
    let room = PIECE_BYTES - at % PIECE_BYTES;
    usize::try_from(room).map_or(len, |room| room.min(len))
}

fn within_piece(at: u64) -> usize {
    usize::try_from(at % PIECE_BYTES).expect("an offset in a piece fits any usize")
}

fn empty_piece() -> Box<[u8]> {
    vec![0; usize::try_from(PIECE_BYTES).expect("a piece fits any usize")].into_boxed_slice()
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
