//! Edits: what is wanted, and how several wishes for the same TCE settle: the last one wins.

mod join;

use std::collections::BTreeMap;

use crate::{
    access::Access,
    addr::{Bytes, Iova, PageShift},
    region::RegionId,
    table::Target,
    window::Claim,
};

pub(crate) use self::join::joined;

/// The most edits of one batch.
pub const BATCH_EDITS_MAX: usize = 1 << 20;

/// One wanted change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Devices shall find a part of a region at a bus address. What is mapped there now is replaced.
    Map {
        /// Where.
        iova: Iova,
        /// The region.
        region: RegionId,
        /// Where in the region.
        offset: Bytes,
        /// How much.
        size: Bytes,
        /// What devices may do.
        access: Access,
    },
    /// Devices shall find nothing there. It need not be mapped now.
    Unmap(Claim),
}

impl Edit {
    /// The bus addresses it is about.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        match *self {
            Self::Map { iova, size, .. } => Claim { start: iova, size },
            Self::Unmap(claim) => claim,
        }
    }
}

/// TCEs `first..end` shall point to consecutive pages from `target`, or to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Index of the first TCE.
    pub first: u64,
    /// The index behind the last TCE.
    pub end: u64,
    /// What the first shall point to.
    pub target: Option<Target>,
}

impl Wish {
    /// Takes in the wish that follows, if it wishes that this one just goes on.
    fn take_in(&mut self, next: &Self, page: PageShift) -> bool {
        let goes_on = self.end == next.first
            && match (self.target, next.target) {
                (None, None) => true,
                (Some(target), Some(more)) => {
                    target.is_continued_by(&more, self.end - self.first, page)
                }
                _ => false,
            };
        if goes_on {
            self.end = next.end;
        }
        goes_on
    }
}

/// The same wishes in ascending order, each TCE in one at most, and as few as can be: where they overlap, the last one
/// wins; where they continue one another, they become one.
#[must_use]
pub fn settle(wishes: Vec<Wish>, page: PageShift) -> Vec<Wish> {
    let mut settled = if are_settled(&wishes) { wishes } else { sorted(&wishes, page) };
    settled.dedup_by(|next, before| before.take_in(next, page));
    settled
}

fn are_settled(wishes: &[Wish]) -> bool {
    wishes.is_sorted_by(|low, high| low.end <= high.first)
}

/// The wishes in ascending order, and cut where they overlap.
fn sorted(wishes: &[Wish], page: PageShift) -> Vec<Wish> {
    let mut order: Vec<(u64, usize)> = wishes.iter().map(|wish| wish.first).zip(0..).collect();
    sort_by_first(&mut order);
    let sorted: Vec<Wish> = order.iter().map(|(_, index)| wishes[*index]).collect();
    if are_settled(&sorted) { sorted } else { untied(wishes, &mut order, page) }
}

/// Sorts by the first TCE, byte by byte from the lowest, as far as they differ. That keeps the order of equals.
fn sort_by_first(order: &mut Vec<(u64, usize)>) {
    let lowest = order.iter().map(|(first, _)| *first).min().unwrap_or_default();
    let highest = order.iter().map(|(first, _)| *first).max().unwrap_or_default();
    let mut from = vec![(0, 0); order.len()];
    for shift in (0..u64::BITS - (highest - lowest).leading_zeros()).step_by(8) {
        let byte = |first: u64| {
            usize::try_from((first - lowest) >> shift & 0xff).expect("a byte is small")
        };
        let mut places = [0; 256];
        order.iter().for_each(|(first, _)| places[byte(*first)] += 1);
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        std::mem::swap(order, &mut from);
        for entry in &from {
            let place = &mut places[byte(entry.0)];
            order[*place] = *entry;
            *place += 1;
        }
    }
}

/// The wishes of this order, those that overlap laid over one another as they came.
fn untied(wishes: &[Wish], mut order: &mut [(u64, usize)], page: PageShift) -> Vec<Wish> {
    let mut untied = Vec::with_capacity(wishes.len());
    while !order.is_empty() {
        let (knot, others) = order.split_at_mut(knot_length(wishes, order));
        match knot {
            [(_, only)] => untied.push(wishes[*only]),
            _ => {
                knot.sort_unstable_by_key(|(_, index)| *index);
                untied.extend(overlay(knot.iter().map(|(_, index)| wishes[*index]), page));
            }
        }
        order = others;
    }
    untied
}

/// How many of the first wishes hang together, because each overlaps one before it.
fn knot_length(wishes: &[Wish], order: &[(u64, usize)]) -> usize {
    let mut end = 0;
    let apart = |(at, (first, index)): (usize, &(u64, usize))| {
        let is_apart = at > 0 && *first >= end;
        end = end.max(wishes[*index].end);
        is_apart
    };
    order.iter().enumerate().position(apart).unwrap_or(order.len())
}

fn overlay(wishes: impl Iterator<Item = Wish>, page: PageShift) -> impl Iterator<Item = Wish> {
    let mut settled: BTreeMap<u64, Wish> = BTreeMap::new();
    for wish in wishes {
        cut_out(&mut settled, &wish, page);
        settled.insert(wish.first, wish);
    }
    settled.into_values()
}

/// Makes room for a wish: of those that overlap it, only what sticks out stays.
fn cut_out(settled: &mut BTreeMap<u64, Wish>, wish: &Wish, page: PageShift) {
    while let Some(old) = last_before(settled, wish.end).filter(|old| old.end > wish.first) {
        settled.remove(&old.first);
        if old.first < wish.first {
            settled.insert(old.first, Wish { end: wish.first, ..old });
        }
        if old.end > wish.end {
            let target = old.target.map(|target| target.advanced(wish.end - old.first, page));
            settled.insert(wish.end, Wish { first: wish.end, end: old.end, target });
        }
    }
}

fn last_before(settled: &BTreeMap<u64, Wish>, end: u64) -> Option<Wish> {
    settled.range(..end).next_back().map(|(_, wish)| *wish)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{PAGE, any_wish, target, wish, wished_pages};

    fn by_page(wishes: &[Wish]) -> BTreeMap<u64, Option<Target>> {
        wishes.iter().flat_map(wished_pages).collect()
    }

    #[test]
    fn wishes_that_do_not_overlap_are_only_sorted() {
        let (low, high) = (wish(0, 2, None), wish(2, 1, Some(target(7))));
        assert_eq!(settle(vec![high, low], PAGE), [low, high]);
        assert_eq!(settle(vec![low, high], PAGE), [low, high]);
        assert_eq!(settle(Vec::new(), PAGE), []);
    }

    #[test]
    fn a_wish_inside_an_earlier_one_splits_it() {
        let wishes = vec![wish(0, 10, Some(target(100))), wish(4, 2, None)];
        let expected =
            [wish(0, 4, Some(target(100))), wish(4, 2, None), wish(6, 4, Some(target(106)))];
        assert_eq!(settle(wishes, PAGE), expected);
    }

    #[test]
    fn the_same_tces_twice_are_as_wished_last() {
        let (first, last) = (wish(3, 2, Some(target(1))), wish(3, 2, Some(target(9))));
        assert_eq!(settle(vec![first, last], PAGE), [last]);
        assert_eq!(settle(vec![last, first], PAGE), [first]);
    }

    #[test]
    fn wishes_that_continue_one_another_become_one() {
        let row = |at: u64| wish(at, 1, Some(target(100 + at)));
        let wishes = vec![row(2), row(0), row(1), wish(3, 1, Some(target(7))), wish(5, 1, None)];
        let one = wish(0, 3, Some(target(100)));
        assert_eq!(settle(wishes, PAGE), [one, wish(3, 1, Some(target(7))), wish(5, 1, None)]);
        assert_eq!(settle(vec![wish(4, 2, None), wish(6, 1, None)], PAGE), [wish(4, 3, None)]);
        let read = Target { access: Access::Read, ..target(101) };
        let apart = [row(0), wish(1, 1, Some(read))];
        assert_eq!(settle(apart.to_vec(), PAGE), apart);
    }

    proptest! {
        #[test]
        fn sorting_far_wishes_keeps_the_order_of_equals(
            places in proptest::collection::vec((0u64..4, 0u32..52), 0..50),
        ) {
            let firsts = places.iter().map(|(number, shift)| 5 + (number << shift));
            let order: Vec<(u64, usize)> = firsts.zip(0..).collect();
            let (mut sorted, mut expected) = (order.clone(), order);
            sort_by_first(&mut sorted);
            expected.sort();
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn the_last_writer_of_each_page_wins(
            wishes in proptest::collection::vec(any_wish(), 0..30),
        ) {
            let settled = settle(wishes.clone(), PAGE);
            prop_assert!(are_settled(&settled), "{settled:?}");
            prop_assert!(settled.iter().all(|wish| wish.first < wish.end));
            prop_assert_eq!(by_page(&settled), by_page(&wishes));
        }
    }
}
