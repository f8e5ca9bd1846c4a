//! Holes: runs of pages that nobody has taken.

/// Free pages from `start` up to, not including, `end`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Hole {
    /// The hole between two indexes, if there is anything between them.
    pub(super) fn between(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// How many pages it has.
    pub(super) const fn pages(self) -> u64 {
        self.end - self.start
    }

    /// The base-2 logarithm of the largest power of two that lies in the hole as a naturally aligned block.
    pub(super) const fn order(self) -> u8 {
        // A hole of 2^n pages or more has an aligned block of 2^(n-1), so there are only two orders to try.
        let order = floor_log2(self.pages());
        match self.place(1 << order, order) {
            Some(_) => order,
            None => order - 1,
        }
    }

    /// Where the lowest `pages` pages aligned to 2^`order` pages begin, if the hole has them.
    pub(super) const fn place(self, pages: u64, order: u8) -> Option<u64> {
        let mask = (1 << order) - 1;
        let Some(raised) = self.start.checked_add(mask) else { return None };
        let first = raised & !mask;
        match first.checked_add(pages) {
            Some(end) if end <= self.end => Some(first),
            _ => None,
        }
    }
}

/// The largest order whose block is not larger than `pages`, which is not 0.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "below 64; u8::try_from is not const"
)]
pub(super) const fn floor_log2(pages: u64) -> u8 {
    pages.ilog2() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_by_trying(hole: Hole) -> Option<u8> {
        (0..16).rev().find(|order| {
            let block = 1u64 << order;
            (0..64).any(|at| hole.start <= at * block && (at + 1) * block <= hole.end)
        })
    }

    #[test]
    fn the_order_is_that_of_the_largest_aligned_block() {
        for start in 0..48 {
            for end in start + 1..64 {
                let hole = Hole { start, end };
                assert_eq!(Some(hole.order()), order_by_trying(hole), "{hole:?}");
            }
        }
    }

    #[test]
    fn the_lowest_aligned_place_is_found_or_none() {
        let hole = Hole { start: 5, end: 16 };
        assert_eq!(hole.place(11, 0), Some(5));
        assert_eq!(hole.place(12, 0), None);
        assert_eq!(hole.place(8, 3), Some(8));
        assert_eq!(hole.place(9, 3), None);
        assert_eq!(hole.place(1, 4), None, "16 lies behind it");
        assert_eq!(Hole { start: u64::MAX - 1, end: u64::MAX }.place(1, 5), None);
    }
}
