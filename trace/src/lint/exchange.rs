//! Maps over live mappings.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct Exchange {
    hits: Hits,
    tces: u64,
}

impl Check for Exchange {
    fn step(&mut self, step: &Step<'_>) {
        if !matches!(step.event.call, Call::Map { .. }) || !step.event.answer.is_zero() {
            return;
        }
        let set = step.after.tces_set.saturating_sub(step.before.tces_set);
        let grown = step.after.live_tces().saturating_sub(step.before.live_tces());
        let exchanged = set.saturating_sub(grown);
        if exchanged > 0 {
            self.hits.hit(step.place);
            self.tces += exchanged;
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let maps = counted(self.hits.count(), "MAP_DMA", "MAP_DMAs");
        self.hits.finding(Rule::SilentExchange, Severity::Note, Told {
            what: format!("{maps} over addresses that were mapped"),
            cause: "the kernel exchanges a live TCE without a word (iommu_tce_xchg_no_kill), where other \
                    backends answer EEXIST",
            costs: vec![cost("TCEs replaced", self.tces, Unit::Tces)],
            remedy: "if that was not meant, keep account of what is mapped: the kernel does not",
        })
    }
}
