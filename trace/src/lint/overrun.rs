//! Maps and unmaps past the window's end.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct Overrun {
    hits: Hits,
    tces: u64,
}

impl Check for Overrun {
    fn step(&mut self, step: &Step<'_>) {
        let (Call::Map { iova, size, .. } | Call::Unmap { iova, size, .. }) = step.event.call
        else {
            return;
        };
        if !step.event.answer.is_zero() {
            return;
        }
        let Some(window) = step.before.window(iova).or_else(|| step.after.window(iova)) else {
            return;
        };
        let offset = iova.offset_from(window.start).unwrap_or_default();
        let room = window.size.checked_sub(offset).unwrap_or_default();
        if let Some(beyond) = size.checked_sub(room).filter(|beyond| !beyond.is_zero()) {
            self.hits.hit(step.place);
            self.tces += beyond.pages_up(window.page_shift).raw();
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let calls = counted(self.hits.count(), "call", "calls");
        self.hits.finding(Rule::Overrun, Severity::Error, Told {
            what: format!("{calls} went past the end of the window and returned 0"),
            cause: "only the first page of a range is checked (iommu_tce_check_ioba; UNMAP_DMA up to \
                    6.12.111 and 7.2.7, MAP_DMA always): the kernel reads and writes behind the table, \
                    in memory that is not its own",
            costs: vec![cost("TCEs behind the table's end", self.tces, Unit::Tces)],
            remedy: "check the whole range against the window's start and size before the call",
        })
    }
}
