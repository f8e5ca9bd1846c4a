//! Leases end, in a fixed order that needs neither the holder nor a policy.

use crate::{
    edit::Wish,
    error::Error,
    kernel::Kernel,
    lease::{
        EndCause, Holder, Lease, LeaseEvent, LeaseId, LeasePart, LeaseState, LeaseStep, News,
        Timestamp,
    },
    plan::{Action, CALL_TCES_MAX, PlannedCall, plan},
    window::{Run, WindowId},
};

use super::super::{Engine, backend::WindowState};

impl<K: Kernel> Engine<K> {
    /// Takes a lease back, and its sub-leases: devices quiet first, then its TCEs. With the last lease devices are reset
    /// in between, where they can be. They stay quiet; [`Engine::resume_devices`] lets them go on for the leases that
    /// remain. Revoking again what is revoked already
    /// changes nothing.
    ///
    /// # Errors
    /// [`LeaseRefusal::Stale`](crate::lease::LeaseRefusal::Stale); [`Error::Fault`], after which it takes no edits and
    /// this can be called again.
    pub fn revoke(&mut self, lease: LeaseId) -> Result<(), Error> {
        match self.leases.get(lease)?.state {
            LeaseState::Ended(_) => Ok(()),
            _ => self.end_leases(&[lease], EndCause::Revoked),
        }
    }

    /// Ends every lease of a holder who is gone.
    ///
    /// # Errors
    /// As [`Engine::revoke`].
    pub fn end_holder(&mut self, holder: &Holder) -> Result<(), Error> {
        self.end_where(EndCause::HolderGone, |lease| lease.holder == *holder)
    }

    /// Ends every lease whose time is over.
    ///
    /// # Errors
    /// As [`Engine::revoke`].
    pub fn expire(&mut self, now: Timestamp) -> Result<(), Error> {
        self.end_where(EndCause::Expired, |lease| lease.is_over(now))
    }

    /// Ends the leases that are meant; without any, no device is stopped.
    pub(in super::super) fn end_where(
        &mut self,
        cause: EndCause,
        is_meant: impl Fn(&Lease) -> bool,
    ) -> Result<(), Error> {
        let live = self.leases.live();
        let meant: Vec<LeaseId> =
            live.filter(|(_, lease)| is_meant(lease)).map(|(id, _)| id).collect();
        if meant.is_empty() { Ok(()) } else { self.end_leases(&meant, cause) }
    }

    /// Ends leases that have not ended yet, and their sub-leases first: edits refused, guests off, devices quiet, TCEs gone. After a
    /// fault it can be called again. A lease that was ending already keeps its cause.
    pub(in super::super) fn end_leases(
        &mut self,
        live: &[LeaseId],
        cause: EndCause,
    ) -> Result<(), Error> {
        let mut all = Vec::new();
        for id in live {
            self.begin_end(*id, cause)?;
            let parts: Vec<LeaseId> = self.leases.parts_of(*id).map(|(part, _)| part).collect();
            for part in parts {
                self.begin_end(part, EndCause::ParentEnded(*id))?;
                all.push(part);
            }
        }
        all.extend(live);
        all.extend(self.cut_guest(&all)?);
        self.quiesce_devices()?;
        self.reset_after_last_lease()?;
        all.into_iter().try_for_each(|id| self.finish_lease(id))
    }

    fn begin_end(&mut self, id: LeaseId, cause: EndCause) -> Result<(), Error> {
        let step = LeaseStep::End(cause);
        if self.leases.get(id)?.state.after(step).is_some() {
            self.leases.advance(id, step);
        }
        Ok(())
    }

    pub(in super::super) fn finish_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        self.clear_lease(id)?;
        self.give_memory_up(id)?;
        let lease = self.leases.get(id)?;
        let LeaseState::Ending(cause) = lease.state else { return Ok(()) };
        let (parent, sublet) = (lease.parent, lease.as_sublet());
        self.leases.advance(id, LeaseStep::Finish);
        if let Some(parent) = parent {
            self.leases.get_mut(parent).sublet.remove(sublet);
        }
        self.tell(id, News::Ended(cause));
        Ok(())
    }

    /// Has something for a holder to know.
    pub(in super::super) fn tell(&mut self, lease: LeaseId, news: News) {
        let holder = self.leases.get_mut(lease).holder.clone();
        self.events.push(LeaseEvent { lease, holder, news });
    }

    /// Unmaps all that a lease has mapped, or may have where its range is quarantined or a guest has set it.
    pub(in super::super) fn clear_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        let windows: Vec<WindowId> =
            self.leases.get(id)?.parts.iter().map(|part| part.window).collect();
        windows.into_iter().try_for_each(|window| self.clear_part(id, window))?;
        self.leases.get_mut(id).loan = None;
        Ok(())
    }

    /// The same in one of its windows.
    pub(in super::super) fn clear_part(
        &mut self,
        id: LeaseId,
        window: WindowId,
    ) -> Result<(), Error> {
        let Some(LeasePart { run, .. }) = self.leases.get(id)?.part(window).copied() else {
            return Ok(());
        };
        let state = self.backend()?.window(window).expect("a window outlives its leases");
        let calls = match self.leases.get(id)?.loan {
            Some(_) => calls_over(run.first(), run.end()).collect(),
            None => calls_to_clear(state, id, run),
        };
        for call in calls {
            self.make(window, call)?;
            let mut ledger = self.ledger(window, id);
            ledger.clear(call.first, call.end());
            ledger.not_lingering(call.first, call.end());
        }
        let state = self.backend_mut()?.window_mut(window).expect("as before");
        state.quarantines.retain(|quarantine| quarantine.lease != id);
        Ok(())
    }
}

/// The quarantined range as a whole, and of the rest what the table says is set.
fn calls_to_clear(state: &WindowState, id: LeaseId, run: Run) -> Vec<PlannedCall> {
    let unmap = |first, end| Wish { first, end, target: None };
    let quarantine = state.quarantines.iter().find(|quarantine| quarantine.lease == id);
    let (first, end) =
        quarantine.map_or((run.end(), run.end()), |it| (it.run.first(), it.run.end()));
    let known = plan(&state.table, &[unmap(run.first(), first), unmap(end, run.end())]);
    known.calls.into_iter().chain(calls_over(first, end)).collect()
}

/// The calls that unmap a range, whatever the table says of it.
fn calls_over(first: u64, end: u64) -> impl Iterator<Item = PlannedCall> {
    let starts = std::iter::successors(Some(first), |at| at.checked_add(CALL_TCES_MAX));
    starts.take_while(move |at| *at < end).map(move |at| {
        let pages = (end - at).min(CALL_TCES_MAX);
        PlannedCall { first: at, pages, action: Action::Unmap }
    })
}
