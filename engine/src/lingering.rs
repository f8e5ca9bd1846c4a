//! Deferred unmapping: TCEs that their holder gave up and that devices can still use, until they are flushed.

use std::collections::BTreeMap;

use crate::{facts::Slot, lease::Timestamp};

/// The most TCEs that may linger for one lease.
pub const LINGERING_TCES_MAX: u64 = 1 << 16;

/// How the unmaps of a lease are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmapping {
    /// At once: when a batch is applied, devices reach nothing of what it unmapped.
    #[default]
    Strict,
    /// Later, several in one call. Until then devices still reach what was unmapped, and its memory stays registered.
    Deferred(Deferral),
}

/// How much may linger, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral {
    tces_max: u64,
    delay_max: u64,
}

impl Deferral {
    /// At most `tces_max` TCEs, none longer than `delay_max` milliseconds after [`crate::Engine::flush_due`] could be
    /// called. `None` if one of them is zero or there are more TCEs than [`LINGERING_TCES_MAX`].
    #[must_use]
    pub const fn new(tces_max: u64, delay_max: u64) -> Option<Self> {
        if tces_max == 0 || tces_max > LINGERING_TCES_MAX || delay_max == 0 {
            return None;
        }
        Some(Self { tces_max, delay_max })
    }

    /// The most TCEs.
    #[must_use]
    pub const fn tces_max(self) -> u64 {
        self.tces_max
    }

    /// The longest delay, in milliseconds.
    #[must_use]
    pub const fn delay_max(self) -> u64 {
        self.delay_max
    }
}

/// What lingers of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lingering {
    slots: [Ranges; 2],
    since: Option<Timestamp>,
}

impl Lingering {
    /// How many TCEs.
    #[must_use]
    pub fn tces(&self) -> u64 {
        self.slots.iter().map(|ranges| ranges.tces).sum()
    }

    /// When the oldest of them has to be flushed; `None` if there are none.
    #[must_use]
    pub fn due(&self, deferral: Deferral) -> Option<Timestamp> {
        self.since.map(|Timestamp(since)| Timestamp(since.saturating_add(deferral.delay_max)))
    }

    /// The ranges of a window, ascending, as first TCE and the one behind the last.
    pub(crate) fn ranges(&self, slot: Slot) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.slots[slot.index()].runs.iter().map(|(first, end)| (*first, *end))
    }

    /// How many of these TCEs linger.
    pub(crate) fn within(&self, slot: Slot, first: u64, end: u64) -> u64 {
        self.slots[slot.index()].within(first, end)
    }

    /// Of `first..end` what does not linger.
    pub(crate) fn beside(&self, slot: Slot, first: u64, end: u64) -> Vec<(u64, u64)> {
        self.slots[slot.index()].beside(first, end)
    }

    /// Notes TCEs that were not lingering.
    pub(crate) fn add(&mut self, slot: Slot, first: u64, end: u64, now: Timestamp) {
        self.slots[slot.index()].add(first, end);
        self.since.get_or_insert(now);
    }

    /// Forgets these TCEs: they are in use again.
    pub(crate) fn remove(&mut self, slot: Slot, first: u64, end: u64) {
        self.slots[slot.index()].remove(first, end);
        if self.tces() == 0 {
            self.since = None;
        }
    }
}

/// Ranges of TCEs that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges {
    /// The end of each by its first.
    runs: BTreeMap<u64, u64>,
    tces: u64,
}

impl Ranges {
    /// Those that overlap a range, cut to it, ascending.
    fn overlaps(&self, first: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self.runs.range(..first).next_back();
        let from = before.filter(|(_, reach)| **reach > first).map_or(first, |(start, _)| *start);
        let runs = (first < end).then(|| self.runs.range(from..end));
        runs.into_iter().flatten().map(move |(start, reach)| (*start.max(&first), *reach.min(&end)))
    }

    fn within(&self, first: u64, end: u64) -> u64 {
        self.overlaps(first, end).map(|(start, reach)| reach - start).sum()
    }

    fn beside(&self, first: u64, end: u64) -> Vec<(u64, u64)> {
        let mut beside = Vec::new();
        let mut at = first;
        for (start, reach) in self.overlaps(first, end) {
            beside.extend((at < start).then_some((at, start)));
            at = reach;
        }
        beside.extend((at < end).then_some((at, end)));
        beside
    }

    fn add(&mut self, first: u64, end: u64) {
        debug_assert_eq!(self.within(first, end), 0, "they linger already");
        self.tces += end - first;
        let end = self.runs.remove(&end).unwrap_or(end);
        match self.runs.range_mut(..first).next_back() {
            Some((_, reach)) if *reach == first => *reach = end,
            _ => {
                self.runs.insert(first, end);
            }
        }
    }

    fn remove(&mut self, first: u64, end: u64) {
        while let Some((start, reach)) = self.last_overlap(first, end) {
            self.runs.remove(&start);
            self.tces -= reach.min(end) - start.max(first);
            if start < first {
                self.runs.insert(start, first);
            }
            if reach > end {
                self.runs.insert(end, reach);
            }
        }
    }

    fn last_overlap(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        let (start, reach) = self.runs.range(..end).next_back()?;
        (first < end && *reach > first).then_some((*start, *reach))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_neither_nothing_nor_without_bound() {
        assert_eq!(Deferral::new(0, 1), None);
        assert_eq!(Deferral::new(1, 0), None);
        assert_eq!(Deferral::new(LINGERING_TCES_MAX + 1, 1), None);
        assert!(Deferral::new(LINGERING_TCES_MAX, u64::MAX).is_some());
    }

    #[test]
    fn the_oldest_tells_when_all_is_due() {
        let deferral = Deferral::new(10, 100).expect("good bounds");
        let mut lingering = Lingering::default();
        assert_eq!(lingering.due(deferral), None);
        lingering.add(Slot::Zero, 0, 2, Timestamp(50));
        lingering.add(Slot::One, 0, 2, Timestamp(70));
        assert_eq!(lingering.due(deferral), Some(Timestamp(150)));
        lingering.remove(Slot::Zero, 0, 9);
        assert_eq!((lingering.tces(), lingering.due(deferral)), (2, Some(Timestamp(150))));
        lingering.remove(Slot::One, 0, 9);
        assert_eq!(lingering.due(deferral), None);
    }

    proptest! {
        #[test]
        fn ranges_are_what_they_are_tce_by_tce(
            changes in proptest::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 1..40),
            (low, pages) in (0u64..50, 0u64..20),
        ) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (is_added, first, pages) in changes {
                let end = first + pages;
                if is_added {
                    for (start, reach) in ranges.beside(first, end) {
                        ranges.add(start, reach);
                    }
                    model.extend(first..end);
                } else {
                    ranges.remove(first, end);
                    model.retain(|at| !(first..end).contains(at));
                }
                let all: BTreeSet<u64> = ranges.overlaps(0, 99).flat_map(|(a, b)| a..b).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(ranges.tces, u64::try_from(model.len()).expect("it is small"));
                let ends: Vec<_> = ranges.overlaps(0, 99).collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ends:?}");
            }
            let inside = model.range(low..low + pages).count();
            prop_assert_eq!(ranges.within(low, low + pages), u64::try_from(inside).expect("small"));
        }
    }
}
