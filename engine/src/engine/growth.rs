//! A lease moves to a second window.

use crate::{
    addr::Bytes,
    edit::Edit,
    error::Error,
    growth::{Addresses, Growth, GrowthRefusal, GrowthRequest},
    kernel::Kernel,
    lease::{LeaseId, LeasePart, LeaseRefusal, LeaseStep, Timestamp},
    table::MappedRun,
    window::WindowId,
};

use super::{Applied, Engine};

impl<K: Kernel> Engine<K> {
    /// Begins to move a lease: all that it has mapped is mapped in the other window too, at the same offset from the
    /// start of its range. The holder can be told the new addresses then ([`Growth::moved`]).
    ///
    /// # Errors
    /// [`GrowthRefusal`] and [`crate::lease::LeaseRefusal`] before any call; as [`Engine::apply`] for the mapping, after
    /// which the lease is as before.
    pub fn begin_growth(
        &mut self,
        id: LeaseId,
        request: &GrowthRequest,
        now: Timestamp,
    ) -> Result<Growth, Error> {
        let growth = self.grant_growth(id, request)?;
        let edits = self.image_edits(id, &growth)?;
        // Until it is noted that the lease grows, its new range takes edits like any other.
        self.extend_lease(id, growth.into, Some(growth.new.start), growth.new.size)?;
        if let Err(error) = self.apply(id, &edits, now) {
            self.drop_if_empty(id, growth.into);
            return Err(error);
        }
        self.leases.get_mut(id).growth = Some(growth);
        Ok(growth)
    }

    /// Ends the move: the old range is unmapped and given up. The window that it was in can be removed if nobody else
    /// has a lease of it.
    ///
    /// # Errors
    /// [`GrowthRefusal::NotGrowing`]; [`Error::Fault`], after which this can be called again.
    pub fn finish_growth(&mut self, id: LeaseId) -> Result<(), Error> {
        let growth = self.growth_of(id)?;
        self.give_up_part(id, growth.from)
    }

    /// Gives the new range up instead.
    ///
    /// # Errors
    /// As [`Engine::finish_growth`].
    pub fn abandon_growth(&mut self, id: LeaseId) -> Result<(), Error> {
        let growth = self.growth_of(id)?;
        self.give_up_part(id, growth.into)
    }

    fn growth_of(&self, id: LeaseId) -> Result<Growth, Error> {
        let growth = self.leases.active(id)?.growth;
        Ok(growth.ok_or(GrowthRefusal::NotGrowing(id))?)
    }

    /// Takes a part back that could not be filled. Where it is quarantined it stays, until it is given up.
    fn drop_if_empty(&mut self, id: LeaseId, window: WindowId) {
        let state = self.backend().ok().and_then(|backend| backend.window(window));
        let is_known = state.is_some_and(|it| it.quarantines.iter().all(|it| it.lease != id));
        if is_known {
            self.leases.get_mut(id).parts.retain(|part| part.window != window);
        }
    }

    fn grant_growth(&self, id: LeaseId, request: &GrowthRequest) -> Result<Growth, Error> {
        let lease = self.leases.allowing(id, LeaseStep::Extend)?;
        self.check_undivided(id)?;
        if lease.parts.len() > 1 {
            return Err(LeaseRefusal::TwoParts(id).into());
        }
        if request.addresses == Addresses::Fixed {
            return Err(GrowthRefusal::HolderIsFixed(id).into());
        }
        let LeasePart { window: from, claim: old, .. } = *lease.home();
        if request.size < old.size {
            let size = request.size;
            return Err(GrowthRefusal::TooSmall { lease: id, has: old.size, size }.into());
        }
        let claim = self.room_for(request.window, request.at, request.size, None)?.claim;
        let mask = request.device_mask;
        let last = claim.size.checked_sub(Bytes::new(1)).and_then(|it| claim.start.checked_add(it));
        if last.is_none_or(|last| last > mask) {
            return Err(GrowthRefusal::OutOfReach { claim, mask }.into());
        }
        Ok(Growth { from, into: request.window, old, new: claim })
    }

    /// What makes the new range like the old one. What lingers is left out.
    fn image_edits(&self, id: LeaseId, growth: &Growth) -> Result<Vec<Edit>, Error> {
        let lease = self.leases.active(id)?;
        let backend = self.backend()?;
        let state = backend.window(growth.from).expect("a window outlives its leases");
        let into = backend.window(growth.into).expect("it has room").window;
        if let Some(quarantine) = state.quarantines.iter().find(|it| it.lease == id) {
            return Err(GrowthRefusal::Quarantined(state.claim_of(quarantine.run)).into());
        }
        let (run, slot) = (lease.home().run, growth.from.slot);
        let mut edits = Vec::new();
        for MappedRun { first, pages, target } in state.table.within(run.first(), run.end()) {
            for (low, high) in lease.lingering.beside(slot, first, first + pages) {
                let target = target.advanced(low - first, state.window.page);
                let claim = state.claim(low, high);
                let memory = self.regions.get(target.region)?;
                let offset = target.address.offset_from(memory.range.address);
                let offset = offset.expect("a target lies in its region");
                let iova = growth.moved(claim.start).expect("it lies in the old range");
                let size = claim.size;
                if !iova.is_aligned(into.page) || !size.is_multiple_of(into.page) {
                    let (lease, page) = (id, into.page);
                    return Err(GrowthRefusal::Pages { lease, claim, page }.into());
                }
                let access = target.access;
                edits.push(Edit::Map { iova, region: target.region, offset, size, access });
            }
        }
        Ok(edits)
    }
}

impl Applied {
    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            map_calls: self.map_calls + other.map_calls,
            unmap_calls: self.unmap_calls + other.unmap_calls,
            tces_set: self.tces_set + other.tces_set,
            tces_cleared: self.tces_cleared + other.tces_cleared,
            tces_kept: self.tces_kept + other.tces_kept,
            tces_deferred: self.tces_deferred + other.tces_deferred,
        }
    }
}
