//! Maps at addresses that devices cannot use.

use tce_engine::{
    addr::{Bytes, Iova},
    kernel::Platform,
};
use tce_sim::Profile;

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

/// Where 32-bit addresses end.
const END: u64 = 1 << 32;

pub(super) struct Reserved {
    hits: Hits,
    /// Where 32-bit MMIO starts, on machines that have it behind window 0.
    start: Option<u64>,
    bytes: u64,
}

impl Reserved {
    pub(super) fn new(profile: &Profile) -> Self {
        let is_powernv = profile.platform == Platform::Powernv;
        let start = is_powernv.then_some(profile.default_window.raw());
        Self { hits: Hits::default(), start, bytes: 0 }
    }

    fn overlap(&self, iova: Iova, size: Bytes) -> u64 {
        let Some(start) = self.start else { return 0 };
        let end = iova.raw().saturating_add(size.raw()).min(END);
        end.saturating_sub(iova.raw().max(start))
    }
}

impl Check for Reserved {
    fn step(&mut self, step: &Step<'_>) {
        let Call::Map { iova, size, .. } = step.event.call else { return };
        let overlap = self.overlap(iova, size);
        if step.event.answer.is_zero() && overlap > 0 {
            self.hits.hit(step.place);
            self.bytes += overlap;
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let maps = counted(self.hits.count(), "MAP_DMA", "MAP_DMAs");
        self.hits.finding(Rule::ReservedRange, Severity::Warning, Told {
            what: format!("{maps} at bus addresses from 2 GiB to 4 GiB"),
            cause: "on bare metal these addresses are 32-bit MMIO and MSI; the kernel keeps them out of \
                    its own window (pnv_pci_ioda2_setup_default_config), and DMA to them may reach \
                    another device instead of memory",
            costs: vec![cost("mapped where devices may not reach it", self.bytes, Unit::Bytes)],
            remedy: "leave this range of the first window unmapped; use addresses below it or above 4 GiB",
        })
    }
}
