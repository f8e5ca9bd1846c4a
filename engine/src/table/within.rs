//! Reading the table: the runs of a range, in ascending order.

use crate::addr::PageShift;

use super::{
    MappedRun, Table,
    arena::{BLOCK_SHIFT, Block},
    span::Span,
    tree::Tree,
    word::{Content, Places, Word},
};

/// TCEs that a word says are set, or several words that continue one another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) word: Word,
}

impl Piece {
    /// Takes in the piece that follows, if it continues this one.
    #[inline]
    pub(super) fn take_in(&mut self, next: &Self, page: PageShift) -> bool {
        let continues =
            self.end == next.first && self.word.advanced(self.end - self.first, page) == next.word;
        if continues {
            self.end = next.end;
        }
        continues
    }
}

/// The pieces of a range, in ascending order.
#[derive(Debug)]
struct Pieces<'a> {
    tree: &'a Tree,
    at: u64,
    end: u64,
    /// The block of the lowest level that was read last.
    lowest: Option<(Span, &'a Block)>,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        while self.at < self.end {
            let found = match self.lowest {
                Some((span, block)) if self.at < span.end() => self.in_block(span, block),
                _ => self.descend(),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl Pieces<'_> {
    /// The piece that `at` is in, or else a step towards the next one.
    fn descend(&mut self) -> Option<Piece> {
        let mut span = self.tree.span();
        let mut word = self.tree.root;
        while let Content::Block(number) = word.content() {
            let block = self.tree.arena.block(number);
            if span.shift == BLOCK_SHIFT {
                self.lowest = Some((span, block));
                return self.in_block(span, block);
            }
            let end = self.end.min(span.end());
            let mut slots = span.slot_of(self.at)..=span.slot_of(end - 1);
            let Some(slot) = slots.find(|slot| block[*slot] != Word::NOTHING) else {
                self.at = end;
                return None;
            };
            word = block[slot];
            span = span.below(slot);
            self.at = self.at.max(span.base);
        }
        self.of_word(span, word)
    }

    /// The first piece at or behind `at` in a block of the lowest level.
    fn in_block(&mut self, span: Span, block: &Block) -> Option<Piece> {
        let end = self.end.min(span.end());
        while self.at < end {
            let (first, word) = (self.at, block[span.slot_of(self.at)]);
            self.at += 1;
            if word != Word::NOTHING {
                return Some(Piece { first, end: self.at, word });
            }
        }
        None
    }

    /// The part from `at` of what one word stands for.
    fn of_word(&mut self, span: Span, word: Word) -> Option<Piece> {
        let first = self.at;
        self.at = self.end.min(span.end());
        let word = word.advanced(first - span.base, self.tree.page);
        word.is_target().then_some(Piece { first, end: self.at, word })
    }
}

/// The runs of a range, in ascending order, each as long as it can be: see [`Table::within`].
#[derive(Debug)]
pub struct Within<'a> {
    places: &'a Places,
    pieces: Pieces<'a>,
    /// The piece behind the last run.
    ahead: Option<Piece>,
}

impl<'a> Within<'a> {
    pub(super) fn new(Table { tree, places, .. }: &'a Table, first: u64, end: u64) -> Self {
        let end = end.min(tree.span().end());
        let mut pieces = Pieces { tree, at: first, end, lowest: None };
        let ahead = pieces.next();
        Self { places, pieces, ahead }
    }

    /// Whether no run is left.
    pub(super) const fn is_over(&self) -> bool {
        self.ahead.is_none()
    }
}

impl Iterator for Within<'_> {
    type Item = MappedRun;

    fn next(&mut self) -> Option<MappedRun> {
        let mut run = self.ahead.take()?;
        while let Some(next) = self.pieces.next() {
            if !run.take_in(&next, self.pieces.tree.page) {
                self.ahead = Some(next);
                break;
            }
        }
        Some(self.places.run(&run))
    }
}
