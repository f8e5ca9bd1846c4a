//! Where the blocks are: in chunks, so that growing copies nothing and wastes little. A chunk's memory is there as long as
//! one of its blocks is used.

use std::ops::{Deref, DerefMut};

use crate::addr::{Bytes, PageShift};

use super::word::{BlockNumber, Word};

/// The words of a block, as a power of two.
pub(super) const BLOCK_SHIFT: u32 = 6;
/// The words of a block.
pub(super) const BLOCK_WORDS: usize = 1 << BLOCK_SHIFT;
/// The blocks of a chunk, as a power of two: 16 KiB together.
const CHUNK_SHIFT: u32 = 5;
const CHUNK_BLOCKS: usize = 1 << CHUNK_SHIFT;

/// Words side by side, eight of them in each cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Block([Word; BLOCK_WORDS]);

impl Deref for Block {
    type Target = [Word; BLOCK_WORDS];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

type Chunk = Box<[Block; CHUNK_BLOCKS]>;

/// The blocks of a table. A number is only good for the arena it came from, until it is given back.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// Absent while no block of it is used. Every look at a block goes through this list, so nothing else is in it.
    chunks: Vec<Option<Chunk>>,
    /// For each chunk a bit for each of its blocks that is not used.
    free: Vec<u32>,
    /// The chunks that have free blocks.
    open: Vec<u32>,
    live_chunks: usize,
    /// How often a block was given back: as long as it stays the same, so do all numbers.
    given_back: u64,
}

impl Arena {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            open: Vec::new(),
            live_chunks: 0,
            given_back: 0,
        }
    }

    /// A block that says the same as one word did: nothing, or a target that each of its words continues by `tces`.
    pub(super) fn split(&mut self, word: Word, tces: u64, page: PageShift) -> BlockNumber {
        let number = self.take();
        let mut at = word;
        for slot in &mut **self.block_mut(number) {
            *slot = at;
            at = at.advanced(tces, page);
        }
        number
    }

    fn take(&mut self) -> BlockNumber {
        let chunk = self.open.last().copied().unwrap_or_else(|| self.add_chunk());
        let blocks = &mut self.chunks[index(chunk)];
        if blocks.is_none() {
            *blocks = Some(new_chunk());
            self.live_chunks += 1;
        }
        let free = &mut self.free[index(chunk)];
        let block = free.trailing_zeros();
        *free &= *free - 1;
        if *free == 0 {
            self.open.pop();
        }
        BlockNumber(chunk << CHUNK_SHIFT | block)
    }

    fn add_chunk(&mut self) -> u32 {
        let number = u32::try_from(self.chunks.len()).ok();
        let number = number.filter(|number| number >> (u32::BITS - CHUNK_SHIFT) == 0);
        let number = number.expect("a table of 2 TiB has long been too large for its machine");
        self.chunks.push(None);
        self.free.push(u32::MAX);
        self.open.push(number);
        number
    }

    /// Gives a block back. The memory of its chunk is freed with the last block of it.
    pub(super) fn give_back(&mut self, BlockNumber(number): BlockNumber) {
        self.given_back += 1;
        let chunk = number >> CHUNK_SHIFT;
        let free = &mut self.free[index(chunk)];
        if *free == 0 {
            self.open.push(chunk);
        }
        *free |= 1 << (number & ((1 << CHUNK_SHIFT) - 1));
        if *free == u32::MAX {
            self.chunks[index(chunk)] = None;
            self.live_chunks -= 1;
        }
        if self.live_chunks == 0 {
            *self = Self { given_back: self.given_back, ..Self::new() };
        }
    }

    /// How often a block was given back. As long as that stays the same, all numbers are good.
    pub(super) const fn given_back(&self) -> u64 {
        self.given_back
    }

    #[inline]
    pub(super) fn block(&self, BlockNumber(number): BlockNumber) -> &Block {
        let chunk = self.chunks[index(number >> CHUNK_SHIFT)].as_ref();
        &chunk.expect("a block is used")[index(number) % CHUNK_BLOCKS]
    }

    #[inline]
    pub(super) fn block_mut(&mut self, BlockNumber(number): BlockNumber) -> &mut Block {
        let chunk = self.chunks[index(number >> CHUNK_SHIFT)].as_mut();
        &mut chunk.expect("a block is used")[index(number) % CHUNK_BLOCKS]
    }

    #[cfg(test)]
    pub(super) fn blocks_used(&self) -> usize {
        let blocks = |free: &u32| usize::try_from(free.count_zeros()).expect("32 at most");
        self.free.iter().map(blocks).sum()
    }

    /// What is allocated.
    pub(super) fn bytes(&self) -> Bytes {
        let chunks = super::bytes_of::<[Block; CHUNK_BLOCKS]>(self.live_chunks);
        let list = super::bytes_of::<Option<Chunk>>(self.chunks.capacity());
        let numbers = super::bytes_of::<u32>(self.free.capacity() + self.open.capacity());
        chunks.saturating_add(list).saturating_add(numbers)
    }
}

#[inline]
fn index(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

/// On the heap from the start: as a value it would go over the stack.
fn new_chunk() -> Chunk {
    let blocks = vec![Block([Word::NOTHING; BLOCK_WORDS]); CHUNK_BLOCKS].into_boxed_slice();
    let Ok(blocks) = blocks.try_into() else { unreachable!("it has this length") };
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: (Word, u64, PageShift) = (Word::NOTHING, 1, PageShift::K4);

    fn blocks(arena: &mut Arena, count: usize) -> Vec<BlockNumber> {
        let (word, tces, page) = NOTHING;
        (0..count).map(|_| arena.split(word, tces, page)).collect()
    }

    #[test]
    fn a_used_block_is_not_given_out_again() {
        let mut arena = Arena::new();
        let used = blocks(&mut arena, 100);
        for number in used.iter().step_by(3) {
            arena.give_back(*number);
        }
        let kept = used.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, it)| *it);
        let mut all: Vec<u32> = kept.chain(blocks(&mut arena, 80)).map(|it| it.0).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_memory_of_a_chunk_goes_with_its_last_block() {
        let mut arena = Arena::new();
        let used = blocks(&mut arena, 4 * CHUNK_BLOCKS);
        let full = arena.bytes();
        used[CHUNK_BLOCKS..2 * CHUNK_BLOCKS].iter().for_each(|number| arena.give_back(*number));
        assert!(full.checked_sub(arena.bytes()) > Some(Bytes::kib(15)), "{}", arena.bytes());
        let others = used[..CHUNK_BLOCKS].iter().chain(&used[2 * CHUNK_BLOCKS..]);
        others.for_each(|number| arena.give_back(*number));
        assert_eq!(arena.bytes(), Bytes::ZERO);
    }
}
