//! Calls on a container whose last group has left.

use std::collections::BTreeSet;

use tce_engine::errno::Errno;

use super::{
    Check, Finding, Rule, Severity,
    finding::{Hits, Told, counted},
};
use crate::{
    event::{Answer, Call},
    replay::{ContainerId, Step},
};

#[derive(Default)]
pub(super) struct Withdrawn {
    hits: Hits,
    /// Containers that had a group.
    attached: BTreeSet<ContainerId>,
}

impl Check for Withdrawn {
    fn step(&mut self, step: &Step<'_>) {
        let Some(container) = step.container else { return };
        if step.after.groups > 0 {
            self.attached.insert(container);
        }
        let is_backend_call = matches!(
            step.event.call,
            Call::Info { .. }
                | Call::Register { .. }
                | Call::Unregister { .. }
                | Call::Create { .. }
                | Call::Remove { .. }
                | Call::Map { .. }
                | Call::Unmap { .. }
                | Call::Eeh { .. }
        );
        let is_dead = step.before.groups == 0 && self.attached.contains(&container);
        if is_backend_call && is_dead && step.event.answer == Answer::Failed(Errno::EINVAL) {
            self.hits.hit(step.place);
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let calls = counted(self.hits.count(), "call", "calls");
        self.hits.finding(Rule::CallAfterLastGroup, Severity::Warning, Told {
            what: format!("{calls} on a container whose last group had left"),
            cause: "with its last group a container loses its backend: windows, mappings and \
                    registrations are gone (vfio_group_detach_container), and calls answer EINVAL",
            costs: Vec::new(),
            remedy: "take everything down before the last group leaves, and begin anew after it came back",
        })
    }
}
