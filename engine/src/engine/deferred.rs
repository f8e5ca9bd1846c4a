//! What lingers is flushed in time, whether its lease is used or not.

use crate::{
    error::Error,
    kernel::Kernel,
    lease::{Lease, LeaseId, LeaseState, Timestamp},
    lingering::Unmapping,
};

use super::{Applied, Engine};

impl<K: Kernel> Engine<K> {
    /// When [`Engine::expire`] or [`Engine::flush_due`] next has something to do; `None` if nothing is due ever.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = |lease: &Lease| [lease.expires, flush_time(lease)].into_iter().flatten().min();
        self.leases.live().filter_map(|(_, lease)| due(lease)).min()
    }

    /// Flushes every lease of which something has lingered for as long as it may.
    ///
    /// # Errors
    /// As [`Engine::flush`], for the first that failed; the others are tried all the same.
    pub fn flush_due(&mut self, now: Timestamp) -> Result<Applied, Error> {
        self.flush_where(now, |lease| flush_time(lease).is_some_and(|due| due <= now))
    }

    /// Flushes every lease of which something lingers.
    ///
    /// # Errors
    /// As [`Engine::flush_due`].
    pub fn flush_all(&mut self, now: Timestamp) -> Result<Applied, Error> {
        self.flush_where(now, |lease| lease.lingering.tces() > 0)
    }

    fn flush_where(
        &mut self,
        now: Timestamp,
        is_meant: impl Fn(&Lease) -> bool,
    ) -> Result<Applied, Error> {
        let live = self.leases.live();
        let meant = live.filter(|(_, lease)| lease.state == LeaseState::Active && is_meant(lease));
        let meant: Vec<LeaseId> = meant.map(|(id, _)| id).collect();
        let results: Vec<_> = meant.into_iter().map(|id| self.flush(id, now)).collect();
        results.into_iter().try_fold(Applied::default(), |sum, applied| Ok(sum.with(applied?)))
    }
}

fn flush_time(lease: &Lease) -> Option<Timestamp> {
    match lease.unmapping {
        Unmapping::Strict => None,
        Unmapping::Deferred(deferral) => lease.lingering.due(deferral),
    }
}
