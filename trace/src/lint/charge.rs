//! Failed `CREATE`s whose charge stays.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost, counted},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct Charge {
    hits: Hits,
    bytes: u64,
}

impl Check for Charge {
    fn step(&mut self, step: &Step<'_>) {
        if !matches!(step.event.call, Call::Create { .. }) || step.event.answer.is_zero() {
            return;
        }
        let recorded = step.event.locked.zip(step.locked_before);
        let (after, before) = recorded.unwrap_or((step.after.locked, step.before.locked));
        if let Some(leaked) = after.checked_sub(before).filter(|leaked| !leaked.is_zero()) {
            self.hits.hit(step.place);
            self.bytes += leaked.raw();
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let failed = counted(self.hits.count(), "failed TCE_CREATE", "failed TCE_CREATEs");
        self.hits.finding(Rule::ChargeLeaked, Severity::Warning, Told {
            what: format!("{failed} left their charge behind"),
            cause: "tce_iommu_create_table charges the table before it makes it, and does not take the \
                    charge back if that fails; it counts against RLIMIT_MEMLOCK until the process ends",
            costs: vec![cost("locked memory charged for nothing", self.bytes, Unit::Bytes)],
            remedy: "compute the levels from page size and window size, and do not probe them",
        })
    }
}
