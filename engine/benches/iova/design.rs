//! What every design can do.

use tce_engine::{
    addr::Pages,
    iova::{Alignment, IovaAllocator},
};

/// Bytes for each entry of a standard ordered map from one number to another: nodes of 11 pairs, two thirds full, and
/// the inner nodes above them. An estimate: the map does not tell.
pub(crate) const MAP_ENTRY_BYTES: usize = 28;

/// An allocator of pages `0..pages`.
pub(crate) trait Design {
    const NAME: &'static str;

    fn new(pages: u64) -> Self;

    /// Takes pages; the first is a multiple of `alignment`, a power of two.
    fn take(&mut self, pages: u64, alignment: u64) -> Option<u64>;

    /// Gives back exactly what was taken.
    fn give_back(&mut self, first: u64, pages: u64);

    /// Memory, exact or estimated.
    fn bytes(&self) -> usize;
}

impl Design for IovaAllocator {
    const NAME: &'static str = "tree";

    fn new(pages: u64) -> Self {
        Self::new(0..pages, &[]).unwrap()
    }

    fn take(&mut self, pages: u64, alignment: u64) -> Option<u64> {
        self.take(Pages::new(pages), Alignment::of(Pages::new(alignment))?).ok()
    }

    fn give_back(&mut self, first: u64, pages: u64) {
        self.give_back(first, Pages::new(pages)).unwrap();
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }
}
