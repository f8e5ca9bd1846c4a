//! Memory that is unregistered while it is mapped.

use std::collections::BTreeMap;

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct Unregister {
    hits: Hits,
    /// Leaked regions and their sizes.
    leaked: BTreeMap<u64, u64>,
}

impl Check for Unregister {
    fn step(&mut self, step: &Step<'_>) {
        let Call::Unregister { address, size, .. } = step.event.call else { return };
        // Memory that was given back is charged no more.
        if !step.event.answer.is_zero() || step.after.locked < step.before.locked {
            return;
        }
        let regions = step.machine.regions();
        let region = regions.iter().find(|it| it.range.address == address && it.range.size == size);
        if region.is_some_and(|region| region.has_leaked() && region.owners == 0) {
            self.hits.hit(step.place);
            self.leaked.insert(address.raw(), size.raw());
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let regions = super::report::count(self.leaked.len());
        let bytes = self.leaked.values().sum();
        let what = format!(
            "{} of memory that TCEs still pointed to; each returned 0",
            counted(self.hits.count(), "UNREGISTER_MEMORY", "UNREGISTER_MEMORYs"),
        );
        self.hits.finding(Rule::UnregisterWhileMapped, Severity::Error, Told {
            what,
            cause: "tce_iommu_unregister_pages drops the container's reference and ignores that \
                    mm_iommu_put says EBUSY: the memory has no owner any more, stays pinned and \
                    charged, and its pages never return to the host, even after the exit",
            costs: vec![
                cost("regions that stay pinned for good", regions, Unit::Regions),
                cost("memory that stays pinned for good", bytes, Unit::Bytes),
            ],
            remedy: "unmap every TCE of the memory before it is unregistered, and do not trust the 0",
        })
    }
}
