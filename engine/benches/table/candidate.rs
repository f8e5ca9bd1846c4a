//! What a structure for the TCEs of a window has to do.

use tce_engine::{
    access::Access,
    addr::{HostAddr, PageShift},
    region::RegionId,
    table::{MappedRun, Table, Target},
};

/// The page of all windows here.
pub(crate) const PAGE: PageShift = PageShift::K4;

/// One change of a table.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    pub(crate) first: u64,
    pub(crate) pages: u64,
    /// The page of memory that the first TCE shall point to; absent: none shall be set.
    pub(crate) memory: Option<u64>,
}

impl Change {
    pub(crate) fn target(&self, region: RegionId) -> Option<Target> {
        let address = HostAddr::new(self.memory? << PAGE.raw());
        Some(Target { address, access: Access::ReadWrite, region })
    }
}

/// A structure that says what is mapped.
pub(crate) trait Candidate {
    const NAME: &'static str;

    /// An empty one for a window of so many TCEs.
    fn new(window: u64) -> Self;

    /// Makes a change, and says how many TCEs it forgot for it.
    fn change(&mut self, change: Change, region: RegionId) -> u64;

    /// How many TCEs are set in a range, read run by run.
    fn tces_within(&self, first: u64, end: u64) -> u64;

    /// The memory it has allocated.
    fn bytes(&self) -> u64;
}

/// The table of the engine.
impl Candidate for Table {
    const NAME: &'static str = "radix tree";

    fn new(_window: u64) -> Self {
        Self::new(PAGE)
    }

    fn change(&mut self, change: Change, region: RegionId) -> u64 {
        let Change { first, pages, .. } = change;
        let mut forgotten = 0;
        match change.target(region) {
            Some(target) => {
                self.replace(MappedRun { first, pages, target }, |run| forgotten += run.pages);
            }
            None => self.clear(first, first + pages, |run| forgotten += run.pages),
        }
        forgotten
    }

    fn tces_within(&self, first: u64, end: u64) -> u64 {
        self.within(first, end).map(|run| run.pages).sum()
    }

    fn bytes(&self) -> u64 {
        self.bytes().raw()
    }
}
