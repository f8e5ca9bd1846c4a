//! Helpers on windows that could be.

use crate::{
    holes::Holes,
    page_bytes,
    types::{Bytes, ContainerFacts, PageChoice, Region},
    window_sizing::{Candidate, WindowChoice, WindowQuestion},
};

impl Candidate {
    /// Takes this candidate, for these regions.
    #[must_use]
    pub fn choose(&self, regions: &[u32]) -> WindowChoice {
        WindowChoice {
            slot: self.slot,
            page: self.page,
            size: self.size,
            levels: self.levels,
            origin: self.origin,
            regions: regions.to_vec(),
        }
    }

    /// The bytes in it that can be mapped: its size without what is reserved.
    #[must_use]
    pub fn room(&self, facts: &ContainerFacts) -> Bytes {
        self.size.saturating_sub(facts.reserved_within(self.start, self.size))
    }

    /// Whether all these regions can be mapped in it at once, each in one piece, and `growth` bytes after them.
    ///
    /// Regions with a bus address must find it inside the window, clear of reserved ranges and of each other. The
    /// others are placed largest first, each in the first hole that takes it. Whether they allow the window's page is
    /// [`Region::allows`].
    #[must_use]
    pub fn holds(&self, facts: &ContainerFacts, regions: &[&Region], growth: Bytes) -> bool {
        let bytes = regions.iter().map(|region| region.size).fold(growth, Bytes::saturating_add);
        if bytes > self.size {
            return false; // By far the most frequent case, and the cheapest to see.
        }
        let page = page_bytes(self.page).max(1);
        let mut holes = Holes::new(self, facts, page);
        let fixed = regions.iter().all(|region| match region.at {
            Some(at) => holes.take_at(at, region.size),
            None => true,
        });
        let mut sizes: Vec<Bytes> =
            regions.iter().filter(|region| region.at.is_none()).map(|region| region.size).collect();
        sizes.sort_unstable();
        fixed && sizes.into_iter().rev().all(|size| holes.take(size)) && holes.left() >= growth
    }
}

impl WindowQuestion {
    /// The regions of a choice, as the demand describes them. Ids that the demand does not have are left out.
    #[must_use]
    pub fn regions_of(&self, choice: &PageChoice) -> Vec<&Region> {
        choice.regions.iter().filter_map(|id| self.demand.region(*id)).collect()
    }
}
