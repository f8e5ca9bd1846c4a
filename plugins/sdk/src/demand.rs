//! Helpers on what is to be made possible.

use crate::{
    page_bytes,
    types::{Bytes, Demand, PageChoice, PageShift, Region, RegionId},
};

impl Demand {
    /// The bytes of all regions together.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.regions.iter().map(|region| region.size).fold(0, Bytes::saturating_add)
    }

    /// The region with this id.
    #[must_use]
    pub fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.iter().find(|region| region.id == id)
    }

    /// The choice that gives all regions this page.
    #[must_use]
    pub fn all_with(&self, page: PageShift) -> PageChoice {
        PageChoice { page, regions: self.regions.iter().map(|region| region.id).collect() }
    }
}

impl Region {
    /// Whether all of the region, and each piece of it, can be mapped in a window with this page: the memory is backed
    /// by pages at least as large, no piece is smaller, and its size and, where it has one, its bus address are whole
    /// pages.
    #[must_use]
    pub fn allows(&self, page: PageShift) -> bool {
        let whole = |bytes: Bytes| bytes.is_multiple_of(page_bytes(page));
        page <= self.page_max() && whole(self.size) && self.at.is_none_or(whole)
    }

    /// The largest page that the engine accepts for it: the smaller one of backing and granule.
    #[must_use]
    pub fn page_max(&self) -> PageShift {
        self.backing.min(self.granule)
    }
}

#[cfg(test)]
mod tests {
    use crate::types::{Access, Region};

    #[test]
    fn a_region_allows_pages_that_its_backing_size_and_address_are_made_of() {
        let region = Region {
            id: 1,
            name: "rings".to_owned(),
            size: 4 << 20,
            backing: 21,
            granule: 21,
            access: Access::ReadWrite,
            at: None,
            hints: vec![],
        };
        assert!(region.allows(12));
        assert!(region.allows(21));
        assert!(!region.allows(30));
        assert!(!Region { backing: 16, ..region.clone() }.allows(21));
        assert!(!Region { granule: 16, ..region.clone() }.allows(21));
        assert!(Region { granule: 16, ..region.clone() }.allows(16));
        assert!(Region { granule: 30, ..region.clone() }.allows(21));
        assert!(!Region { granule: 30, ..region.clone() }.allows(30));
        assert!(!Region { size: 3 << 20, ..region.clone() }.allows(21));
        assert!(!Region { at: Some(1 << 20), ..region.clone() }.allows(21));
        assert!(Region { at: Some(0), ..region.clone() }.allows(21));
    }
}
