//! First fit over an ordered map of holes.

use std::collections::BTreeMap;

use crate::design::{Design, MAP_ENTRY_BYTES};

/// Holes: where each begins, and where it ends.
pub(crate) struct FirstFit {
    holes: BTreeMap<u64, u64>,
}

impl Design for FirstFit {
    const NAME: &'static str = "first fit";

    fn new(pages: u64) -> Self {
        Self { holes: BTreeMap::from([(0, pages)]) }
    }

    fn take(&mut self, pages: u64, alignment: u64) -> Option<u64> {
        let (start, end, first) = self.holes.iter().find_map(|(start, end)| {
            let first = start.next_multiple_of(alignment);
            (first + pages <= *end).then_some((*start, *end, first))
        })?;
        if first == start {
            self.holes.remove(&start);
        } else {
            self.holes.insert(start, first);
        }
        if first + pages < end {
            self.holes.insert(first + pages, end);
        }
        Some(first)
    }

    fn give_back(&mut self, first: u64, pages: u64) {
        let (mut start, mut end) = (first, first + pages);
        if let Some((below, _)) = self.holes.range(..first).next_back().filter(|it| *it.1 == first)
        {
            start = *below;
        }
        if let Some(above) = self.holes.remove(&end) {
            end = above;
        }
        self.holes.insert(start, end);
    }

    fn bytes(&self) -> usize {
        self.holes.len() * MAP_ENTRY_BYTES
    }
}
