//! Time: what is due is done between batches.

use tce_engine::{lease::Timestamp, machine::Machine};

use crate::exit::Failure;

use super::{outcome::Outcome, session::Session};

/// What tells the time of a run. It never goes back.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// Time that stands still.
impl Clock for Timestamp {
    fn now(&self) -> Timestamp {
        *self
    }
}

impl<M: Machine> Session<'_, M> {
    /// Ends the leases whose time is over, makes the unmaps that were put off for long enough, and tells the time.
    pub(super) fn keep_time(&mut self, outcome: &mut Outcome) -> Result<Timestamp, Failure> {
        let now = self.options.clock.now();
        if self.engine.next_due().is_none_or(|due| due > now) {
            return Ok(now);
        }
        if self.engine.leases().live().any(|(_, lease)| lease.is_over(now)) {
            self.engine.expire(now)?;
            // The leases that remain go on.
            self.engine.resume_devices()?;
        }
        let flushed = self.engine.flush_due(now)?;
        outcome.script.work.add(&flushed);
        Ok(now)
    }
}
