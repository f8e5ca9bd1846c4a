//! Maps whose TCE page is larger than the pages of their memory.

use tce_engine::errno::Errno;

use super::{
    Check, Finding, Rule, Severity,
    finding::{Hits, Told, counted},
};
use crate::{
    event::{Answer, Call},
    replay::Step,
};

#[derive(Default)]
pub(super) struct PageSize {
    hits: Hits,
}

impl Check for PageSize {
    fn step(&mut self, step: &Step<'_>) {
        let Call::Map { address, iova, .. } = step.event.call else { return };
        if !matches!(step.event.answer, Answer::Failed(Errno::EINVAL | Errno::EPERM)) {
            return;
        }
        let Some(window) = step.before.window(iova) else { return };
        let regions = step.machine.regions();
        let region = regions.iter().find(|region| {
            address.offset_from(region.range.address).is_some_and(|at| at < region.range.size)
        });
        let is_too_large = |page: u8| window.page_shift.raw() > page;
        let is_refused = step.event.answer == Answer::Failed(Errno::EPERM);
        if region.is_some_and(|region| is_refused || is_too_large(region.page_shift)) {
            self.hits.hit(step.place);
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let maps = counted(self.hits.count(), "MAP_DMA", "MAP_DMAs");
        self.hits.finding(Rule::WrongPageSize, Severity::Warning, Told {
            what: format!("{maps} of memory in smaller pages than the window's"),
            cause: "a TCE page must lie in one page of the memory (tce_page_is_contained, \
                    mm_iommu_ua_to_hpa), or the device would see its neighbours",
            costs: Vec::new(),
            remedy: "choose the window's page no larger than the smallest page of the memory, or use \
                     huge pages",
        })
    }
}
