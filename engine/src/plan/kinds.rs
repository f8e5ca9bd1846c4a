//! What kinds of wishes there are, so that those of a kind are planned together.

use crate::{bits::sets_of, edit::Wish, table::Word};

/// The kinds of some wishes, each the set of their places. The last two say something of the first TCE of a wish.
#[derive(Clone, Copy)]
pub(super) struct Kinds {
    /// For more than one TCE.
    pub(super) several: u64,
    /// To map.
    pub(super) maps: u64,
    /// It is set now.
    pub(super) set: u64,
    /// It is as wished, and set.
    pub(super) kept: u64,
}

impl Kinds {
    /// Of wishes, of whose first TCEs the table says this.
    pub(super) fn of(wishes: &[Wish], words: &[Word]) -> Self {
        let wishes = wishes.iter().zip(words);
        let [several, maps, set, kept] = sets_of(wishes, |(wish, word)| {
            let Wish { first, end, target } = wish;
            let is_kept = target.is_some_and(|target| word.points_to(&target));
            [end - first > 1, target.is_some(), word.is_target(), is_kept]
        });
        Self { several, maps, set, kept }
    }

    /// Those of them at some places.
    pub(super) const fn at(self, places: u64) -> Self {
        let Self { several, maps, set, kept } = self;
        Self {
            several: several & places,
            maps: maps & places,
            set: set & places,
            kept: kept & places,
        }
    }
}
