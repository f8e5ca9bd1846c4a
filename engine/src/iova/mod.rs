//! Bus addresses chosen by the engine: an allocator for holders that do not choose their own.
//!
//! A pure data structure over the TCE indexes of a lease: it says which pages a holder may map next, and makes no call.
//! A holder that chooses its own addresses, as a VMM does, has no use for it.
//!
//! # How
//!
//! It keeps the *holes* only, the runs of free pages, in an ordered tree whose nodes know the longest hole below them
//! (the `tree` module). What is taken costs nothing, however much it is. A request gets the tightest of the
//! [`PROBES_MAX`] lowest holes that are long enough: address-ordered first fit without the walk past holes that are too
//! short, and without its waste of long holes on short requests. All is done in O(log holes), whatever was done before.
//! Pages given back join the free ones beside them at once.
//!
//! `cargo bench -p tce-engine --bench iova` compares it with first fit over a map of holes, the two designs of Linux
//! (`arch/powerpc/kernel/iommu.c`, `drivers/iommu/iova.c`) and TLSF. Each of these is faster under some loads. Under
//! others the first three search for long, all but first fit refuse huge pages although there is room, and TLSF takes
//! many times the memory, since it keeps a block for each piece.
//!
//! # Taken is a property of a page
//!
//! The allocator does not remember in which pieces pages were taken. A piece may be given back in parts, and
//! neighbours in one call; what is refused is giving back a page that is not taken. That is how TCEs behave, too: an
//! unmap may take any part of what maps made. And it is why the memory depends on holes alone.
//!
//! # Low addresses, and at once
//!
//! Pages that are given back can be taken again in the next call. Delay is for those who unmap late, and they give pages
//! back after the flush: here a page that is given back has no TCE any more. Low and recently used addresses first
//! keeps the used part of a table dense (16 TCEs share a cache line of 128 bytes, and a table of several levels has
//! pages for its used parts only), and keeps long holes whole at the high end, for large requests.
//!
//! # Alignment
//!
//! Indexes are aligned, not places in the lease, since windows start at highly aligned bus addresses. For requests
//! without an alignment and for naturally aligned blocks (as many pages as the alignment: huge pages, most of what
//! Linux's DMA API asks for) a refusal means that there is no such place. For others it means that none of the
//! [`PROBES_MAX`] lowest holes that are long enough has one, that no hole has `pages + alignment - 1` pages, and that
//! none has an aligned block of a power of two that is enough for both.

use std::ops::Range;

use self::{
    hole::{Hole, floor_log2},
    node::Wish,
    tree::{HoleTree, Path},
};
use crate::addr::Pages;

mod alignment;
mod hole;
mod lease;
mod node;
mod refusal;
mod store;
#[cfg(test)]
mod tests;
mod tree;

pub use alignment::Alignment;
pub use lease::{AddressRefusal, LeaseAddresses};
pub use refusal::{GiveBackRefusal, RangeRefusal, TakeRefusal};

/// How many holes an allocator keeps: less than 210 MiB, however badly the nodes are filled.
pub const HOLES_MAX: usize = 1 << 22;
/// How many reserved ranges it keeps.
pub const RESERVED_MAX: usize = 64;
/// The index behind the last page: 64 bits of bus address have 2^52 pages of 4 KiB, the smallest.
pub const INDEX_END_MAX: u64 = 1 << 52;
/// How many holes a request is tried in, of those that are long enough.
pub const PROBES_MAX: usize = 8;

/// Hands out TCE indexes of a range, and takes them back.
///
/// All operations take O(log holes) time at most, whatever was done before.
#[derive(Debug)]
pub struct IovaAllocator {
    range: Range<u64>,
    /// Ascending, apart from each other, inside the range.
    reserved: Vec<Range<u64>>,
    holes: HoleTree,
    holes_max: usize,
    free: u64,
}

impl IovaAllocator {
    /// An allocator of the TCEs `range.start..range.end` of a window, all of them free but the reserved ranges. These
    /// may overlap each other and reach out of the range.
    ///
    /// # Errors
    /// The range is empty or ends beyond [`INDEX_END_MAX`]; more than [`RESERVED_MAX`] reserved ranges.
    pub fn new(range: Range<u64>, reserved: &[Range<u64>]) -> Result<Self, RangeRefusal> {
        if range.is_empty() {
            return Err(RangeRefusal::Empty { start: range.start, end: range.end });
        }
        if range.end > INDEX_END_MAX {
            return Err(RangeRefusal::TooFar { end: range.end });
        }
        if reserved.len() > RESERVED_MAX {
            return Err(RangeRefusal::TooManyReserved { count: reserved.len() });
        }
        let reserved = joined(&range, reserved);
        let mut new =
            Self { range, reserved, holes: HoleTree::new(), holes_max: HOLES_MAX, free: 0 };
        new.fill();
        Ok(new)
    }

    /// The same allocator with a lower limit on holes than [`HOLES_MAX`]; at least as many as the reserved ranges make.
    #[must_use]
    pub fn with_holes_max(self, holes_max: usize) -> Self {
        let holes_max = holes_max.clamp(RESERVED_MAX + 1, HOLES_MAX);
        Self { holes_max, ..self }
    }

    /// Takes `pages` pages and returns the index of the first.
    ///
    /// # Errors
    /// There is no room (see [the module](self) for what counts as room where an alignment is asked for); a hole would
    /// be split and there are too many.
    pub fn take(&mut self, pages: Pages, alignment: Alignment) -> Result<u64, TakeRefusal> {
        if pages.raw() == 0 {
            return Err(TakeRefusal::Empty);
        }
        let found = self.find(pages.raw(), alignment.order());
        let (path, first) = found.ok_or_else(|| self.no_room(pages, alignment))?;
        self.cut(&path, first, first + pages.raw())?;
        Ok(first)
    }

    /// Takes a fixed place.
    ///
    /// # Errors
    /// Some of it is taken, reserved or outside; a hole would be split and there are too many.
    pub fn take_at(&mut self, first: u64, pages: Pages) -> Result<(), TakeRefusal> {
        if pages.raw() == 0 {
            return Err(TakeRefusal::Empty);
        }
        let not_free = TakeRefusal::NotFree { first, pages };
        let end = first.checked_add(pages.raw()).ok_or(not_free)?;
        let found = self.holes.last_from(first).filter(|path| end <= path.hole().end);
        self.cut(&found.ok_or(not_free)?, first, end)
    }

    /// Gives back pages that were taken: a piece, a part of one, or several that are neighbours.
    ///
    /// # Errors
    /// Some of them are not taken; or there are too many holes. The latter never happens to a holder that gives back
    /// what it took as a whole, and never has more pieces than the limit on holes less [`RESERVED_MAX`].
    pub fn give_back(&mut self, first: u64, pages: Pages) -> Result<(), GiveBackRefusal> {
        let not_taken = GiveBackRefusal::NotTaken { first, pages };
        let end = first.checked_add(pages.raw()).ok_or(not_taken)?;
        if !self.is_usable(first, end) {
            return Err(not_taken);
        }
        let below = self.holes.last_from(end - 1);
        if below.is_some_and(|path| path.hole().end > first) {
            return Err(not_taken);
        }
        self.join(below, first, end).ok_or(GiveBackRefusal::TooManyHoles {
            first,
            pages,
            holes_max: self.holes_max,
        })?;
        self.free += pages.raw();
        Ok(())
    }

    /// How many pages are free.
    #[must_use]
    pub const fn free(&self) -> Pages {
        Pages::new(self.free)
    }

    /// How many pages are free in the longest piece.
    #[must_use]
    pub fn largest_free(&self) -> Pages {
        Pages::new(self.holes.longest())
    }

    /// In how many pieces the free pages lie.
    #[must_use]
    pub const fn holes(&self) -> usize {
        self.holes.holes()
    }

    /// The memory this takes, in bytes: in proportion to the most holes there have been at once.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.reserved.capacity() * size_of::<Range<u64>>()
            + self.holes.heap_bytes()
    }

    /// A hole, and where in it the pages can be.
    fn find(&self, pages: u64, order: u8) -> Option<(Path, u64)> {
        let wish = Wish::Pages(pages);
        let long_enough =
            std::iter::successors(self.holes.first(wish), |path| self.holes.next(path, wish));
        let mut best: Option<(Path, u64)> = None;
        for path in long_enough.take(PROBES_MAX) {
            let length = path.hole().pages();
            if best.is_none_or(|(best, _)| length < best.hole().pages())
                && let Some(first) = path.hole().place(pages, order)
            {
                best = Some((path, first));
                if length == pages {
                    break;
                }
            }
        }
        best.or_else(|| self.find_aligned(pages, order))
    }

    /// The same without probes: a hole that has an aligned place for sure.
    fn find_aligned(&self, pages: u64, order: u8) -> Option<(Path, u64)> {
        let block = Wish::Block(order.max(ceil_log2(pages)));
        let any_start = Wish::Pages(pages.checked_add((1 << order) - 1)?);
        let path = self.holes.first(block).or_else(|| self.holes.first(any_start))?;
        Some((path, path.hole().place(pages, order)?))
    }

    /// Takes `first..end` out of the hole around it.
    fn cut(&mut self, path: &Path, first: u64, end: u64) -> Result<(), TakeRefusal> {
        let hole = path.hole();
        let (low, high) = (Hole::between(hole.start, first), Hole::between(end, hole.end));
        match (low, high) {
            (None, None) => self.holes.remove(path),
            (Some(rest), None) | (None, Some(rest)) => self.holes.replace(path, rest),
            (Some(_), Some(_)) if self.holes.holes() >= self.holes_max => {
                return Err(TakeRefusal::TooManyHoles { holes_max: self.holes_max });
            }
            (Some(low), Some(high)) => {
                self.holes.replace(path, low);
                self.holes.insert(Some(*path), high);
            }
        }
        self.free -= end - first;
        Ok(())
    }

    /// Joins `first..end` with the holes that it touches, or makes it a new one; `None` if there are too many. `below`
    /// is the last hole before it.
    fn join(&mut self, below: Option<Path>, first: u64, end: u64) -> Option<()> {
        let touching = below.filter(|path| path.hole().end == first);
        let above = self.holes.last_from(end).filter(|path| path.hole().start == end);
        match (touching, above) {
            (Some(low), Some(high)) => {
                let hole = Hole { start: low.hole().start, end: high.hole().end };
                self.holes.replace(&low, hole);
                self.holes.remove(&high);
            }
            (Some(low), None) => {
                self.holes.replace(&low, Hole { start: low.hole().start, end });
            }
            (None, Some(high)) => {
                self.holes.replace(&high, Hole { start: first, end: high.hole().end });
            }
            (None, None) if self.holes.holes() >= self.holes_max => return None,
            (None, None) => self.holes.insert(below, Hole { start: first, end }),
        }
        Some(())
    }

    /// Makes all but the reserved ranges free.
    fn fill(&mut self) {
        let mut last = None;
        let starts = std::iter::once(self.range.start).chain(self.reserved.iter().map(|it| it.end));
        let ends = self.reserved.iter().map(|it| it.start).chain(std::iter::once(self.range.end));
        for hole in starts.zip(ends).filter_map(|(start, end)| Hole::between(start, end)) {
            self.holes.insert(last, hole);
            last = self.holes.last_from(hole.start);
            self.free += hole.pages();
        }
    }

    /// Whether `first..end` is not empty, in the range and not reserved.
    fn is_usable(&self, first: u64, end: u64) -> bool {
        let behind = self.reserved.partition_point(|it| it.end <= first);
        let is_reserved = self.reserved.get(behind).is_some_and(|it| it.start < end);
        self.range.start <= first && first < end && end <= self.range.end && !is_reserved
    }

    fn no_room(&self, pages: Pages, alignment: Alignment) -> TakeRefusal {
        let (free, largest) = (self.free(), self.largest_free());
        TakeRefusal::NoRoom { pages, alignment, free, largest }
    }
}

/// The parts of ranges that lie in `within`, ascending, joined where they overlap or touch.
fn joined(within: &Range<u64>, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let clipped = ranges.iter().map(|it| it.start.max(within.start)..it.end.min(within.end));
    let mut sorted: Vec<_> = clipped.filter(|it| !it.is_empty()).collect();
    sorted.sort_unstable_by_key(|it| it.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The smallest order whose block is not smaller than `pages`.
fn ceil_log2(pages: u64) -> u8 {
    let floor = floor_log2(pages);
    floor + u8::from(!pages.is_power_of_two())
}
