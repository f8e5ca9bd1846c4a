//! The tree of words, and how a range of it is changed: down from the root and up again.

use crate::addr::PageShift;

use super::{
    arena::{Arena, BLOCK_SHIFT, Block},
    span::{SPAN_SHIFT_MAX, Span},
    within::Piece,
    word::{BlockNumber, Content, Word},
};

const SLOT_MASK: u64 = (1 << BLOCK_SHIFT) - 1;

/// The words of a window.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) page: PageShift,
    pub(super) root: Word,
    /// What the root stands for: [`Span`]'s shift.
    shift: u32,
    pub(super) arena: Arena,
}

/// A range that shall say something else, and who is told what it said.
struct Change<F> {
    first: u64,
    end: u64,
    /// What the first TCE shall say, and the others continue.
    word: Word,
    page: PageShift,
    forgotten: Option<Piece>,
    tell: F,
}

impl<F: FnMut(Piece)> Change<F> {
    const fn covers(&self, span: Span) -> bool {
        self.first <= span.base && span.end() <= self.end
    }

    const fn word_at(&self, tce: u64) -> Word {
        self.word.advanced(tce - self.first, self.page)
    }

    /// The part of a span that changes.
    fn part_of(&self, span: Span) -> (u64, u64) {
        (self.first.max(span.base), self.end.min(span.end()))
    }

    /// Forgets a piece; those that continue one another are told as one.
    #[inline]
    fn forget(&mut self, piece: Piece) {
        if let Some(before) = &mut self.forgotten
            && before.take_in(&piece, self.page)
        {
            return;
        }
        if let Some(before) = self.forgotten.replace(piece) {
            (self.tell)(before);
        }
    }
}

impl Tree {
    pub(super) const fn new(page: PageShift) -> Self {
        Self { page, root: Word::NOTHING, shift: 0, arena: Arena::new() }
    }

    /// What the root stands for.
    pub(super) const fn span(&self) -> Span {
        Span { base: 0, shift: self.shift }
    }

    /// What TCEs say, or their blocks of the lowest level. Level by level: blocks are far from the processor if the table
    /// is large, and so it need not wait for one before it asks for the next.
    pub(super) fn words_above(&self, tces: impl Iterator<Item = u64> + Clone, words: &mut [Word]) {
        let all = self.span();
        for (word, tce) in words.iter_mut().zip(tces.clone()) {
            let is_inside = tce < all.end();
            *word = if is_inside { self.root.advanced(tce, self.page) } else { Word::NOTHING };
        }
        let mut shift = self.shift;
        while shift > BLOCK_SHIFT {
            shift -= BLOCK_SHIFT;
            self.read_level(tces.clone(), shift, words);
        }
    }

    /// Takes words that are blocks one level down.
    fn read_level(&self, tces: impl Iterator<Item = u64>, shift: u32, words: &mut [Word]) {
        for (word, tce) in words.iter_mut().zip(tces) {
            if let Some(number) = word.block() {
                let below = self.arena.block(number)[slot(tce >> shift)];
                *word = below.advanced(tce & ((1 << shift) - 1), self.page);
            }
        }
    }

    /// Where it is said what words say that may be blocks of the lowest level.
    pub(super) fn lowest<'a>(
        &'a self,
        tces: impl Iterator<Item = u64>,
        words: &'a [Word],
        lowest: &mut [&'a Word],
    ) {
        for ((lowest, word), tce) in lowest.iter_mut().zip(words).zip(tces) {
            *lowest = match word.block() {
                Some(number) => &self.arena.block(number)[slot(tce)],
                None => word,
            };
        }
    }

    /// What one TCE says.
    #[inline]
    pub(super) fn word_at(&self, tce: u64) -> Word {
        if tce >= self.span().end() {
            return Word::NOTHING;
        }
        let (mut word, mut shift) = (self.root, self.shift);
        while let Some(number) = word.block() {
            shift -= BLOCK_SHIFT;
            word = self.arena.block(number)[slot(tce >> shift)];
        }
        word.advanced(tce & ((1 << shift) - 1), self.page)
    }

    /// The block of the lowest level that some TCEs are all in, if there is one.
    #[inline]
    fn lowest_block(&self, first: u64, end: u64) -> Option<BlockNumber> {
        if end > self.span().end() || first >> BLOCK_SHIFT != (end - 1) >> BLOCK_SHIFT {
            return None;
        }
        let (mut number, mut shift) = (self.root.block()?, self.shift);
        while shift > BLOCK_SHIFT {
            shift -= BLOCK_SHIFT;
            number = self.arena.block(number)[slot(first >> shift)].block()?;
        }
        Some(number)
    }

    /// Makes `first..end`, which is not empty, say that `word` and what continues it is there. What was there before
    /// is told, in ascending order.
    ///
    /// # Panics
    /// If a target is to lie where no window has TCEs.
    pub(super) fn change(&mut self, first: u64, end: u64, word: Word, tell: impl FnMut(Piece)) {
        let end = if word.is_target() { end } else { end.min(self.span().end()) };
        if first >= end {
            return;
        }
        let page = self.page;
        let mut change = Change { first, end, word, page, forgotten: None, tell };
        if let Some(number) = self.lowest_block(first, end) {
            self.change_lowest(number, &mut change);
        } else {
            self.grow_to(end);
            self.root = self.changed(self.span(), self.root, &mut change);
        }
        if let Some(last) = change.forgotten {
            (change.tell)(last);
        }
        if self.root == Word::NOTHING {
            self.shift = 0;
        }
    }

    /// The usual case of few TCEs where others are: nothing is split for them, and little has to be joined.
    #[inline]
    fn change_lowest<F: FnMut(Piece)>(&mut self, number: BlockNumber, change: &mut Change<F>) {
        let Change { first, end, mut word, page, .. } = *change;
        let block = self.arena.block_mut(number);
        for tce in first..end {
            let old = std::mem::replace(&mut block[slot(tce)], word);
            if old.is_target() {
                change.forget(Piece { first: tce, end: tce + 1, word: old });
            }
            word = word.advanced(1, page);
        }
        if says_one_thing(block, 1, page, slot(first)) {
            self.root = self.joined_above(self.span(), self.root, first);
        }
    }

    /// Has one TCE say something, in its block of the lowest level, and takes what it said. Blocks that say one thing
    /// then are not joined yet.
    #[inline]
    pub(super) fn exchange(&mut self, number: BlockNumber, tce: u64, word: Word) -> Word {
        std::mem::replace(&mut self.arena.block_mut(number)[slot(tce)], word)
    }

    /// Joins the blocks above a TCE where they say one thing; its block of the lowest level may be known.
    #[inline]
    pub(super) fn join_at(&mut self, number: Option<BlockNumber>, tce: u64) {
        let Some(number) = number.or_else(|| self.lowest_block(tce, tce + 1)) else { return };
        if says_one_thing(self.arena.block(number), 1, self.page, slot(tce)) {
            self.root = self.joined_above(self.span(), self.root, tce);
        }
    }

    /// What a word is after the blocks above a TCE were joined where they say one thing.
    fn joined_above(&mut self, span: Span, word: Word, tce: u64) -> Word {
        let Some(number) = word.block() else { return word };
        let slot = span.slot_of(tce);
        let below = self.arena.block(number)[slot];
        self.arena.block_mut(number)[slot] = self.joined_above(span.below(slot), below, tce);
        self.joined(span, number, slot)
    }

    fn grow_to(&mut self, end: u64) {
        while self.span().end() < end {
            assert!(self.shift < SPAN_SHIFT_MAX, "no window has a TCE {end}");
            self.shift += BLOCK_SHIFT;
            if self.root != Word::NOTHING {
                let number = self.arena.split(Word::NOTHING, 1, self.page);
                self.arena.block_mut(number)[0] = self.root;
                self.root = Word::of_block(number);
            }
        }
    }

    /// What a word is after a change.
    fn changed<F: FnMut(Piece)>(&mut self, span: Span, word: Word, change: &mut Change<F>) -> Word {
        if change.covers(span) {
            self.forget(span, word, change);
            return change.word_at(span.base);
        }
        let (first, end) = change.part_of(span);
        let number = match word.content() {
            Content::Block(number) => number,
            Content::Nothing if change.word == Word::NOTHING => return word,
            Content::Target
                if word.advanced(first - span.base, self.page) == change.word_at(first) =>
            {
                change.forget(Piece { first, end, word: change.word_at(first) });
                return word;
            }
            Content::Nothing | Content::Target => {
                self.arena.split(word, span.tces_below(), self.page)
            }
        };
        for slot in span.slot_of(first)..=span.slot_of(end - 1) {
            let old = self.arena.block(number)[slot];
            let new = self.changed(span.below(slot), old, change);
            self.arena.block_mut(number)[slot] = new;
        }
        self.joined(span, number, span.slot_of(first))
    }

    /// One word for a block if it says no more than that, where a slot has just changed.
    fn joined(&mut self, span: Span, number: BlockNumber, changed: usize) -> Word {
        let block = self.arena.block(number);
        if !says_one_thing(block, span.tces_below(), self.page, changed) {
            return Word::of_block(number);
        }
        let word = block[0];
        self.arena.give_back(number);
        word
    }

    /// Forgets all that a word says, and gives its blocks back.
    fn forget<F: FnMut(Piece)>(&mut self, span: Span, word: Word, change: &mut Change<F>) {
        match word.content() {
            Content::Nothing => {}
            Content::Target => change.forget(Piece { first: span.base, end: span.end(), word }),
            Content::Block(number) => {
                for slot in 0..self.arena.block(number).len() {
                    let below = self.arena.block(number)[slot];
                    self.forget(span.below(slot), below, change);
                }
                self.arena.give_back(number);
            }
        }
    }
}

/// Which word of its block stands for a TCE, or for a span of a number.
#[inline]
fn slot(number: u64) -> usize {
    usize::try_from(number & SLOT_MASK).expect("a place in a block")
}

/// Whether each word of a block continues the one before it. Where that is not so, it mostly shows at the slot that changed,
/// so its pair is looked at first, and then the eight slots around it. They are close to the processor, while every other
/// word of the block may be far from it.
#[inline]
fn says_one_thing(block: &Block, tces: u64, page: PageShift, changed: usize) -> bool {
    let continues = |high: usize| block[high - 1].advanced(tces, page) == block[high];
    let around = changed & !7;
    continues(changed | 1)
        && (around + 1..around + 8).all(continues)
        && (1..block.len()).all(continues)
}
