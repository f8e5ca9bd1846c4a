//! A bitmap, searched onwards from a hint, in pools: the design of Linux' `arch/powerpc/kernel/iommu.c`.
//!
//! Three quarters of the pages are four pools, one for each hash of a processor, the rest is for requests of more than
//! 15 pages. One processor works here, so its pool is searched first, from its hint, then from its start, then the
//! others.

use std::ops::Range;

use crate::design::Design;

const POOLS: u64 = 4;
/// Larger requests go to the pool of their own.
const SMALL_MAX: u64 = 15;
/// After a small request the hint goes to the next block of this many pages, a cache line of TCEs.
const BLOCK: u64 = 16;
const WORD: u64 = 64;

struct Pool {
    range: Range<u64>,
    hint: u64,
}

pub(crate) struct Pools {
    words: Vec<u64>,
    small: Vec<Pool>,
    large: Pool,
}

impl Design for Pools {
    const NAME: &'static str = "pools";

    fn new(pages: u64) -> Self {
        let size = pages / 4 * 3 / POOLS;
        let pool = |range: Range<u64>| Pool { hint: range.start, range };
        Self {
            words: vec![0; usize::try_from(pages.div_ceil(WORD)).unwrap()],
            small: (0..POOLS).map(|number| pool(number * size..(number + 1) * size)).collect(),
            large: pool(size * POOLS..pages),
        }
    }

    fn take(&mut self, pages: u64, alignment: u64) -> Option<u64> {
        let is_large = pages > SMALL_MAX;
        let pools = if is_large { std::slice::from_mut(&mut self.large) } else { &mut self.small };
        let own = &pools[0];
        let tries = std::iter::once(own.hint..own.range.end)
            .chain(pools.iter().map(|pool| pool.range.clone()));
        let (first, number) =
            tries.zip(std::iter::once(0).chain(0..)).find_map(|(range, number)| {
                Some((find(&self.words, range, pages, alignment)?, number))
            })?;
        let end = first + pages;
        let pool = &mut pools[number];
        pool.hint = if is_large { end } else { end.next_multiple_of(BLOCK) }.min(pool.range.end);
        each_word(first, pages, |word, mask| self.words[word] |= mask);
        Some(first)
    }

    fn give_back(&mut self, first: u64, pages: u64) {
        each_word(first, pages, |word, mask| self.words[word] &= !mask);
        if self.large.range.contains(&first) {
            self.large.hint = first;
        }
    }

    fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

/// The first aligned run of clear bits in a range.
fn find(words: &[u64], range: Range<u64>, pages: u64, alignment: u64) -> Option<u64> {
    let mut from = range.start;
    loop {
        let first = next_bit(words, from..range.end, |word| !word)?.next_multiple_of(alignment);
        if first + pages > range.end {
            return None;
        }
        match next_bit(words, first..first + pages, |word| word) {
            Some(taken) => from = taken + 1,
            None => return Some(first),
        }
    }
}

/// The first bit set in what `view` makes of the words.
fn next_bit(words: &[u64], range: Range<u64>, view: impl Fn(u64) -> u64) -> Option<u64> {
    let mut at = range.start;
    while at < range.end {
        let word = view(words[usize::try_from(at / WORD).unwrap()]) >> (at % WORD);
        if word != 0 {
            return Some(at + u64::from(word.trailing_zeros())).filter(|bit| *bit < range.end);
        }
        at = (at / WORD + 1) * WORD;
    }
    None
}

/// The words of a range of bits, with the bits meant in each.
fn each_word(first: u64, pages: u64, mut change: impl FnMut(usize, u64)) {
    let (mut at, end) = (first, first + pages);
    while at < end {
        let bits = (WORD - at % WORD).min(end - at);
        change(usize::try_from(at / WORD).unwrap(), (u64::MAX >> (WORD - bits)) << (at % WORD));
        at += bits;
    }
}
