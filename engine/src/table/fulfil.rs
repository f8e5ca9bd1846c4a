//! Many wishes at once. They are looked up together before anything is done about one of them: the processor fetches the
//! words side by side then, where it would else wait for each.

use crate::{
    bits::{count, places, sets_of},
    edit::Wish,
};

use super::{MappedRun, Table, within::Piece, word::Word};

/// The most wishes that are looked up together: enough for the processor to have always words to fetch, and few enough for
/// what was looked up to stay close to it.
pub(crate) const TOGETHER_MAX: usize = 64;

/// Where a table has the first TCE of each wish. It stays so until a block is given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// For each wish its block of the lowest level, or what is said higher up of its first TCE.
    above: Vec<Word>,
    given_back: u64,
}

impl Found {
    /// So many wishes at a time.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[Word]> {
        self.above.chunks(TOGETHER_MAX)
    }
}

impl Table {
    /// Finds the first TCE of each wish.
    pub(crate) fn find(&self, wishes: &[Wish]) -> Found {
        let mut above = vec![Word::NOTHING; wishes.len()];
        for (wishes, above) in wishes.chunks(TOGETHER_MAX).zip(above.chunks_mut(TOGETHER_MAX)) {
            self.tree.words_above(firsts(wishes), above);
        }
        Found { above, given_back: self.tree.arena.given_back() }
    }

    /// Puts in `words` what the table says of the first TCE of each wish, of [`TOGETHER_MAX`] at most, which were found
    /// there.
    pub(crate) fn read(&self, wishes: &[Wish], above: &[Word], words: &mut [Word]) {
        let mut lowest = [&Word::NOTHING; TOGETHER_MAX];
        self.tree.lowest(firsts(wishes), above, &mut lowest);
        // A loop that does nothing else: so the processor has as many words on their way as it can.
        words.iter_mut().zip(&lowest[..wishes.len()]).for_each(|(word, lowest)| *word = **lowest);
    }

    /// Makes all as wished, and hands each run of what is mapped there now to `forgotten`, in no order. The
    /// wishes are settled: ascending, each TCE in one at most; and they are those that were found in this table.
    ///
    /// # Panics
    /// If others were found, and as [`Table::replace`].
    pub fn fulfil(
        &mut self,
        wishes: &[Wish],
        found: &Found,
        mut forgotten: impl FnMut(&MappedRun),
    ) {
        debug_assert!(wishes.is_sorted_by(|low, high| low.end <= high.first), "settled before");
        assert_eq!(wishes.len(), found.above.len(), "what was found is of these wishes");
        for (together, above) in wishes.chunks(TOGETHER_MAX).zip(found.chunks()) {
            if self.tree.arena.given_back() == found.given_back {
                self.fulfil_together(together, above, &mut forgotten);
            } else {
                let found = self.find(together);
                self.fulfil_together(together, &found.above, &mut forgotten);
            }
        }
        if self.tces == 0 {
            self.places.forget();
        }
    }

    /// Step by step, each for all of these wishes: see [`bits`](crate::bits).
    fn fulfil_together(
        &mut self,
        wishes: &[Wish],
        above: &[Word],
        forgotten: &mut impl FnMut(&MappedRun),
    ) {
        let given_back = self.tree.arena.given_back();
        let [maps, in_block, others] = sets_of(wishes.iter().zip(above), |(wish, above)| {
            // So are most: one TCE in a block that is there.
            let is_in_block = (wish.end - wish.first == 1) & above.block().is_some();
            [wish.target.is_some(), is_in_block, !is_in_block]
        });
        let mut words = self.words_of(wishes, maps);
        let set = self.exchange(wishes, above, in_block, &mut words);
        for at in places(set) {
            let Wish { first, end, .. } = wishes[at];
            forgotten(&self.places.run(&Piece { first, end, word: words[at] }));
        }
        for at in places(others) {
            self.change(wishes[at].first, wishes[at].end, words[at], &mut *forgotten);
        }
        for at in places(in_block) {
            let block = above[at].block().filter(|_| self.tree.arena.given_back() == given_back);
            self.tree.join_at(block, wishes[at].first);
        }
    }

    /// The words that wishes shall become, and counts those that are `maps`.
    fn words_of(&mut self, wishes: &[Wish], maps: u64) -> [Word; TOGETHER_MAX] {
        let mut words = [Word::NOTHING; TOGETHER_MAX];
        for at in places(maps) {
            let Wish { first, end, target } = wishes[at];
            if let Some(target) = target {
                let run = MappedRun { first, pages: end - first, target };
                words[at] = self.word_of(&run);
                self.tces += run.pages;
            }
        }
        words
    }

    /// Exchanges words with those in their blocks, and returns where a TCE was set.
    fn exchange(&mut self, wishes: &[Wish], above: &[Word], of: u64, words: &mut [Word]) -> u64 {
        let mut set = 0;
        for at in places(of) {
            if let Some(block) = above[at].block() {
                words[at] = self.tree.exchange(block, wishes[at].first, words[at]);
                set |= u64::from(words[at].is_target()) << at;
            }
        }
        self.tces -= count(set);
        set
    }
}

/// The first TCE of each wish.
fn firsts(wishes: &[Wish]) -> impl Iterator<Item = u64> + Clone {
    wishes.iter().map(|wish| wish.first)
}
