//! What a program left for the kernel to take down.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost},
};
use crate::replay::{Leaving, Step};

#[derive(Default)]
pub(super) struct Exit {
    hits: Hits,
    windows: u64,
    tces: u64,
    regions: u64,
    bytes: u64,
}

impl Check for Exit {
    fn step(&mut self, _step: &Step<'_>) {}

    fn leaving(&mut self, leaving: &Leaving<'_>) {
        let regions = leaving.machine.regions();
        let owned: Vec<_> = regions.iter().filter(|region| region.owners > 0).collect();
        if owned.is_empty() && leaving.moment.windows.is_empty() {
            return;
        }
        self.hits.hit(leaving.place);
        self.windows += super::report::count(leaving.moment.windows.len());
        self.tces += leaving.moment.live_tces();
        self.regions += super::report::count(owned.len());
        self.bytes += owned.iter().map(|region| region.range.size.raw()).sum::<u64>();
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        self.hits.finding(Rule::LeftAtExit, Severity::Note, Told {
            what: "windows and registered memory were left for the kernel to take down".to_owned(),
            cause: "with the last group the kernel clears all windows and drops all registrations \
                    (tce_iommu_release); a device that is not quiet loses its mappings under way, which \
                    freezes its PE",
            costs: vec![
                cost("windows", self.windows, Unit::Windows),
                cost("TCEs still set", self.tces, Unit::Tces),
                cost("regions still registered", self.regions, Unit::Regions),
                cost("memory still registered", self.bytes, Unit::Bytes),
            ],
            remedy: "stop the devices first; then it is safe, and only slower than to unmap in one call",
        })
    }
}
