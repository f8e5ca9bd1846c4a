//! Edits: what is wanted, and how several wishes for the same TCE settle.

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

/// Sorts wishes and lets later ones win where they overlap, so that each TCE has one at most.
pub(crate) fn settle(mut wishes: Vec<Wish>, page: PageShift) -> Vec<Wish> {
    if !wishes.is_sorted_by_key(|wish| wish.first) {
        // Overlapping wishes must keep their order, so a sorted copy is used only if none overlap.
        let mut sorted = wishes.clone();
        sorted.sort_unstable_by_key(|wish| wish.first);
        if are_disjoint(&sorted) {
            return sorted;
        }
        return overlay(&wishes, page);
    }
    if are_disjoint(&wishes) {
        return wishes;
    }
    wishes = overlay(&wishes, page);
    wishes
}

fn are_disjoint(sorted: &[Wish]) -> bool {
    sorted.windows(2).all(|pair| pair[0].end <= pair[1].first)
}

fn overlay(wishes: &[Wish], page: PageShift) -> Vec<Wish> {
    let mut settled: BTreeMap<u64, Wish> = BTreeMap::new();
    for wish in wishes {
        while let Some(old) = settled
            .range(..wish.end)
            .next_back()
            .map(|(_, old)| *old)
            .filter(|old| old.end > wish.first)
        {
            settled.remove(&old.first);
            if old.first < wish.first {
                settled.insert(old.first, Wish { end: wish.first, ..old });
            }
            if old.end > wish.end {
                let skipped = wish.end - old.first;
                let target = old.target.map(|target| target.advanced(skipped, page));
                settled.insert(wish.end, Wish { first: wish.end, end: old.end, target });
            }
        }
        settled.insert(wish.first, *wish);
    }
    settled.into_values().collect()
}
