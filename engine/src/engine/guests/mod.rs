//! Guests: a lease is lent to one, and taken back.
//!
//! KVM holds a window through the groups that it was told of. Taking one group from it ends its hold on every window of
//! that group, so to take back one lease all groups are taken from KVM, and given again for the leases that stay lent.

mod link;
mod repair;

pub(super) use link::Link;
pub(super) use repair::GuestImage;

use crate::{
    access::Access,
    addr::{Bytes, Pages},
    calls::Charged,
    error::Error,
    fault::Fault,
    guest::{Loan, LoanRefusal, LoanRequest, guest_table_charge, table_call},
    kernel::{GuestTableCall, GuestTableFd, Kernel},
    lease::{EndCause, Lease, LeaseId, LeaseRefusal, LeaseState, LeaseStep},
    plan::{Action, PlannedCall},
    window::{Run, Window},
};

use super::{
    ChargeSubject, Engine,
    backend::{Made, Unmaps, WindowState},
};

impl<K: Kernel> Engine<K> {
    /// Lends a lease to the guest: from now on the guest sets its TCEs, and nobody else. Its table may be mapped for
    /// reading; it is closed when the lease is taken back.
    ///
    /// # Errors
    /// [`LoanRefusal`]; [`LeaseRefusal`], also for a lease that has sub-leases or two ranges; [`Error::Fault`] if the
    /// kernel fails a call. If it fails after KVM had the window, and taking it back fails as well, the lease is [`Lent`](crate::lease::LeaseState::Lent) all the
    /// same, and [`Engine::take_back`] can be called.
    pub fn lend(&mut self, id: LeaseId, request: &LoanRequest) -> Result<GuestTableFd, Error> {
        let (window, call) = self.check_loan(id, request)?;
        self.check_table_limit(call)?;
        self.make_if_promised(&window)?;
        let table = self.create_guest_table(id, call)?;
        let tces = Pages::new(call.size);
        let loan = Loan { request: *request, tces, table: Some(table) };
        self.leases.get_mut(id).loan = Some(loan);
        self.leases.advance(id, LeaseStep::Lend);
        if let Err(fault) = self.attach_tables() {
            let _ = self.take_back(id);
            return Err(fault.into());
        }
        Ok(table)
    }

    /// Takes a lease back from the guest, as a whole: KVM off, devices quiet, all of its range unmapped. It can be used
    /// as any other then. The devices stay quiet. While this goes on, other leases of the same guest are out of its
    /// reach for a moment, so the guest should not run.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; [`Error::Fault`], after which this can be called again.
    pub fn take_back(&mut self, id: LeaseId) -> Result<(), Error> {
        self.leases.allowing(id, LeaseStep::TakeBack)?;
        let lost = self.cut_guest(&[id])?;
        self.quiesce_devices()?;
        self.clear_lease(id)?;
        self.leases.advance(id, LeaseStep::TakeBack);
        lost.into_iter().try_for_each(|id| self.finish_lease(id))
    }

    fn check_loan(
        &self,
        id: LeaseId,
        request: &LoanRequest,
    ) -> Result<(Window, GuestTableCall), Error> {
        let lease = self.leases.allowing(id, LeaseStep::Lend)?;
        self.check_undivided(id)?;
        // What is mapped in the other range would go when this one is taken back.
        if lease.parts.len() > 1 {
            return Err(LeaseRefusal::TwoParts(id).into());
        }
        let backend = self.backend()?;
        if backend.link.is_none() {
            return Err(LoanRefusal::NoGuest.into());
        }
        // What a guest sets could not be taken back: KVM knows memory that other containers have registered.
        if backend.unmaps == Unmaps::Refused {
            return Err(LoanRefusal::NothingRegistered.into());
        }
        let part = lease.home();
        let state = backend.window(part.window).ok_or(LoanRefusal::NoWindow(part.window))?;
        check_range(id, lease, state, request)?;
        let mut loans = self.leases.live().filter_map(|(_, lease)| lease.loan);
        if loans.any(|loan| loan.request.liobn == request.liobn) {
            return Err(LoanRefusal::BusTaken(request.liobn).into());
        }
        Ok((state.window, table_call(request, part.claim.start, part.claim.size)))
    }

    fn check_table_limit(&mut self, call: GuestTableCall) -> Result<(), Error> {
        let needed = self.table_charge(call);
        match self.beyond_limit(needed)? {
            Some((charged, limit)) => {
                Err(LoanRefusal::LockedMemory { needed, charged, limit }.into())
            }
            None => Ok(()),
        }
    }

    fn table_charge(&self, call: GuestTableCall) -> Bytes {
        let page = self.calls.system().page_shift;
        guest_table_charge(Pages::new(call.size), page).unwrap_or_default()
    }

    /// The default window is made by the first call on it. KVM finds no window before.
    fn make_if_promised(&mut self, window: &Window) -> Result<(), Fault> {
        let made = self.backend().ok().and_then(|backend| backend.window(window.id));
        if made.is_some_and(|state| state.made == Made::AtFirstUse) {
            return self.make(window.id, PlannedCall { first: 0, pages: 1, action: Action::Unmap });
        }
        Ok(())
    }

    fn create_guest_table(
        &mut self,
        id: LeaseId,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Error> {
        let link = self.backend()?.link.as_ref().ok_or(LoanRefusal::NoGuest)?;
        let vm = link.vm;
        let predicted = self.table_charge(call);
        let Charged { result, charged } =
            self.calls.charged(|calls| calls.create_guest_table(vm, call))?;
        let table = result?;
        self.note_charge(ChargeSubject::GuestTable(id), predicted, charged);
        Ok(table)
    }

    /// The leases that a guest has, and is to have, with its tables.
    pub(super) fn held(&self) -> impl Iterator<Item = (LeaseId, GuestTableFd)> {
        let lent = self.leases.live().filter(|(_, lease)| lease.state == LeaseState::Lent);
        lent.filter_map(|(id, lease)| Some((id, lease.loan?.table?)))
    }

    /// Takes leases from KVM, and leaves it the others. If KVM does not take one of these again, it is ended: a guest
    /// whose hypercalls succeed without effect would be worse. These are handed back, to be finished, and so are those of
    /// an earlier call that failed before it came to them.
    pub(super) fn cut_guest(&mut self, ids: &[LeaseId]) -> Result<Vec<LeaseId>, Error> {
        let mut meant = self.not_taken();
        meant.extend(ids);
        let is_lent = |id: &LeaseId| self.leases.get(*id).is_ok_and(|lease| lease.loan.is_some());
        // One that KVM has let go already counts too: the others may not have been given again.
        if !meant.iter().any(is_lent) {
            return Ok(Vec::new());
        }
        self.detach_tables()?;
        for id in meant {
            self.close_table(id);
        }
        let mut lost = self.reattach()?;
        lost.retain(|id| !ids.contains(id));
        Ok(lost)
    }

    /// Gives KVM what it is to have. If it does not take that, the leases end. They are handed back, to be finished.
    pub(super) fn reattach(&mut self) -> Result<Vec<LeaseId>, Error> {
        if self.attach_tables().is_err() {
            let rest: Vec<LeaseId> = self.held().map(|(id, _)| id).collect();
            for id in rest {
                self.leases.advance(id, LeaseStep::End(EndCause::NotTakenByGuest));
            }
            self.detach_tables()?;
        }
        let lost = self.not_taken();
        for id in &lost {
            self.close_table(*id);
        }
        Ok(lost)
    }

    /// Leases that end because KVM did not take them again.
    fn not_taken(&self) -> Vec<LeaseId> {
        let ending = LeaseState::Ending(EndCause::NotTakenByGuest);
        let live = self.leases.live().filter(|(_, lease)| lease.state == ending);
        live.map(|(id, _)| id).collect()
    }

    /// Closes a guest's table. Linux lets go of a descriptor even if closing it fails.
    fn close_table(&mut self, id: LeaseId) {
        let loan = self.leases.get_mut(id).loan.as_mut();
        if let Some(table) = loan.and_then(|loan| loan.table.take()) {
            let _ = self.calls.close(table.fd(), "guest's table");
        }
    }
}

/// KVM's rules, and ours, for a range that a guest shall have.
fn check_range(
    id: LeaseId,
    lease: &Lease,
    state: &WindowState,
    request: &LoanRequest,
) -> Result<(), LoanRefusal> {
    let (window, part) = (&state.window, lease.home());
    let (start, size, page) = (part.claim.start, part.claim.size, request.page);
    if start != window.start {
        return Err(LoanRefusal::NotAtStart { lease: id, start, window: window.start });
    }
    if page < window.page {
        return Err(LoanRefusal::SmallPage { page, window: window.page });
    }
    if !start.is_aligned(page) || !size.is_multiple_of(page) {
        return Err(LoanRefusal::NotWholePages { start, size, page });
    }
    let unknown = state.quarantines.iter().filter(|it| it.lease == id).map(|it| it.run);
    let tces = part.tces + unknown.map(|run| not_set(state, run)).sum::<u64>();
    if tces > 0 {
        return Err(LoanRefusal::InUse { lease: id, tces });
    }
    let allows_all =
        lease.access == Access::ReadWrite && lease.quota.tces >= part.run.pages().raw();
    if allows_all { Ok(()) } else { Err(LoanRefusal::Terms(id)) }
}

/// TCEs of a run that are not set, as far as the table says.
fn not_set(state: &WindowState, run: Run) -> u64 {
    let set = state.table.within(run.first(), run.end()).map(|it| it.pages).sum::<u64>();
    run.pages().raw().saturating_sub(set)
}
