//! Leases grow, and what lingers is flushed.

use tce_engine::{
    Error,
    addr::{Bytes, Iova},
    growth::{Addresses, GrowthRequest},
    lease::{LeaseId, Timestamp},
    lingering::Unmapping,
};

use crate::simulation::{run::Run, sights::Sight};

impl Run {
    pub(super) fn is_growing(&self, lease: LeaseId) -> bool {
        self.engine.leases().get(lease).is_ok_and(|lease| lease.growth.is_some())
    }

    pub(super) fn begin_growth(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|run, id| run.model.parts_of(id).count() == 1) else {
            return Ok(());
        };
        let Some(window) = self.other_window(lease) else { return Ok(()) };
        let (at, size) = self.place(window);
        let home = self.engine.leases().get(lease).map(|lease| lease.home().claim.size);
        let is_fixed = self.dice.one_in(12);
        let request = GrowthRequest {
            window,
            at,
            // A lease that grows is no smaller afterwards.
            size: if self.dice.one_in(6) { size } else { home.unwrap_or(size).max(size) },
            device_mask: Iova::new(if self.dice.one_in(12) { u64::MAX >> 32 } else { u64::MAX }),
            addresses: if is_fixed { Addresses::Fixed } else { Addresses::Movable },
        };
        let begun = self.engine.begin_growth(lease, &request, Timestamp(self.now));
        self.touched = Some(lease);
        match begun {
            Ok(growth) => {
                assert_eq!(request.addresses, Addresses::Movable);
                let last = growth.new_range().start.raw() + (growth.new_range().size.raw() - 1);
                assert!(last <= request.device_mask.raw());
                self.note_part(lease, window);
                self.model.grow(lease, &growth);
                let is_used = !self.model.parts[&(lease, window)].wished.is_empty();
                self.saw_if(is_used, Sight::GrowthOfMappings);
                self.note_flushed();
                Ok(())
            }
            Err(error) => {
                self.saw_if(matches!(error, Error::Batch(_)), Sight::GrowthFailed);
                // Where the new range is quarantined it stays with the lease.
                let known = self.engine.leases().active(lease);
                let has_part = known.is_ok_and(|lease| lease.part(window).is_some());
                if has_part && !self.model.parts.contains_key(&(lease, window)) {
                    self.note_part(lease, window);
                    let state = self.engine.windows().find(|it| it.window().id == window);
                    assert!(state.is_some_and(|state| state.quarantined().next().is_some()));
                }
                Err(error)
            }
        }
    }

    pub(super) fn finish_growth(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(Self::is_growing) else { return Ok(()) };
        let growth = self.engine.leases().get(lease).ok().and_then(|lease| lease.growth);
        let finished = self.engine.finish_growth(lease);
        self.saw_if(finished.is_ok(), Sight::GrowthFinished);
        match growth {
            Some(growth) => self.note_given_up(lease, growth.from, finished),
            None => finished,
        }
    }

    pub(super) fn abandon_growth(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(Self::is_growing) else { return Ok(()) };
        let growth = self.engine.leases().get(lease).ok().and_then(|lease| lease.growth);
        let abandoned = self.engine.abandon_growth(lease);
        self.saw_if(abandoned.is_ok(), Sight::GrowthAbandoned);
        match growth {
            Some(growth) => self.note_given_up(lease, growth.into, abandoned),
            None => abandoned,
        }
    }

    /// Where the engine says that nothing lingers, nothing does; the hardware will tell.
    pub(super) fn note_flushed(&mut self) {
        for id in self.model.leases() {
            if self.engine.leases().get(id).is_ok_and(|lease| lease.lingering.tces() == 0) {
                self.model.flush(id);
            }
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let Some(lease) = self.any_lease(|run, id| run.model.ghosts_of(id) > 0) else {
            return Ok(());
        };
        self.touched = Some(lease);
        self.engine.flush(lease, Timestamp(self.now))?;
        self.model.flush(lease);
        Ok(())
    }

    pub(super) fn flush_due(&mut self) -> Result<(), Error> {
        self.now += self.dice.roll(30);
        let now = Timestamp(self.now);
        let flushed = self.engine.flush_due(now);
        self.note_flushed();
        let due = |unmapping, at: u64| match unmapping {
            Unmapping::Strict => false,
            Unmapping::Deferred(deferral) => at + deferral.delay_max() <= now.0,
        };
        let has_flushed = flushed.as_ref().is_ok_and(|applied| applied.unmap_calls > 0);
        self.saw_if(has_flushed, Sight::FlushedInTime);
        if flushed.is_ok() {
            for id in self.model.leases() {
                let lease = self.engine.leases().get(id).expect("it has not ended");
                let ghosts = self.model.parts_of(id).flat_map(|(_, part)| part.ghosts.values());
                let is_late = ghosts.into_iter().any(|(_, at)| due(lease.unmapping, *at));
                assert!(!is_late || self.ending.contains_key(&id), "{id} lingers for too long");
            }
        }
        flushed.map(|_| ())
    }

    pub(super) fn flush_all(&mut self) -> Result<(), Error> {
        let flushed = self.engine.flush_all(Timestamp(self.now));
        self.note_flushed();
        flushed?;
        let active = self.model.leases().into_iter().filter(|id| !self.ending.contains_key(id));
        assert_eq!(active.map(|id| self.model.ghosts_of(id)).sum::<u64>(), 0);
        Ok(())
    }

    /// As many bytes as whole pages.
    pub(super) const fn pages_of(page: u64, count: u64) -> Bytes {
        Bytes::new(page * count)
    }
}
