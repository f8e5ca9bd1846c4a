//! The default window, made by a call that was for something else.

use super::{
    Check, Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost},
};
use crate::{event::Call, replay::Step};

#[derive(Default)]
pub(super) struct DefaultWindow {
    hits: Hits,
    bytes: u64,
}

impl Check for DefaultWindow {
    fn step(&mut self, step: &Step<'_>) {
        let made = match (step.before.windows.is_empty(), &step.event.call) {
            (true, Call::Map { .. } | Call::Unmap { .. }) => step.after.windows.first(),
            (true, Call::Create { .. }) if !step.event.answer.is_zero() => {
                step.after.windows.first()
            }
            (true, Call::Create { start, .. }) => {
                step.after.windows.iter().find(|window| window.start != *start)
            }
            _ => None,
        };
        if let Some(window) = made {
            self.hits.hit(step.place);
            self.bytes += window.charge.raw();
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        self.hits.finding(Rule::ImplicitDefaultWindow, Severity::Note, Told {
            what: "the kernel made the default window, which nobody had asked for".to_owned(),
            cause: "the first MAP_DMA, UNMAP_DMA or TCE_CREATE makes it (tce_iommu_create_default_window) \
                    unless it was removed before",
            costs: vec![cost("locked memory for the default window", self.bytes, Unit::Bytes)],
            remedy: "if it is not wanted, TCE_REMOVE address 0 before the first of these calls",
        })
    }
}
