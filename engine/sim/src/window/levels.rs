//! The levels of a table. Only the first is allocated with the table; lower ones come when a TCE in them is set
//! (`pnv_tce`), from memory that must be at hand (`GFP_ATOMIC`).

use std::collections::BTreeSet;

use super::table::TableRun;

/// The levels.
#[derive(Debug)]
pub(crate) struct Levels {
    count: u32,
    /// `log2` of the TCEs that one lowest level holds.
    lowest_shift: u32,
    /// Lowest levels that exist, by number. Empty for a table of one level.
    made: BTreeSet<u64>,
}

impl Levels {
    /// Levels as they were asked for; `lowest_shift` says how many TCEs each of the lowest level holds.
    pub(crate) const fn new(count: u32, lowest_shift: u32) -> Self {
        Self { count, lowest_shift, made: BTreeSet::new() }
    }

    /// How many were asked for.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Bits of an address that choose a TCE, those of all levels together.
    pub(crate) const fn index_bits(&self) -> u32 {
        self.lowest_shift.saturating_mul(if self.is_flat() { 1 } else { self.count })
    }

    /// Whether every TCE has its place from the start.
    const fn is_flat(&self) -> bool {
        self.count <= 1
    }

    /// The first TCE of a run whose lowest level is not there yet, counted from the run's start.
    pub(crate) fn first_missing(&self, run: TableRun) -> Option<u64> {
        let last = run.last().filter(|_| !self.is_flat())?;
        let missing = (run.index >> self.lowest_shift..=last >> self.lowest_shift)
            .find(|number| !self.made.contains(number))?;
        Some((missing << self.lowest_shift).saturating_sub(run.index))
    }

    /// Makes the lowest levels for a run.
    pub(crate) fn make(&mut self, run: TableRun) {
        let Some(last) = run.last().filter(|_| !self.is_flat()) else { return };
        self.made.extend(run.index >> self.lowest_shift..=last >> self.lowest_shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_levels_are_made_once_and_where_needed() {
        let mut levels = Levels::new(2, 9);
        let run = TableRun { index: 500, count: 30 };
        assert_eq!(levels.first_missing(run), Some(0));
        levels.make(TableRun { index: 0, count: 1 });
        assert_eq!(levels.first_missing(run), Some(12), "the first of the second level");
        levels.make(run);
        assert_eq!(levels.first_missing(run), None);
        assert_eq!(levels.first_missing(TableRun { index: 5000, count: 0 }), None);
    }

    #[test]
    fn one_level_misses_nothing() {
        let levels = Levels::new(1, 9);
        assert_eq!(levels.first_missing(TableRun { index: 1 << 40, count: 7 }), None);
    }
}
