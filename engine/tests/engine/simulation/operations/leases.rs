//! Leases come and go.

use tce_engine::{
    Error, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova},
    kernel::GroupNumber,
    lease::{EndCause, LeaseId, Timestamp},
    lingering::{Deferral, Unmapping},
    window::{Window, WindowId},
};

use crate::{
    bench::request,
    simulation::{run::Run, sights::Sight},
};

/// Leases lie near the start of a window, mostly: the simulated table costs by what was ever touched of it.
const NEAR_TCES: u64 = 1 << 10;
const ACCESSES: [Access; 5] =
    [Access::Read, Access::Write, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite];

impl Run {
    pub(super) fn window(&self, id: WindowId) -> Option<Window> {
        self.engine.windows().map(|state| *state.window()).find(|window| window.id == id)
    }

    /// Where a lease may be and how much it is.
    pub(super) fn place(&mut self, id: WindowId) -> (Option<Iova>, Bytes) {
        let window = self.window(id);
        let page = window.map_or(1 << 12, |window| window.page.bytes().raw());
        let at = window.filter(|_| self.dice.one_in(4)).map(|window| {
            let all = window.tces().raw();
            let reach = if self.dice.one_in(20) { all } else { all.min(NEAR_TCES) };
            window.iova_of(self.dice.roll(reach))
        });
        let tces = window.map_or(1, |window| window.tces().raw());
        let pages = if self.dice.one_in(16) { 0 } else { 1 + self.dice.roll(tces.min(160)) };
        (at, Bytes::new(page * pages))
    }

    pub(super) fn lease(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_window() else { return Ok(()) };
        let (at, size) = self.place(id);
        let wanted = LeaseRequest {
            holder: self.holder(),
            at,
            access: self.dice.pick(&ACCESSES).expect("there are some"),
            quota: self.quota(),
            unmapping: self.unmapping(),
            expires: self.dice.one_in(4).then(|| Timestamp(self.now + self.dice.roll(300))),
            groups: self.groups(),
            ..request(id, size)
        };
        self.take_lease(id, wanted)
    }

    pub(super) fn unmapping(&mut self) -> Unmapping {
        let deferral = Deferral::new(1 + self.dice.roll(48), 1 + self.dice.roll(120));
        let deferral = deferral.expect("within the bounds");
        if self.dice.one_in(2) { Unmapping::Strict } else { Unmapping::Deferred(deferral) }
    }

    /// All there are, mostly, or one.
    pub(super) fn groups(&mut self) -> Vec<GroupNumber> {
        if self.dice.one_in(3) { vec![self.any_group()] } else { Vec::new() }
    }

    pub(super) fn take_lease(
        &mut self,
        window: WindowId,
        wanted: LeaseRequest,
    ) -> Result<(), Error> {
        let parent = wanted.parent;
        let (holder, live) = (wanted.holder.clone(), self.engine.leases().live().count());
        let grant = self.engine.grant_lease(wanted)?;
        let granted = grant.claim();
        let lease = self.engine.lease(grant)?;
        if live == 0 {
            self.check_marks(&holder);
        }
        assert_eq!(self.engine.leases().get(lease).expect("new").home().claim, granted);
        self.leases.push(lease);
        if let Some(parent) = parent {
            self.model.parents.insert(lease, parent);
        }
        self.note_part(lease, window);
        Ok(())
    }

    /// A new range is nobody else's, and not reserved.
    #[track_caller]
    pub(super) fn note_part(&mut self, lease: LeaseId, id: WindowId) {
        let window = self.window(id).expect("there is a lease on it");
        let part = *self.engine.leases().get(lease).expect("known").part(id).expect("it has it");
        let facts = self.engine.facts().expect("there is a window");
        assert_eq!(window.admit(part.claim, &facts.reserved), Ok(part.run));
        let (start, end) = (part.claim.start.raw(), part.claim.start.raw() + part.claim.size.raw());
        let parent = self.model.parents.get(&lease).copied();
        for ((other, _), it) in self.model.parts.iter().filter(|((_, other), _)| *other == id) {
            if Some(*other) == parent {
                let is_inside = it.start <= start && end <= it.end;
                assert!(is_inside && it.is_empty_within(start, end), "{} of {other}", part.claim);
            } else {
                // Who has a part of it has only that of it.
                let is_beside = end <= it.start || it.end <= start;
                let is_in_parent = parent.is_some() && it.start <= start && end <= it.end;
                assert!(is_beside || is_in_parent, "{} is leased twice", part.claim);
            }
        }
        self.model.add(lease, &part, &window);
    }

    /// One that has not ended, or now and then any.
    pub(super) fn any_lease(&mut self, of: impl Fn(&Self, LeaseId) -> bool) -> Option<LeaseId> {
        let old = self.dice.pick(&self.leases);
        let live = self.model.leases();
        let meant: Vec<LeaseId> = live.iter().copied().filter(|id| of(self, *id)).collect();
        self.dice
            .pick(&meant)
            .or_else(|| self.dice.pick(&live))
            .filter(|_| !self.dice.one_in(25))
            .or(old)
    }

    pub(super) fn extend(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|run, id| run.model.parts_of(id).count() == 1) else {
            return Ok(());
        };
        let Some(window) = self.other_window(lease) else { return Ok(()) };
        let (at, size) = self.place(window);
        self.engine.extend_lease(lease, window, at, size)?;
        self.note_part(lease, window);
        Ok(())
    }

    pub(super) fn give_up(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|run, id| run.model.parts_of(id).count() == 2) else {
            return Ok(());
        };
        let Some(window) = self.any_window() else { return Ok(()) };
        let given_up = self.engine.give_up_part(lease, window);
        self.note_given_up(lease, window, given_up)
    }

    /// Notes that a range was taken back, or that a call for it failed.
    pub(super) fn note_given_up(
        &mut self,
        lease: LeaseId,
        window: WindowId,
        given_up: Result<(), Error>,
    ) -> Result<(), Error> {
        match &given_up {
            Ok(()) => {
                self.model.parts.remove(&(lease, window)).expect("it had it");
                let is_whole = self.model.parts_of(lease).all(|(_, part)| !part.has_lost);
                assert!(is_whole, "{lease} is left with a range of which some is gone");
            }
            Err(Error::Fault(_)) => {
                self.saw(Sight::GivingUpFailed);
                self.model.tear(lease, Some(window));
            }
            Err(_) => {}
        }
        self.touched = Some(lease);
        given_up
    }

    pub(super) fn revoke(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|_, _| true) else { return Ok(()) };
        self.cause = Some(EndCause::Revoked);
        let quarantines = |run: &Self| -> usize {
            run.engine.windows().map(|state| state.quarantined().count()).sum()
        };
        let before = quarantines(self);
        self.begin_quiet();
        let revoked = self.engine.revoke(lease);
        self.saw_if(matches!(revoked, Err(Error::Fault(_))), Sight::RevocationFailed);
        self.saw_if(quarantines(self) < before, Sight::QuarantineLifted);
        revoked
    }

    pub(super) fn expire(&mut self) -> Result<(), Error> {
        self.now += self.dice.roll(50);
        self.cause = Some(EndCause::Expired);
        let before = self.engine.leases().live().count();
        self.begin_quiet();
        let expired = self.engine.expire(Timestamp(self.now));
        let live = self.engine.leases().live();
        let over = live.filter(|(_, lease)| lease.is_over(Timestamp(self.now))).count();
        let left = self.engine.leases().live().count();
        self.saw_if(left < before, Sight::Expired);
        assert!(expired.is_err() || over == 0, "all that is over has ended");
        expired
    }
}
