//! What is mapped in a window: the engine's own truth, never asked back from the kernel.
//!
//! A radix tree of blocks of 64 words. A word of the lowest level stands for one TCE. A word higher up stands for all
//! that is below it: for nothing, for one target that all of it continues, or for a block. So contiguous TCEs that
//! point to contiguous memory take a few words however many they are, TCEs without any order take little more than
//! a word each, and the way to a TCE is as long whatever else is mapped.
//!
//! `cargo bench -p tce-engine --bench table` compares it with an ordered map of runs and with a dense array.

mod arena;
mod fulfil;
mod span;
mod tree;
mod within;
mod word;

use crate::{
    access::Access,
    addr::{Bytes, HostAddr, PageShift, Pages},
    region::RegionId,
};

use tree::Tree;
use within::Piece;
use word::Places;

pub(crate) use fulfil::TOGETHER_MAX;
pub(crate) use word::Word;

pub use fulfil::Found;
pub use within::Within;
pub use word::TARGETS_END;

/// What a TCE points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The memory.
    pub address: HostAddr,
    /// What the device may do.
    pub access: Access,
    /// The region that the memory belongs to.
    pub region: RegionId,
}

impl Target {
    /// The target `pages` further on.
    ///
    /// # Panics
    /// If that is no address: targets lie inside a region, whose addresses all exist.
    #[must_use]
    #[inline]
    pub(crate) fn advanced(self, pages: u64, page: PageShift) -> Self {
        let offset = Pages::new(pages).bytes(page).unwrap_or(Bytes::new(u64::MAX));
        let address = self.address.checked_add(offset).expect("an address inside the region");
        Self { address, ..self }
    }

    /// Whether another target is the one `pages` further on.
    #[inline]
    pub(crate) fn is_continued_by(&self, other: &Self, pages: u64, page: PageShift) -> bool {
        let offset = Pages::new(pages).bytes(page);
        self.access == other.access
            && self.region == other.region
            && offset.is_some_and(|it| self.address.checked_add(it) == Some(other.address))
    }
}

/// Contiguous TCEs with contiguous targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRun {
    /// Index of the first TCE.
    pub first: u64,
    /// How many.
    pub pages: u64,
    /// What the first points to.
    pub target: Target,
}

impl MappedRun {
    /// The index behind the last TCE.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.pages
    }
}

/// The TCEs of one window.
#[derive(Debug)]
pub struct Table {
    tree: Tree,
    places: Places,
    tces: u64,
}

impl Table {
    /// An empty table of a window with this page. It has room for whatever size the window has.
    #[must_use]
    pub const fn new(page: PageShift) -> Self {
        Self { tree: Tree::new(page), places: Places::new(), tces: 0 }
    }

    /// The window's page.
    #[must_use]
    pub const fn page(&self) -> PageShift {
        self.tree.page
    }

    /// How many TCEs are set.
    #[must_use]
    pub const fn tces(&self) -> u64 {
        self.tces
    }

    /// The memory it has allocated.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.tree.arena.bytes().saturating_add(self.places.bytes())
    }

    /// The mapped runs between `first` and `end`, cut to that range, ascending, each as long as it can be.
    #[must_use]
    pub fn within(&self, first: u64, end: u64) -> Within<'_> {
        Within::new(self, first, end)
    }

    /// Whether nothing is mapped between `first` and `end`.
    #[must_use]
    pub fn is_empty_within(&self, first: u64, end: u64) -> bool {
        // Most are not, and show it at once.
        first >= end || !self.tree.word_at(first).is_target() && self.within(first, end).is_over()
    }

    /// Forgets what is mapped between `first` and `end`, and hands each run of it to `forgotten`.
    pub fn clear(&mut self, first: u64, end: u64, forgotten: impl FnMut(&MappedRun)) {
        self.change(first, end, Word::NOTHING, forgotten);
        if self.tces == 0 {
            self.places.forget();
        }
    }

    /// Notes a run as mapped, where nothing is.
    ///
    /// # Panics
    /// As [`Table::replace`].
    pub fn set(&mut self, run: MappedRun) {
        debug_assert!(self.is_empty_within(run.first, run.end()), "cleared before it is set");
        self.replace(run, |_| {});
    }

    /// Notes a run as mapped in place of what is mapped there, and hands each run of that to `forgotten`.
    ///
    /// # Panics
    /// If its memory is that of no region, or its TCEs are those of no window: both were checked when they were
    /// admitted.
    pub fn replace(&mut self, run: MappedRun, forgotten: impl FnMut(&MappedRun)) {
        let word = self.word_of(&run);
        self.change(run.first, run.end(), word, forgotten);
        self.tces += run.pages;
    }

    /// The word of a run that is to be mapped.
    #[inline]
    fn word_of(&mut self, run: &MappedRun) -> Word {
        let last = run.target.advanced(run.pages, self.page());
        assert!(last.address < TARGETS_END, "{run:?} ends above {TARGETS_END}");
        self.places.word(run.target)
    }

    fn change(&mut self, first: u64, end: u64, word: Word, mut forgotten: impl FnMut(&MappedRun)) {
        let Self { tree, places, tces } = self;
        tree.change(first, end, word, |piece: Piece| {
            *tces -= piece.end - piece.first;
            forgotten(&places.run(&piece));
        });
    }
}

/// The memory of so many values side by side.
fn bytes_of<T>(count: usize) -> Bytes {
    let bytes = count.checked_mul(size_of::<T>()).and_then(|bytes| u64::try_from(bytes).ok());
    Bytes::new(bytes.expect("what is allocated fits the address space"))
}

#[cfg(test)]
mod tests;
