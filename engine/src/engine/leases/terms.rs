//! The terms of a lease change: its time, its range, its quota.

use crate::{
    edit::Wish,
    error::Error,
    kernel::Kernel,
    lease::{
        EndCause, Lease, LeaseId, LeaseRefusal, LeaseStep, News, Quota, Sublet, Term, Timestamp,
    },
    plan::{Plan, plan},
    window::Claim,
};

use super::{super::Engine, beyond, is_within};

impl<K: Kernel> Engine<K> {
    /// Gives a lease another end, later or earlier; `None`: it does not end by itself any more.
    ///
    /// # Errors
    /// [`LeaseRefusal`]: it ended or its time is over, it would outlast its parent, or a sub-lease would outlast it.
    pub fn renew(
        &mut self,
        id: LeaseId,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let lease = self.leases.allowing(id, LeaseStep::Renew)?;
        if lease.is_over(now) {
            return Err(LeaseRefusal::Ended { lease: id, cause: EndCause::Expired }.into());
        }
        let parent =
            lease.parent.map(|parent| Ok::<_, LeaseRefusal>((parent, self.leases.get(parent)?)));
        let refused = |parent| LeaseRefusal::MoreThanParent { parent, term: Term::Time };
        if let Some((parent, terms)) = parent.transpose()?
            && !is_within(expires, terms.expires)
        {
            return Err(refused(parent).into());
        }
        if self.leases.parts_of(id).any(|(_, part)| !is_within(part.expires, expires)) {
            return Err(refused(id).into());
        }
        self.leases.get_mut(id).expires = expires;
        self.tell(id, News::Renewed(expires));
        Ok(())
    }

    /// Makes the range of a lease smaller. What it has mapped outside is unmapped, devices not stopped: whoever does
    /// not trust the holder stops them before ([`Engine::quiesce_devices`]).
    ///
    /// # Errors
    /// [`LeaseRefusal`] if what shall be left is not part of it, if a sub-lease has a part of the rest, while it grows,
    /// and where it is quarantined. [`Error::Fault`], after which this can be called again.
    pub fn shrink(&mut self, id: LeaseId, left: Claim) -> Result<(), Error> {
        let rest = self.check_shrink(id, left)?;
        let window = self.leases.get(id)?.home().window;
        let calls = self.calls_to_shrink(id, &rest)?;
        for call in calls.calls {
            self.make(window, call)?;
            let mut ledger = self.ledger(window, id);
            ledger.clear(call.first, call.end());
            ledger.not_lingering(call.first, call.end());
        }
        let state = self.backend()?.window(window).expect("a window outlives its leases");
        let run = state.window.admit(left, &[]).expect("it is part of the lease");
        let lease = self.leases.get_mut(id);
        let before = lease.as_sublet();
        (lease.parts[0].claim, lease.parts[0].run) = (left, run);
        self.note_sublet(id, before);
        self.tell(id, News::Shrunk(left));
        Ok(())
    }

    /// The ranges of the lease that it loses.
    fn check_shrink(&self, id: LeaseId, left: Claim) -> Result<[(u64, u64); 2], Error> {
        let lease = self.leases.allowing(id, LeaseStep::Shrink)?;
        if lease.parts.len() > 1 {
            return Err(LeaseRefusal::Growing(id).into());
        }
        let (part, backend) = (lease.home(), self.backend()?);
        let state = backend.window(part.window).ok_or(LeaseRefusal::NoWindow(part.window))?;
        let run = state.window.admit(left, &backend.facts.reserved).map_err(LeaseRefusal::from)?;
        if !part.run.contains(run) {
            let (lease, claim, leased) = (id, left, part.claim);
            return Err(LeaseRefusal::Outside { lease, claim, leased }.into());
        }
        if let Some(unknown) = state.quarantines.iter().find(|it| it.lease == id) {
            let claim = state.claim_of(unknown.run);
            return Err(LeaseRefusal::Quarantined { lease: id, claim }.into());
        }
        let sublet = self.sublet_of(id, part.window).into_iter();
        if let Some((to, of)) = sublet.into_iter().find(|(_, part)| !run.contains(*part)) {
            let claim = state.claim_of(of);
            return Err(LeaseRefusal::Sublet { lease: id, claim, to }.into());
        }
        Ok([(part.run.first(), run.first()), (run.end(), part.run.end())])
    }

    fn calls_to_shrink(&self, id: LeaseId, rest: &[(u64, u64)]) -> Result<Plan, Error> {
        let window = self.leases.get(id)?.home().window;
        let state = self.backend()?.window(window).ok_or(LeaseRefusal::NoWindow(window))?;
        let unmap = |(first, end): &(u64, u64)| Wish { first: *first, end: *end, target: None };
        let wishes: Vec<Wish> = rest.iter().filter(|(first, end)| first < end).map(unmap).collect();
        Ok(plan(&state.table, &wishes))
    }

    /// Gives a lease another quota: less, if it uses no more; more, if nobody gave it that.
    ///
    /// # Errors
    /// [`LeaseRefusal::Quota`], [`LeaseRefusal::Pinned`] if it uses more than that; [`LeaseRefusal::MoreThanParent`] if
    /// its parent has less to give, or its sub-leases have more.
    pub fn set_quota(&mut self, id: LeaseId, quota: Quota) -> Result<(), Error> {
        let lease = self.leases.allowing(id, LeaseStep::Shrink)?;
        let used = lease.parts.iter().map(|part| part.tces).max().unwrap_or(0) + lease.sublet.tces;
        if used > quota.tces {
            let (tces_max, wanted) = (quota.tces, used);
            return Err(LeaseRefusal::Quota { lease: id, tces_max, wanted }.into());
        }
        let pinned = lease.pinned.saturating_add(lease.sublet.pinned);
        if let Some(limit) = quota.pinned.filter(|limit| pinned > *limit) {
            return Err(LeaseRefusal::Pinned { lease: id, limit, wanted: pinned }.into());
        }
        if let Some(parent) = lease.parent {
            let terms = self.leases.get(parent)?;
            let tces = quota.tces.min(lease.home().run.pages().raw());
            if let Some(term) = beyond(terms, lease.as_sublet(), &quota, tces) {
                return Err(LeaseRefusal::MoreThanParent { parent, term }.into());
            }
        }
        let rates = |part: &Lease| part.quota.edits_per_second;
        if self.leases.parts_of(id).any(|(_, part)| !is_within(rates(part), quota.edits_per_second))
        {
            return Err(LeaseRefusal::MoreThanParent { parent: id, term: Term::Edits }.into());
        }
        let lease = self.leases.get_mut(id);
        let before = lease.as_sublet();
        lease.quota = quota;
        self.note_sublet(id, before);
        Ok(())
    }

    /// Notes with its parent that a sub-lease has something else now.
    fn note_sublet(&mut self, id: LeaseId, before: Sublet) {
        let lease = self.leases.get_mut(id);
        let (parent, now) = (lease.parent, lease.as_sublet());
        if let Some(parent) = parent {
            let sublet = &mut self.leases.get_mut(parent).sublet;
            sublet.remove(before);
            sublet.add(now);
        }
    }
}
