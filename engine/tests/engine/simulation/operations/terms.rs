//! The terms of leases change, and parts of them are leased.

use std::num::NonZeroU32;

use tce_engine::{
    Error, LeaseRequest,
    addr::{Bytes, Iova},
    lease::{EndCause, Holder, LeaseId, LeaseRefusal, News, Quota, Timestamp},
    window::Claim,
};

use crate::{
    bench::request,
    simulation::{run::Run, sights::Sight},
};

const HOLDERS: [&str; 3] = ["tenant", "neighbour", "lodger"];

impl Run {
    pub(super) fn holder(&mut self) -> Holder {
        let name = self.dice.pick(&HOLDERS).expect("there are some");
        Holder::new(name).expect("a name")
    }

    /// Few TCEs, few edits, or any number.
    pub(super) fn quota(&mut self) -> Quota {
        let rate = u32::try_from(1 + self.dice.roll(60)).expect("it is small");
        Quota {
            tces: if self.dice.one_in(4) { self.dice.roll(60) } else { u64::MAX },
            edits_per_second: NonZeroU32::new(rate).filter(|_| self.dice.one_in(6)),
            pinned: None,
        }
    }

    pub(super) fn renew(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|_, _| true) else { return Ok(()) };
        let until = Timestamp(self.now + self.dice.roll(300));
        let expires = (!self.dice.one_in(3)).then_some(until);
        self.engine.renew(lease, expires, Timestamp(self.now))?;
        assert_eq!(self.engine.leases().get(lease).expect("it is there").expires, expires);
        self.news.push((lease, News::Renewed(expires)));
        self.saw(Sight::Renewed);
        Ok(())
    }

    pub(super) fn set_quota(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|_, _| true) else { return Ok(()) };
        let quota = self.quota();
        self.engine.set_quota(lease, quota)?;
        assert_eq!(self.engine.leases().get(lease).expect("it is there").quota, quota);
        self.model.paces.remove(&lease);
        self.saw(Sight::QuotaSet);
        Ok(())
    }

    pub(super) fn shrink(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_lease(|run, id| run.model.parts_of(id).count() == 1) else {
            return Ok(());
        };
        let Some((window, part)) = self.model.parts_of(id).next() else { return Ok(()) };
        let (start, page, pages) = (part.start, part.page, (part.end - part.start) / part.page);
        let first = self.dice.roll(pages);
        let odd = if self.dice.one_in(20) { pages } else { 0 };
        let count = 1 + self.dice.roll(pages - first) + odd;
        let left = Claim { start: Iova::new(start + first * page), size: Bytes::new(count * page) };
        self.touched = Some(id);
        let shrunk = self.engine.shrink(id, left);
        match &shrunk {
            Ok(()) => {
                self.saw_if(count < pages, Sight::Shrunk);
                self.model.shrink(id, window, first, count);
                self.news.push((id, News::Shrunk(left)));
            }
            Err(Error::Fault(_)) => {
                // It has less in what it was to lose, and all that was to be left.
                self.saw(Sight::ShrinkingFailed);
                let state = self.engine.windows().find(|state| state.window().id == window);
                let table = state.expect("it is leased").table();
                let part = self.model.parts.get_mut(&(id, window)).expect("it was picked");
                let left = left.start.raw()..left.start.raw() + left.size.raw();
                part.keep_set(table, |at| left.contains(&at));
            }
            Err(_) => {}
        }
        shrunk
    }

    /// Leases a part of a lease to somebody.
    pub(super) fn divide(&mut self) -> Result<(), Error> {
        let parent = self.any_lease(|run, id| {
            let lease = run.engine.leases().get(id);
            lease.is_ok_and(|lease| lease.parent.is_none() && lease.parts.len() == 1)
        });
        let Some(parent) = parent else { return Ok(()) };
        let Ok(lease) = self.engine.leases().get(parent) else { return Ok(()) };
        let (window, run) = (lease.home().window, lease.home().run);
        let (access, expires, groups) = (lease.access, lease.expires, lease.groups.clone());
        let (start, quota) = (lease.home().claim.start.raw(), lease.quota);
        let page = self.window(window).map_or(1 << 12, |window| window.page.bytes().raw());
        let pages = run.pages().raw();
        let first = self.dice.roll(pages);
        let size = Bytes::new(page * (1 + self.dice.roll((pages - first).min(40))));
        let wanted = LeaseRequest {
            holder: self.holder(),
            at: self.dice.one_in(2).then(|| Iova::new(start + first * page)),
            access,
            quota: if self.dice.one_in(3) { self.quota() } else { quota },
            expires: if self.dice.one_in(8) { None } else { expires },
            unmapping: self.unmapping(),
            groups: if self.dice.one_in(8) { self.groups() } else { groups },
            parent: Some(parent),
            ..request(window, size)
        };
        self.take_lease(window, wanted)?;
        self.saw(Sight::Sublet);
        Ok(())
    }

    pub(super) fn end_holder(&mut self) -> Result<(), Error> {
        if !self.dice.one_in(3) {
            return Ok(());
        }
        let holder = self.holder();
        self.cause = Some(EndCause::HolderGone);
        let count = |run: &Self| {
            run.engine.leases().live().filter(|(_, lease)| lease.holder == holder).count()
        };
        let before = count(self);
        self.begin_quiet();
        let ended = self.engine.end_holder(&holder);
        let left = count(self);
        self.saw_if(left < before, Sight::HolderGone);
        assert!(ended.is_err() || left == 0, "all that it had has ended");
        ended
    }

    /// Edits that a lease was let make are edits of its parent too, and no more than their rates allow.
    pub(super) fn note_pace(&mut self, id: LeaseId, edits: usize) {
        let edits = u64::try_from(edits).expect("it is small");
        let parent = self.engine.leases().get(id).ok().and_then(|lease| lease.parent);
        for lease in std::iter::once(id).chain(parent) {
            let quota = self.engine.leases().get(lease).expect("it is there").quota;
            let Some(rate) = quota.edits_per_second else { continue };
            let (since, made) = self.model.paces.entry(lease).or_insert((self.now, 0));
            *made += edits;
            // A second's worth at once, and the batch that went beyond it.
            let allowed = u64::from(rate.get()) * (self.now - *since + 1001) / 1000 + edits + 1;
            assert!(*made <= allowed, "{lease}: {made} edits of {allowed}");
        }
    }

    pub(super) fn note_refused_pace(&mut self, error: &Error) {
        let is_too_fast = matches!(error, Error::Lease(LeaseRefusal::TooFast { .. }));
        self.saw_if(is_too_fast, Sight::TooFast);
    }
}
