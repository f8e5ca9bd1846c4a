//! Many wishes at once. They are looked up together before anything is done about one of them: the processor fetches the
//! words side by side then, where it would else wait for each.

use crate::edit::Wish;

use super::{MappedRun, Table, within::Piece, word::Word};

/// The most wishes that are looked up together: enough for the processor to have always words to fetch, and few enough for
/// what was looked up to stay close to it.
pub(crate) const TOGETHER_MAX: usize = 64;

impl Table {
    /// What the table says of the first TCE of each wish, of [`TOGETHER_MAX`] at most.
    pub(crate) fn words_at(&self, wishes: &[Wish]) -> [Word; TOGETHER_MAX] {
        let (tces, mut words) = self.above(wishes);
        self.tree.read_lowest(&tces[..wishes.len()], &mut words);
        words
    }

    /// The first TCE of each wish, and its block of the lowest level or what a word higher up says.
    fn above(&self, wishes: &[Wish]) -> ([u64; TOGETHER_MAX], [Word; TOGETHER_MAX]) {
        let mut tces = [0; TOGETHER_MAX];
        tces.iter_mut().zip(wishes).for_each(|(tce, wish)| *tce = wish.first);
        let mut above = [Word::NOTHING; TOGETHER_MAX];
        self.tree.words_above(&tces[..wishes.len()], &mut above);
        (tces, above)
    }

    /// Makes all as wished, and hands each run of what is mapped there now to `forgotten`. The wishes are settled: ascending,
    /// each TCE in one at most.
    ///
    /// # Panics
    /// As [`Table::replace`].
    pub fn fulfil(&mut self, wishes: &[Wish], mut forgotten: impl FnMut(&MappedRun)) {
        debug_assert!(wishes.is_sorted_by(|low, high| low.end <= high.first), "settled before");
        for together in wishes.chunks(TOGETHER_MAX) {
            self.fulfil_together(together, &mut forgotten);
        }
        if self.tces == 0 {
            self.places.forget();
        }
    }

    fn fulfil_together(&mut self, wishes: &[Wish], forgotten: &mut impl FnMut(&MappedRun)) {
        let (tces, above) = self.above(wishes);
        let mut words = above;
        self.tree.read_lowest(&tces[..wishes.len()], &mut words);
        let given_back = self.tree.arena.given_back();
        for ((wish, above), old) in wishes.iter().zip(above).zip(words) {
            let Wish { first, end, target } = *wish;
            let pages = end - first;
            let new = target.map(|target| self.word_of(&MappedRun { first, pages, target }));
            let new = new.unwrap_or(Word::NOTHING);
            match above.block() {
                // Most edits: one TCE in a block that is still there, so what was looked up is still so.
                Some(block) if pages == 1 && self.tree.arena.given_back() == given_back => {
                    self.tree.change_one(block, first, new);
                    if old.is_target() {
                        self.tces -= 1;
                        forgotten(&self.places.run(&Piece { first, end, word: old }));
                    }
                }
                _ => self.change(first, end, new, &mut *forgotten),
            }
            self.tces += if new.is_target() { pages } else { 0 };
        }
    }
}
