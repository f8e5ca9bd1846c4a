//! The free room in a window that is still to be made.

use crate::{
    types::{Bytes, ContainerFacts, Iova},
    window_sizing::Candidate,
};

/// What is free in a window: runs of bus addresses in whole pages, clear of reserved ranges, ascending.
pub(crate) struct Holes {
    page: Bytes,
    runs: Vec<Run>,
}

#[derive(Clone, Copy)]
struct Run {
    start: Iova,
    end: Iova,
}

impl Holes {
    /// The holes of a window in which nothing is mapped.
    pub(crate) fn new(window: &Candidate, facts: &ContainerFacts, page: Bytes) -> Self {
        let end = window.start.saturating_add(window.size);
        let mut runs = vec![Run { start: window.start, end }];
        for range in facts.reserved_ranges.iter().filter(|range| range.size > 0) {
            let reserved = Run { start: range.start, end: range.start.saturating_add(range.size) };
            runs = runs.into_iter().flat_map(|run| run.without(reserved)).collect();
        }
        let whole = runs.into_iter().filter_map(|run| run.in_pages(page)).collect();
        Self { page, runs: whole }
    }

    /// What is left in whole pages.
    pub(crate) fn left(&self) -> Bytes {
        self.runs.iter().map(|run| run.end - run.start).fold(0, Bytes::saturating_add)
    }

    /// Takes `size` bytes at `at`. False if they are not free.
    pub(crate) fn take_at(&mut self, at: Iova, size: Bytes) -> bool {
        if size == 0 {
            return true;
        }
        let Some(end) = self.whole(size).and_then(|size| at.checked_add(size)) else {
            return false;
        };
        let hole = self.runs.iter().position(|run| run.start <= at && end <= run.end);
        let Some(index) = hole else { return false };
        let rest = self.runs[index].without(Run { start: at, end });
        self.runs.splice(index..=index, rest);
        true
    }

    /// Takes `size` bytes where they fit first. False if they fit nowhere.
    pub(crate) fn take(&mut self, size: Bytes) -> bool {
        let Some(size) = self.whole(size) else { return false };
        match self.runs.iter_mut().find(|run| run.end - run.start >= size) {
            Some(run) => {
                run.start += size;
                true
            }
            None => false,
        }
    }

    fn whole(&self, size: Bytes) -> Option<Bytes> {
        size.checked_next_multiple_of(self.page)
    }
}

impl Run {
    /// What lies before the other run, which is not empty, and what lies after it.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = Self { end: self.end.min(other.start), ..self };
        let after = Self { start: self.start.max(other.end), ..self };
        [before, after].into_iter().filter(|run| run.start < run.end)
    }

    /// The whole pages in it.
    fn in_pages(self, page: Bytes) -> Option<Self> {
        let start = self.start.checked_next_multiple_of(page)?;
        let end = self.end - self.end % page;
        (start < end).then_some(Self { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::Holes;
    use crate::{
        types::{ContainerFacts, LockedMemory, Platform, ReservedRange},
        window_sizing::{Candidate, Origin},
    };

    const GIB: u64 = 1 << 30;

    fn holes(size: u64) -> Holes {
        let mmio = ReservedRange { start: 2 * GIB, size: 2 * GIB, what: "mmio-32bit".to_owned() };
        let facts = ContainerFacts {
            platform: Platform::Powernv,
            system_page: 16,
            page_shifts: vec![16],
            slots: vec![],
            levels_max: 5,
            reserved_ranges: vec![mmio],
            locked_memory: LockedMemory { limit: None, charged: 0 },
            groups: vec![1],
            hints: vec![],
        };
        let window = Candidate {
            slot: 0,
            start: 0,
            page: 16,
            size,
            levels: 1,
            origin: Origin::Created,
            table: 0,
            charge: 0,
        };
        Holes::new(&window, &facts, 1 << 16)
    }

    #[test]
    fn reserved_ranges_are_no_holes() {
        assert_eq!(holes(GIB).left(), GIB);
        assert_eq!(holes(4 * GIB).left(), 2 * GIB);
        assert_eq!(holes(8 * GIB).left(), 6 * GIB);
    }

    #[test]
    fn a_region_is_not_split_over_two_holes() {
        assert!(!holes(8 * GIB).take(5 * GIB));
        assert!(holes(8 * GIB).take(4 * GIB));
        assert!(holes(16 * GIB).take(5 * GIB));
    }

    #[test]
    fn addresses_are_taken_once_and_never_in_a_reserved_range() {
        let mut holes = holes(8 * GIB);
        assert!(holes.take_at(GIB, GIB));
        assert!(!holes.take_at(GIB, 1 << 16));
        assert!(!holes.take_at(2 * GIB, 1 << 16));
        assert!(!holes.take_at(8 * GIB - 1, 2));
        assert!(!holes.take_at(u64::MAX, 1));
        assert!(holes.take_at(0, GIB));
        assert_eq!(holes.left(), 4 * GIB);
    }

    #[test]
    fn parts_of_a_page_take_a_whole_one() {
        let mut holes = holes(GIB);
        assert!(holes.take(1));
        assert_eq!(holes.left(), GIB - (1 << 16));
        assert!(!holes.take(u64::MAX));
    }
}
