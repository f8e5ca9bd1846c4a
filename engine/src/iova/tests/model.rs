//! An allocator beside one that is so simple that it must be right: a state for each page.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Free,
    Taken,
    /// Reserved or outside.
    Closed,
}

/// Both, asked the same.
pub(super) struct Model {
    real: IovaAllocator,
    range: Range<u64>,
    pages: Vec<Page>,
}

fn at(index: u64) -> usize {
    usize::try_from(index).expect("it is small")
}

impl Model {
    pub(super) fn new(range: Range<u64>, reserved: &[Range<u64>]) -> Self {
        let state = |index: u64| {
            let is_open = range.contains(&index) && !reserved.iter().any(|it| it.contains(&index));
            if is_open { Page::Free } else { Page::Closed }
        };
        let pages = (0..range.end + 1024).map(state).collect();
        let real = IovaAllocator::new(range.clone(), reserved).expect("a range");
        Self { real, range, pages }
    }

    pub(super) fn levels(&self) -> usize {
        self.real.holes.levels()
    }

    pub(super) fn take(&mut self, count: u64, alignment: u64) {
        let wanted = pages(count);
        match self.real.take(wanted, aligned(alignment)) {
            Ok(first) => {
                assert!(first.is_multiple_of(alignment));
                assert!(count > 0 && self.is_all(first, count, Page::Free), "{first} + {count}");
                if alignment == 1 {
                    assert_eq!(self.tightest(count), Some(first));
                }
                self.set(first, count, Page::Taken);
            }
            Err(TakeRefusal::NoRoom { .. }) => {
                let place = self.place(count, alignment);
                let is_exact = alignment == 1 || alignment == count;
                assert!(place.is_none() || !is_exact, "{place:?} was overlooked");
                assert_eq!(self.place(count + alignment - 1, 1), None, "it has one for any start");
                assert_eq!(self.place(alignment.max(count.next_power_of_two()), alignment), None);
            }
            Err(refusal) => assert_eq!((refusal, count), (TakeRefusal::Empty, 0)),
        }
    }

    pub(super) fn take_at(&mut self, first: u64, count: u64) {
        let is_free = count > 0 && self.is_all(first, count, Page::Free);
        assert_eq!(self.real.take_at(first, pages(count)).is_ok(), is_free, "{first} + {count}");
        if is_free {
            self.set(first, count, Page::Taken);
        }
    }

    pub(super) fn give_back(&mut self, first: u64, count: u64) {
        let is_taken = count > 0 && self.is_all(first, count, Page::Taken);
        assert_eq!(self.real.give_back(first, pages(count)).is_ok(), is_taken, "{first} + {count}");
        if is_taken {
            self.set(first, count, Page::Free);
        }
    }

    pub(super) fn take_all(&mut self) {
        for (first, count) in self.runs(Page::Free) {
            self.take_at(first, count);
        }
        assert_eq!(self.real.free(), pages(0));
    }

    /// Afterwards all is as it was at the start.
    pub(super) fn give_all_back(&mut self) {
        for (first, count) in self.runs(Page::Taken) {
            self.give_back(first, count);
        }
        self.compare();
        let runs = self.runs(Page::Free);
        assert_eq!(self.real.holes(), runs.len());
        for (first, count) in runs {
            self.take_at(first, count);
        }
        assert_eq!((self.real.free(), self.real.largest_free()), (pages(0), pages(0)));
    }

    /// Compares every page, and looks at every node.
    pub(super) fn compare(&self) {
        let holes = self.real.holes.checked();
        let found: Vec<_> = holes.iter().map(|hole| (hole.start, hole.pages())).collect();
        assert_eq!(found, self.runs(Page::Free));
        let free: u64 = found.iter().map(|(_, count)| count).sum();
        let largest = found.iter().map(|(_, count)| *count).max().unwrap_or(0);
        assert_eq!((self.real.free(), self.real.largest_free()), (pages(free), pages(largest)));
    }

    fn is_all(&self, first: u64, count: u64, page: Page) -> bool {
        let end = at(first + count);
        end <= self.pages.len() && self.pages[at(first)..end].iter().all(|it| *it == page)
    }

    fn set(&mut self, first: u64, count: u64, page: Page) {
        self.pages[at(first)..at(first + count)].fill(page);
    }

    fn runs(&self, page: Page) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for index in self.range.clone().filter(|index| self.pages[at(*index)] == page) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == index => *count += 1,
                _ => runs.push((index, 1)),
            }
        }
        runs
    }

    /// The shortest of the lowest runs that are long enough, and the lowest of these.
    fn tightest(&self, count: u64) -> Option<u64> {
        let runs = self.runs(Page::Free).into_iter().filter(|(_, free)| *free >= count);
        runs.take(PROBES_MAX).min_by_key(|(first, free)| (*free, *first)).map(|(first, _)| first)
    }

    fn place(&self, count: u64, alignment: u64) -> Option<u64> {
        self.runs(Page::Free).into_iter().find_map(|(first, free)| {
            let place = first.next_multiple_of(alignment);
            (place + count <= first + free).then_some(place)
        })
    }
}
