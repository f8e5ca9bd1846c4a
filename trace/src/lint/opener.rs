//! Groups that another opener holds.

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
pub(super) struct Opener {
    hits: Hits,
}

impl Check for Opener {
    fn step(&mut self, step: &Step<'_>) {
        let is_open = matches!(step.event.call, Call::OpenGroup { .. });
        if is_open && step.event.answer == Answer::Failed(Errno::EBUSY) {
            self.hits.hit(step.place);
        }
    }

    fn finish(self: Box<Self>) -> Option<Finding> {
        let opens = counted(self.hits.count(), "open", "opens");
        self.hits.finding(Rule::SecondOpener, Severity::Warning, Told {
            what: format!("{opens} of a group that is open already"),
            cause: "a group has one opener at a time (vfio_group_fops_open); KVM holds a group, too, after \
                    its descriptor is closed",
            costs: Vec::new(),
            remedy: "pass the descriptor on instead of opening the group again",
        })
    }
}
