//! An ordered tree of what is taken, and magazines of what was freed: the design of Linux' `drivers/iommu/iova.c`.
//!
//! The tree is searched downwards from the last piece that was placed, and once more from the top. Pieces are aligned
//! to their size rounded up to a power of two. Freed pieces of up to 32 pages stay in magazines for their size, 127
//! pieces in each: two at hand and up to 32 in a depot. If there is no room, all magazines are emptied and the search
//! begins again.

use std::collections::BTreeMap;

use crate::design::{Design, MAP_ENTRY_BYTES};

/// Sizes with magazines: 2^0 to 2^5 pages.
const CLASSES: usize = 6;
const MAGAZINE: usize = 127;
const DEPOT_MAX: usize = 32;

#[derive(Default)]
struct Magazines {
    loaded: Vec<u64>,
    previous: Vec<u64>,
    depot: Vec<Vec<u64>>,
}

pub(crate) struct Cached {
    pages: u64,
    /// What is taken or in a magazine: where it begins, and where it ends.
    taken: BTreeMap<u64, u64>,
    /// The start of the piece to search down from, if not from the top.
    last: Option<u64>,
    magazines: [Magazines; CLASSES],
}

impl Magazines {
    fn pop(&mut self) -> Option<u64> {
        if self.loaded.is_empty() {
            std::mem::swap(&mut self.loaded, &mut self.previous);
        }
        if self.loaded.is_empty()
            && let Some(full) = self.depot.pop()
        {
            self.loaded = full;
        }
        self.loaded.pop()
    }

    /// Keeps a piece. Returns those that there is no place for any more.
    fn push(&mut self, first: u64) -> Vec<u64> {
        if self.loaded.len() == MAGAZINE {
            std::mem::swap(&mut self.loaded, &mut self.previous);
        }
        let mut surplus = Vec::new();
        if self.loaded.len() == MAGAZINE {
            let full = std::mem::take(&mut self.loaded);
            if self.depot.len() < DEPOT_MAX {
                self.depot.push(full);
            } else {
                surplus = full;
            }
        }
        self.loaded.push(first);
        surplus
    }

    fn drain(&mut self) -> Vec<u64> {
        let mut all = std::mem::take(&mut self.loaded);
        all.append(&mut self.previous);
        all.extend(self.depot.drain(..).flatten());
        all
    }
}

impl Design for Cached {
    const NAME: &'static str = "cached";

    fn new(pages: u64) -> Self {
        Self { pages, taken: BTreeMap::new(), last: None, magazines: Default::default() }
    }

    fn take(&mut self, pages: u64, alignment: u64) -> Option<u64> {
        let natural = pages.next_power_of_two();
        let class = class_of(pages).filter(|_| alignment <= natural);
        let size = if class.is_some() { natural } else { pages };
        if let Some(first) = class.and_then(|class| self.magazines[class].pop()) {
            return Some(first);
        }
        let alignment = alignment.max(natural);
        self.place(size, alignment).or_else(|| {
            self.empty_magazines();
            self.place(size, alignment)
        })
    }

    fn give_back(&mut self, first: u64, pages: u64) {
        // A small piece that was aligned to more than its size has no rounded size.
        let rounded = pages.next_power_of_two();
        let class = class_of(pages).filter(|_| self.taken[&first] - first == rounded);
        match class {
            Some(class) => {
                for surplus in self.magazines[class].push(first) {
                    self.forget(surplus);
                }
            }
            None => self.forget(first),
        }
    }

    fn bytes(&self) -> usize {
        let kept = |it: &Magazines| {
            let depot: usize = it.depot.iter().map(Vec::capacity).sum();
            it.loaded.capacity() + it.previous.capacity() + depot
        };
        let kept: usize = self.magazines.iter().map(kept).sum();
        self.taken.len() * MAP_ENTRY_BYTES + kept * size_of::<u64>()
    }
}

impl Cached {
    /// The highest place below the last one, or else below the top.
    fn place(&mut self, size: u64, alignment: u64) -> Option<u64> {
        let first = match self.last {
            Some(last) => self
                .place_below(last, size, alignment)
                .or_else(|| self.place_below(self.pages, size, alignment)),
            None => self.place_below(self.pages, size, alignment),
        }?;
        self.taken.insert(first, first + size);
        self.last = Some(first);
        Some(first)
    }

    fn place_below(&self, top: u64, size: u64, alignment: u64) -> Option<u64> {
        let mut high = top;
        let mut below = self.taken.range(..top).rev();
        loop {
            let first = high.checked_sub(size)? & !(alignment - 1);
            let Some((start, end)) = below.next() else { return Some(first) };
            if first >= *end {
                return Some(first);
            }
            high = *start;
        }
    }

    /// Takes a piece out of the tree. If it lay above the last one, the search begins there again.
    fn forget(&mut self, first: u64) {
        self.taken.remove(&first);
        if self.last.is_some_and(|last| first >= last) {
            self.last = self.taken.range(first..).next().map(|(start, _)| *start);
        }
    }

    fn empty_magazines(&mut self) {
        for class in 0..CLASSES {
            for first in self.magazines[class].drain() {
                self.forget(first);
            }
        }
    }
}

fn class_of(pages: u64) -> Option<usize> {
    let order = usize::try_from(pages.next_power_of_two().ilog2()).unwrap();
    (order < CLASSES).then_some(order)
}
