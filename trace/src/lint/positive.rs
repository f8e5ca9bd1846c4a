//! Failures that look like success.

use super::{
    Check, Finding, Rule, Severity,
    finding::{Hits, Told, counted},
};
use crate::{
    event::{Answer, Call},
    replay::Step,
};

/// `MAP_DMA`, `UNMAP_DMA` and `REGISTER_MEMORY`, by number.
const NUMBERS: [u64; 3] = [113, 114, 117];

#[derive(Default)]
pub(super) struct Positive {
    hits: Hits,
}

impl Check for Positive {
    fn step(&mut self, step: &Step<'_>) {
        let matters = match &step.event.call {
            Call::Map { .. } | Call::Unmap { .. } | Call::Register { .. } => true,
            Call::Other { request, .. } => NUMBERS.contains(&(request & 0xff)),
            _ => false,
        };
        if matters && matches!(step.event.answer, Answer::Returned(value) if value > 0) {
            self.hits.hit(step.place);
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let calls = counted(self.hits.count(), "call", "calls");
        self.hits.finding(Rule::PositiveResult, Severity::Warning, Told {
            what: format!("{calls} failed with a positive result and no errno"),
            cause: "MAP_DMA and UNMAP_DMA return 1 for a misaligned or overlong range \
                    (iommu_tce_put_param_check is A || B), REGISTER_MEMORY the pages it could pin of \
                    memory that ends too early",
            costs: Vec::new(),
            remedy: "take every result but 0 for a failure: a test for negative results misses these",
        })
    }
}
