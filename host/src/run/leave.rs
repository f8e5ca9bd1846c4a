//! One of several groups leaves.

use tce_engine::{kernel::GroupNumber, machine::Machine};

use crate::{
    exit::{Exit, Failure},
    grant,
    job::GroupPlan,
    policy::wit,
    question,
};

use super::{
    live,
    outcome::Outcome,
    session::{Decisions, Session, conclude},
    words,
};

impl<M: Machine> Session<'_, M> {
    /// Asks which leases end with a group, ends them, and lets it go. What the others have mapped is made anew.
    pub(super) fn leave(
        &mut self,
        group: &GroupPlan,
        outcome: &mut Outcome,
        decisions: &mut Decisions,
    ) -> Result<(), Failure> {
        let now = self.keep_time(outcome)?;
        let group = self.number(group)?;
        if self.engine.groups().count() == 1 {
            let what =
                format!("group {group} is the only group there is: every lease ends with it");
            return Err(Failure::new(Exit::Job, what)
                .with("leave this step out: it leaves when the run ends"));
        }
        let question = wit::GroupLossQuestion {
            facts: self.live_facts(Some(group))?,
            group: group.0,
            windows: self.live_windows(),
            leases: self.live_leases(outcome),
            now: now.0,
            settings: question::settings(&self.job.settings),
        };
        let decided = self.options.policies.decide(
            &format!("group {group} leaves"),
            now,
            question,
            |question, answer| grant::leases(&question.leases, answer),
            |answer| words::ending(&self.lease_names(answer, outcome)),
        );
        let numbers = conclude(decisions, decided)?;
        self.end_leases(&live::ids_of(self.engine, &numbers))?;
        self.engine.part(group)?;
        Ok(self.engine.resume_devices()?)
    }

    fn number(&self, group: &GroupPlan) -> Result<GroupNumber, Failure> {
        match group {
            GroupPlan::Number(number) => Ok(*number),
            GroupPlan::Of(device) => Ok(self.machine.group_of(device)?),
        }
    }
}
