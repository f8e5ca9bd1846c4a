//! Unmaps of other addresses than those of the memory that is freed.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{
    intent::{Piece, Unmapped},
    replay::{ContainerId, Leaving, Step},
};

#[derive(Default)]
pub(super) struct UnmapRange {
    hits: Hits,
    erased: u64,
    /// What such unmaps should have unmapped.
    freed: Vec<(ContainerId, Piece)>,
    /// Mappings that the program still used at the end, and those of them without TCEs.
    in_use: u64,
    lost: u64,
    left: u64,
}

impl UnmapRange {
    fn settled(&mut self, container: ContainerId, unmapped: &Unmapped) {
        let Some(meant) = &unmapped.meant else { return };
        self.hits.hit(unmapped.place);
        self.erased += unmapped.cleared;
        self.freed.extend(meant.iter().map(|piece| (container, *piece)));
    }
}

impl Check for UnmapRange {
    fn step(&mut self, step: &Step<'_>) {
        if let (Some(container), Some(unmapped)) = (step.container, &step.settled) {
            self.settled(container, unmapped);
        }
    }

    fn leaving(&mut self, leaving: &Leaving<'_>) {
        if let Some(unmapped) = &leaving.settled {
            self.settled(leaving.container, unmapped);
        }
        let freed: Vec<_> =
            self.freed.extract_if(.., |(container, _)| *container == leaving.container).collect();
        if freed.is_empty() {
            return;
        }
        let target = |piece: &Piece| leaving.machine.tce(leaving.fd, piece.iova);
        for piece in leaving.belief.pieces() {
            self.in_use += 1;
            self.lost += u64::from(target(piece).is_none());
        }
        let is_left = |(_, piece): &&(ContainerId, Piece)| {
            target(piece).is_some_and(|tce| tce.address == piece.address)
        };
        self.left += super::report::count(freed.iter().filter(is_left).count());
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let what = format!(
            "{} unmapped other addresses than those of the memory that was unregistered next; {} \
             of {} at the end had no TCE left",
            counted(self.hits.count(), "UNMAP_DMA", "UNMAP_DMAs"),
            self.lost,
            counted(self.in_use, "mapping still in use", "mappings still in use"),
        );
        self.hits.finding(Rule::UnmapWrongRange, Severity::Error, Told {
            what,
            cause: "the range of an unmap is cleared as it stands (tce_iommu_clear), whatever else is \
                    mapped in it; devices lose mappings that they use, and keep those of freed memory. \
                    DPDK passes the structure of MAP_DMA to UNMAP_DMA, so that the kernel reads the \
                    memory's address as a range",
            costs: vec![
                cost("TCEs cleared that were not meant", self.erased, Unit::Tces),
                cost("mappings in use that have no TCE at the end", self.lost, Unit::Mappings),
                cost("freed mappings that are still there at the end", self.left, Unit::Mappings),
            ],
            remedy: "unmap exactly the IOVA range that the memory was mapped at",
        })
    }
}
