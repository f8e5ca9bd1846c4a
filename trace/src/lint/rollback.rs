//! Mappings that a failed map erased.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct Rollback {
    hits: Hits,
    tces: u64,
}

impl Check for Rollback {
    fn step(&mut self, step: &Step<'_>) {
        if !matches!(step.event.call, Call::Map { .. }) || step.event.answer.is_zero() {
            return;
        }
        let lost = step.before.live_tces().saturating_sub(step.after.live_tces());
        if lost > 0 {
            self.hits.hit(step.place);
            self.tces += lost;
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let failed = counted(self.hits.count(), "failed MAP_DMA", "failed MAP_DMAs");
        self.hits.finding(Rule::MappingLostByRollback, Severity::Error, Told {
            what: format!("{failed} erased mappings that had been there before"),
            cause: "a map that fails half-way is rolled back to empty, not to what was there \
                    (tce_iommu_build_v2 calls tce_iommu_clear)",
            costs: vec![cost("TCEs lost", self.tces, Unit::Tces)],
            remedy: "map the old memory again after a failed map over live mappings, or unmap first",
        })
    }
}
