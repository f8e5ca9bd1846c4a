//! One process as the kernel sees it: its descriptors and its `mm`.
//!
//! The machine has one process now. Everything that another would have of its own is in here, and nothing else is.

use crate::{
    charge::LockedPages, descriptor::Descriptors, memory::Memory, profile::Profile, region::Regions,
};

/// The process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its open descriptors.
    pub(crate) descriptors: Descriptors,
    /// Its address space.
    pub(crate) mm: Mm,
}

/// An address space: `mm_struct`, and powerpc's `mm->context` with it.
#[derive(Debug)]
pub(crate) struct Mm {
    /// What is mapped.
    pub(crate) memory: Memory,
    /// What is registered, by any container.
    pub(crate) regions: Regions,
    /// What is charged.
    pub(crate) locked: LockedPages,
}

impl Process {
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            descriptors: Descriptors::default(),
            mm: Mm {
                memory: Memory::new(profile.page_shift, &profile.hugetlb),
                regions: Regions::default(),
                locked: LockedPages::new(profile.page_shift, profile.locked_limit),
            },
        }
    }
}

impl Mm {
    /// Lets go of memory that was unmapped and is no longer pinned.
    pub(crate) fn drop_unpinned(&mut self) {
        let regions = &self.regions;
        self.memory.drop_unpinned(|start, end| regions.overlaps(start, end));
    }
}
