//! Edits: what is wanted, and how several wishes for the same TCE settle: the last one wins.

use std::collections::BTreeMap;

use crate::{
    access::Access,
    addr::{Bytes, Iova, PageShift},
    region::RegionId,
    table::Target,
    window::Claim,
};

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
pub(crate) struct Wish {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) target: Option<Target>,
}

/// The same wishes in ascending order, each TCE in one at most: where they overlap, the last one wins.
pub(crate) fn settle(wishes: Vec<Wish>, page: PageShift) -> Vec<Wish> {
    if are_settled(&wishes) {
        return wishes;
    }
    let mut sorted = wishes.clone();
    sorted.sort_unstable_by_key(|wish| wish.first);
    // Sorting has lost who came last, so where wishes overlap they are laid over one another as they came.
    if are_settled(&sorted) { sorted } else { overlay(wishes, page) }
}

fn are_settled(wishes: &[Wish]) -> bool {
    wishes.windows(2).all(|pair| pair[0].end <= pair[1].first)
}

fn overlay(wishes: Vec<Wish>, page: PageShift) -> Vec<Wish> {
    let mut settled: BTreeMap<u64, Wish> = BTreeMap::new();
    for wish in wishes {
        cut_out(&mut settled, &wish, page);
        settled.insert(wish.first, wish);
    }
    settled.into_values().collect()
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

    proptest! {
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
