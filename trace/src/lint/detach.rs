//! Mappings that a leaving group erased for those that stay.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct Detach {
    hits: Hits,
    tces: u64,
}

impl Check for Detach {
    fn step(&mut self, step: &Step<'_>) {
        if !matches!(step.event.call, Call::UnsetContainer { .. } | Call::Close { .. }) {
            return;
        }
        let lost = step.before.live_tces().saturating_sub(step.after.live_tces());
        if step.after.groups > 0 && step.after.groups < step.before.groups && lost > 0 {
            self.hits.hit(step.place);
            self.tces += lost;
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let left = counted(self.hits.count(), "group left", "groups left");
        self.hits.finding(Rule::MappingLostByDetach, Severity::Error, Told {
            what: format!("{left} a container that others stay in, and took all mappings along"),
            cause: "tce_iommu_release_ownership clears every table of the container, not only for the \
                    group that leaves (since 6.11 and 6.10.10), and tells nobody",
            costs: vec![cost("TCEs lost by the groups that stay", self.tces, Unit::Tces)],
            remedy: "quiesce the devices that stay and map again after a group left, or give each \
                     group a container of its own",
        })
    }
}
