//! Which TCEs a word of the tree stands for.

use super::arena::{BLOCK_SHIFT, BLOCK_WORDS};

/// The most TCEs of a table, as a power of two. A window of 2^64 bytes in pages of 4 KiB has 2^52.
pub(super) const SPAN_SHIFT_MAX: u32 = 60;

/// `1 << shift` TCEs from `base`. The shift is one of [`BLOCK_SHIFT`]'s multiples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) base: u64,
    pub(super) shift: u32,
}

impl Span {
    pub(super) const fn tces(self) -> u64 {
        1 << self.shift
    }

    /// The index behind its last TCE.
    pub(super) const fn end(self) -> u64 {
        self.base + self.tces()
    }

    /// How many TCEs each word of its block stands for.
    pub(super) const fn tces_below(self) -> u64 {
        1 << (self.shift - BLOCK_SHIFT)
    }

    /// What a word of its block stands for.
    #[inline]
    pub(super) fn below(self, slot: usize) -> Self {
        let slot = u64::try_from(slot).expect("a place in a block");
        Self { base: self.base + slot * self.tces_below(), shift: self.shift - BLOCK_SHIFT }
    }

    /// Which word of its block stands for one of its TCEs.
    #[inline]
    pub(super) fn slot_of(self, tce: u64) -> usize {
        let slot = usize::try_from((tce - self.base) >> (self.shift - BLOCK_SHIFT));
        // It is in the block anyway; so the compiler knows it too.
        slot.expect("a place in a block") % BLOCK_WORDS
    }
}
