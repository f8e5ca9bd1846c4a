//! The TCEs of one window: dense leaves, made when first touched.
//!
//! Invariant: `live` is the number of non-zero words. A leaf, once made, stays until the table goes, like a level of
//! the kernel's table (`pnv_tce`). Indices are checked by the caller: they lie below [`Table::entries`].

use std::collections::BTreeMap;

use super::entry::{Entry, forgotten};

/// TCEs of one leaf, as a power of two.
const LEAF_SHIFT: u32 = 12;
const LEAF_ENTRIES: u64 = 1 << LEAF_SHIFT;

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    entries: u64,
    live: u64,
    leaves: BTreeMap<u64, Box<[u64]>>,
}

/// A piece of a range that lies in one leaf.
struct Piece {
    leaf: u64,
    at: usize,
    end: usize,
}

impl Table {
    /// An empty table of so many TCEs.
    pub(crate) const fn new(entries: u64) -> Self {
        Self { entries, live: 0, leaves: BTreeMap::new() }
    }

    /// How many TCEs it can hold.
    pub(crate) const fn entries(&self) -> u64 {
        self.entries
    }

    /// How many are set.
    pub(crate) const fn live(&self) -> u64 {
        self.live
    }

    /// One TCE.
    pub(crate) fn get(&self, index: u64) -> Option<Entry> {
        Entry::unpack(self.word(index))
    }

    /// Sets `count` TCEs from `index` on, to pages that follow each other in memory. `replaced` hears each old word.
    pub(crate) fn set(
        &mut self,
        run: TableRun,
        first: Entry,
        page_bytes: u64,
        mut replaced: impl FnMut(u64),
    ) {
        let mut word = first.pack();
        let mut fresh = 0;
        for piece in pieces(run) {
            let leaf = self.leaves.entry(piece.leaf).or_insert_with(empty_leaf);
            for slot in &mut leaf[piece.at..piece.end] {
                let old = std::mem::replace(slot, word);
                // The last step may leave 64 bits when memory ends there.
                word = word.wrapping_add(page_bytes);
                if old == 0 {
                    fresh += 1;
                } else {
                    replaced(old);
                }
            }
        }
        self.live += fresh;
    }

    /// The word of one TCE; 0 where none is set.
    pub(crate) fn word(&self, index: u64) -> u64 {
        let piece = piece_at(index, 1);
        self.leaves.get(&piece.leaf).map_or(0, |leaf| leaf[piece.at])
    }

    /// Forgets the address behind a TCE, without touching the TCE. Returns the old word.
    pub(crate) fn forget(&mut self, index: u64) -> u64 {
        let piece = piece_at(index, 1);
        let slot = self.leaves.get_mut(&piece.leaf).map(|leaf| &mut leaf[piece.at]);
        slot.filter(|word| **word != 0).map_or(0, |word| {
            let known = *word;
            *word = forgotten(known);
            known
        })
    }

    /// The TCEs of a run that are set, with their indices.
    pub(crate) fn iter(&self, run: TableRun) -> impl Iterator<Item = (u64, Entry)> {
        let last = run.last();
        let leaves = last.map(|last| run.index >> LEAF_SHIFT..=last >> LEAF_SHIFT);
        let leaves = leaves.into_iter().flat_map(|numbers| self.leaves.range(numbers));
        leaves.flat_map(move |(number, leaf)| {
            let indices = number << LEAF_SHIFT..;
            indices.zip(leaf.iter()).filter_map(move |(index, word)| {
                let is_inside = index >= run.index && last.is_some_and(|last| index <= last);
                Entry::unpack(*word).filter(|_| is_inside).map(|entry| (index, entry))
            })
        })
    }

    /// Clears TCEs; `removed` hears each old word. Absent leaves cost nothing (`tce_iommu_clear` skips absent
    /// levels). Returns how many were set.
    pub(crate) fn clear(&mut self, run: TableRun, mut removed: impl FnMut(u64)) -> u64 {
        let Some(last) = run.last() else { return 0 };
        let mut cleared = 0;
        for (number, leaf) in self.leaves.range_mut(run.index >> LEAF_SHIFT..=last >> LEAF_SHIFT) {
            let base = number << LEAF_SHIFT;
            let at = run.index.saturating_sub(base);
            let end = (last - base + 1).min(LEAF_ENTRIES);
            for slot in &mut leaf[leaf_offset(at)..leaf_offset(end)] {
                if *slot != 0 {
                    removed(std::mem::take(slot));
                    cleared += 1;
                }
            }
        }
        self.live -= cleared;
        cleared
    }
}

/// Neighbouring TCEs of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableRun {
    /// The first.
    pub(crate) index: u64,
    /// How many.
    pub(crate) count: u64,
}

impl TableRun {
    /// The last, if there is one.
    pub(crate) const fn last(self) -> Option<u64> {
        match self.count.checked_sub(1) {
            Some(more) => Some(self.index + more),
            None => None,
        }
    }
}

fn empty_leaf() -> Box<[u64]> {
    vec![0; leaf_offset(LEAF_ENTRIES)].into_boxed_slice()
}

fn leaf_offset(within: u64) -> usize {
    usize::try_from(within).expect("an offset in a leaf fits any usize")
}

/// The part of `count` TCEs from `index` on that lies in the first leaf.
fn piece_at(index: u64, count: u64) -> Piece {
    let at = index & (LEAF_ENTRIES - 1);
    let end = at.saturating_add(count).min(LEAF_ENTRIES);
    Piece { leaf: index >> LEAF_SHIFT, at: leaf_offset(at), end: leaf_offset(end) }
}

fn pieces(run: TableRun) -> impl Iterator<Item = Piece> {
    let TableRun { mut index, mut count } = run;
    std::iter::from_fn(move || {
        let at = index & (LEAF_ENTRIES - 1);
        let here = count.min(LEAF_ENTRIES - at);
        let piece = (count > 0).then(|| piece_at(index, count));
        index += here;
        count -= here;
        piece
    })
}

#[cfg(test)]
mod tests {
    use tce_engine::addr::HostAddr;

    use super::*;
    use crate::{process::MmId, window::entry::TceAccess};

    fn page(address: u64) -> Entry {
        let access = TceAccess::ReadWrite;
        Entry { address: HostAddr::new(address), access, mm: MmId::FIRST }
    }

    fn run(index: u64, count: u64) -> TableRun {
        TableRun { index, count }
    }

    #[test]
    fn a_run_across_leaves_keeps_every_page() {
        let mut table = Table::new(1 << 20);
        table.set(run(4000, 9000), page(0x10_0000), 0x1000, |_| panic!("nothing was there"));
        assert_eq!(table.live(), 9000);
        assert_eq!(table.get(3999), None);
        assert_eq!(table.get(4000), Some(page(0x10_0000)));
        assert_eq!(table.get(12_999), Some(page(0x10_0000 + 8999 * 0x1000)));
        assert_eq!(table.get(13_000), None);
    }

    #[test]
    fn replaced_and_removed_words_are_told_once_each() {
        let mut table = Table::new(1 << 20);
        table.set(run(10, 10), page(0x1_0000), 0x1000, |_| ());
        let mut replaced = Vec::new();
        table.set(run(15, 10), page(0x20_0000), 0x1000, |old| replaced.push(old));
        assert_eq!(replaced.len(), 5);
        assert_eq!(table.live(), 15);
        let mut removed = 0;
        assert_eq!(table.clear(run(0, 1 << 20), |_| removed += 1), 15);
        assert_eq!((removed, table.live()), (15, 0));
    }

    #[test]
    fn a_forgotten_tce_stays_and_is_told_as_forgotten() {
        let mut table = Table::new(1 << 10);
        table.set(run(7, 1), page(0x5000), 0x1000, |_| ());
        assert_eq!(table.forget(7), page(0x5000).pack());
        assert_eq!((table.forget(8), table.live()), (0, 1));
        assert_eq!(table.get(7), Some(page(0x5000)));
        table.clear(run(7, 1), |word| assert_ne!(word, page(0x5000).pack()));
    }

    #[test]
    fn iteration_keeps_to_the_run_and_crosses_leaves() {
        let mut table = Table::new(1 << 20);
        table.set(run(4090, 10), page(0x5000), 0x1000, |_| ());
        let indices: Vec<u64> = table.iter(run(4092, 6)).map(|(index, _)| index).collect();
        assert_eq!(indices, (4092..4098).collect::<Vec<_>>());
        assert_eq!(table.iter(run(4092, 0)).count(), 0);
        assert_eq!(table.iter(run(0, 1 << 20)).last(), Some((4099, page(0x5000 + 9 * 0x1000))));
    }

    #[test]
    fn clearing_a_huge_empty_table_touches_nothing() {
        let mut table = Table::new(1 << 42);
        table.set(run((1 << 42) - 1, 1), page(0x1000), 0x1000, |_| ());
        assert_eq!(table.clear(run(0, (1 << 42) - 1), |_| panic!("nothing is there")), 0);
        assert_eq!(table.clear(run(0, 1 << 42), |_| ()), 1);
        assert_eq!(table.clear(run(5, 0), |_| panic!("no entry was named")), 0);
    }
}
