//! Two-level segregated fit: holes in lists by size class, two bitmaps say which lists have some.
//!
//! A class is a power of two divided by 32. A request takes any hole of the next class up, so that each is long enough:
//! good fit without a search. Blocks, taken or free, know their neighbours; a hash map finds a block by its first page.

use std::collections::HashMap;

use crate::design::Design;

/// Divisions of a power of two.
const DIVISIONS: usize = 32;
const DIVISIONS_LOG2: u32 = 5;
const POWERS: usize = 48;
const NONE: usize = usize::MAX;

#[derive(Clone, Copy)]
struct Block {
    first: u64,
    pages: u64,
    below: usize,
    above: usize,
    /// The lists' links, while it is free.
    previous: usize,
    next: usize,
    is_free: bool,
}

pub(crate) struct Tlsf {
    blocks: Vec<Block>,
    spare: Vec<usize>,
    powers: u64,
    divisions: [u32; POWERS],
    heads: Vec<[usize; DIVISIONS]>,
    taken: HashMap<u64, usize>,
}

impl Design for Tlsf {
    const NAME: &'static str = "TLSF";

    fn new(pages: u64) -> Self {
        let mut new = Self {
            blocks: Vec::new(),
            spare: Vec::new(),
            powers: 0,
            divisions: [0; POWERS],
            heads: vec![[NONE; DIVISIONS]; POWERS],
            taken: HashMap::new(),
        };
        let all = new.store(Block {
            first: 0,
            pages,
            below: NONE,
            above: NONE,
            previous: NONE,
            next: NONE,
            is_free: false,
        });
        new.list(all);
        new
    }

    fn take(&mut self, pages: u64, alignment: u64) -> Option<u64> {
        let mut block = self.find(pages + alignment - 1)?;
        self.unlist(block);
        let start = self.blocks[block].first;
        let first = start.next_multiple_of(alignment);
        if first > start {
            let rest = self.split(block, first - start);
            self.list(block);
            block = rest;
        }
        if self.blocks[block].pages > pages {
            let rest = self.split(block, pages);
            self.list(rest);
        }
        self.taken.insert(first, block);
        Some(first)
    }

    fn give_back(&mut self, first: u64, _pages: u64) {
        let mut block = self.taken.remove(&first).unwrap();
        let Block { below, above, .. } = self.blocks[block];
        if above != NONE && self.blocks[above].is_free {
            self.unlist(above);
            self.absorb(block, above);
        }
        if below != NONE && self.blocks[below].is_free {
            self.unlist(below);
            self.absorb(below, block);
            block = below;
        }
        self.list(block);
    }

    fn bytes(&self) -> usize {
        let lists = self.heads.len() * size_of::<[usize; DIVISIONS]>();
        let blocks = self.blocks.capacity() * size_of::<Block>();
        let spare = self.spare.capacity() * size_of::<usize>();
        // A pair and a control byte, in a table that is at most 7/8 full.
        let taken = self.taken.capacity() * 8 / 7 * (size_of::<(u64, usize)>() + 1);
        lists + blocks + spare + taken
    }
}

impl Tlsf {
    /// A free block of a class that is surely long enough.
    fn find(&self, pages: u64) -> Option<usize> {
        let width = if pages < 32 { 1 } else { 1 << (pages.ilog2() - DIVISIONS_LOG2) };
        let (power, division) = class(pages + width - 1);
        let divisions = self.divisions[power] & (u32::MAX << division);
        if divisions != 0 {
            return Some(self.heads[power][usize::try_from(divisions.trailing_zeros()).unwrap()]);
        }
        let powers = self.powers & (u64::MAX << (power + 1));
        if powers == 0 {
            return None;
        }
        let power = usize::try_from(powers.trailing_zeros()).unwrap();
        Some(self.heads[power][usize::try_from(self.divisions[power].trailing_zeros()).unwrap()])
    }

    /// Puts a block at the head of its list.
    fn list(&mut self, id: usize) {
        let (power, division) = class(self.blocks[id].pages);
        let next = std::mem::replace(&mut self.heads[power][division], id);
        if next != NONE {
            self.blocks[next].previous = id;
        }
        let block = &mut self.blocks[id];
        (block.previous, block.next, block.is_free) = (NONE, next, true);
        self.powers |= 1 << power;
        self.divisions[power] |= 1 << division;
    }

    fn unlist(&mut self, id: usize) {
        let Block { pages, previous, next, .. } = self.blocks[id];
        self.blocks[id].is_free = false;
        if next != NONE {
            self.blocks[next].previous = previous;
        }
        if previous != NONE {
            self.blocks[previous].next = next;
            return;
        }
        let (power, division) = class(pages);
        self.heads[power][division] = next;
        if next == NONE {
            self.divisions[power] &= !(1 << division);
            if self.divisions[power] == 0 {
                self.powers &= !(1 << power);
            }
        }
    }

    /// Cuts a block behind its first pages, and returns the rest.
    fn split(&mut self, id: usize, pages: u64) -> usize {
        let whole = self.blocks[id];
        let rest = self.store(Block {
            first: whole.first + pages,
            pages: whole.pages - pages,
            below: id,
            ..whole
        });
        if whole.above != NONE {
            self.blocks[whole.above].below = rest;
        }
        let block = &mut self.blocks[id];
        (block.pages, block.above) = (pages, rest);
        rest
    }

    /// Makes two neighbours one.
    fn absorb(&mut self, low: usize, high: usize) {
        let Block { pages, above, .. } = self.blocks[high];
        self.blocks[low].pages += pages;
        self.blocks[low].above = above;
        if above != NONE {
            self.blocks[above].below = low;
        }
        self.spare.push(high);
    }

    fn store(&mut self, block: Block) -> usize {
        if let Some(id) = self.spare.pop() {
            self.blocks[id] = block;
            return id;
        }
        self.blocks.push(block);
        self.blocks.len() - 1
    }
}

/// The power of two and the division of it that a size belongs to.
fn class(pages: u64) -> (usize, usize) {
    if pages < 32 {
        return (0, usize::try_from(pages).unwrap());
    }
    let shift = pages.ilog2() - DIVISIONS_LOG2;
    let division = (pages >> shift) - 32;
    (usize::try_from(shift + 1).unwrap(), usize::try_from(division).unwrap())
}
