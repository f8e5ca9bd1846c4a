//! The way to a container in which mappings can be made.

use tce_engine::addr::PageShift;

use super::{Draft, arguments::one_in};
use crate::step::{Backing, File, Place, Step};

/// The number of sPAPR TCE v2.
pub(super) const SPAPR_TCE_V2: u32 = 7;
/// One sequence in so many has a huge page of 1 GiB: clearing it takes long.
const GIANT_ONE_IN: u32 = 16;
/// Blocks of memory in a sequence.
const BLOCKS: usize = 4;

impl Draft {
    /// What is still missing, if anything.
    pub(super) fn missing(&mut self) -> Option<Step> {
        if self.stage.blocks().len() < BLOCKS {
            return Some(self.allocate());
        }
        let container = self.container();
        let group = if self.stage.seats().len() > 1 { container } else { 0 };
        let (c, g) = (File::Container(container), File::Group(group));
        if !self.is_open(c) {
            return Some(Step::OpenContainer { container });
        }
        if !self.is_open(g) {
            return Some(Step::OpenGroup { group });
        }
        if !self.attached.contains_key(&group) {
            return Some(Step::SetContainer { file: g, container: c });
        }
        if !self.backends.contains(&container) && self.attached.values().any(|it| *it == container)
        {
            return Some(Step::SetIommu { file: c, backend: SPAPR_TCE_V2 });
        }
        // Without a default window, so that the small ones that follow are quickly cleared.
        if self.is_fresh(container) && self.rng.bool() {
            return Some(Step::Remove { file: c, start: 0 });
        }
        if self.has_devices && !self.is_open(File::Device(group)) {
            return Some(Step::OpenDevice { device: group });
        }
        match self.rng.u8(..3) {
            0 if self.windows(container).is_empty() => Some(self.create(c)),
            1 if self.ranges.len() < 3 => Some(self.register(c)),
            _ => None,
        }
    }

    fn has_giant_page(&self) -> bool {
        let mut pools = self.simulated.profile().hugetlb.iter();
        pools.any(|pool| pool.page == PageShift::G1 && pool.free > 0)
    }

    /// Whether the last step made this container's backend.
    fn is_fresh(&self, container: u8) -> bool {
        let made = |step: &Step| matches!(step, Step::SetIommu { file, .. } if *file == File::Container(container));
        self.backends.contains(&container) && self.steps.last().is_some_and(made)
    }

    fn allocate(&mut self) -> Step {
        let number = self.stage.blocks().len();
        let (backing, size) = match number {
            0 => (Backing::Anonymous, 4 << 20),
            1 => (Backing::Memfd, 2 << 20),
            2 if self.has_giant_page() && one_in(&mut self.rng, GIANT_ONE_IN) => {
                (Backing::Huge1G, 1 << 30)
            }
            2 if !one_in(&mut self.rng, 3) => (Backing::Huge2M, 4 << 20),
            _ => (Backing::Anonymous, 1 << 20),
        };
        Step::Allocate { backing, size }
    }

    /// A place in some block.
    pub(super) fn place(&mut self, unit: u64) -> Place {
        if one_in(&mut self.rng, 40) {
            return Place { block: None, offset: self.rng.u64(..16) * unit };
        }
        let count = self.stage.blocks().len();
        let number = self.rng.usize(..count.max(1));
        let size = self.stage.blocks().get(number).map_or(0, |block| block.range.size.raw());
        let offset = self.rng.u64(..(size / unit).max(1)) * unit;
        Place { block: u8::try_from(number).ok(), offset }
    }
}
