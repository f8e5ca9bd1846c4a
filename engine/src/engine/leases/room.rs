//! Where in a window, or in a lease that is divided, there is room for another lease.

use crate::{
    addr::{Bytes, Iova},
    error::Error,
    kernel::Kernel,
    lease::{LeaseId, LeasePart, LeaseRefusal, LeaseStep},
    window::{Claim, Run, Window, WindowId},
};

use super::super::{Engine, backend::WindowState};

/// A range of a window that is to be divided, and what of it is taken.
struct Ground<'a> {
    state: &'a WindowState,
    range: Claim,
    taken: Vec<Claim>,
}

impl<K: Kernel> Engine<K> {
    /// How many bytes of a window leases can still have, not always in one piece: whole pages that neither a lease nor a
    /// reserved range touches.
    #[must_use]
    pub fn unleased(&self, id: WindowId) -> Bytes {
        let Ok(backend) = self.backend() else { return Bytes::ZERO };
        let Some(state) = backend.window(id) else { return Bytes::ZERO };
        let Window { start, size, page, .. } = state.window;
        let leased = self.leased_of(id).map(|part| part.claim.size);
        let leased = leased.fold(Bytes::ZERO, Bytes::saturating_add);
        backend.facts.usable_within(start, size, page).saturating_sub(leased)
    }

    /// What of a window is leased. Sub-leases lie within it.
    pub(in super::super) fn leased_of(&self, window: WindowId) -> impl Iterator<Item = &LeasePart> {
        let leases = self.leases.live().filter(|(_, lease)| lease.parent.is_none());
        leases.filter_map(move |(_, lease)| lease.part(window))
    }

    /// What of a lease's range in a window its sub-leases have, in ascending order.
    pub(in super::super) fn sublet_of(&self, id: LeaseId, window: WindowId) -> Vec<(LeaseId, Run)> {
        if self.leases.get(id).is_ok_and(|lease| lease.sublet.leases == 0) {
            return Vec::new();
        }
        let parts = self.leases.parts_of(id);
        let runs = parts.filter_map(|(part, lease)| Some((part, lease.part(window)?.run)));
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable_by_key(|(_, run)| run.first());
        runs
    }

    /// A free range of a window, without a TCE: in that of its parent, or where nobody has any.
    pub(in super::super) fn room_for(
        &self,
        id: WindowId,
        at: Option<Iova>,
        size: Bytes,
        parent: Option<LeaseId>,
    ) -> Result<LeasePart, Error> {
        let ground = match parent {
            Some(parent) => self.ground_of_lease(id, parent)?,
            None => self.ground_of_window(id)?,
        };
        let reserved = &self.backend()?.facts.reserved;
        let window = &ground.state.window;
        let placed = match at {
            Some(start) => Some(Claim { start, size }),
            None => {
                let fixed = reserved.iter().map(|it| Claim { start: it.start, size: it.size });
                let mapped = parent.map(|_| ground.mapped()).unwrap_or_default();
                ground.first_fit(size, fixed.chain(mapped))
            }
        };
        let no_room = || LeaseRefusal::NoRoom { window: id, size, at };
        let claim = placed.ok_or_else(no_room)?;
        let run = window.admit(claim, reserved).map_err(LeaseRefusal::from)?;
        let is_free = ground.range.contains(claim)
            && !ground.taken.iter().any(|taken| taken.overlaps(claim))
            && ground.state.table.is_empty_within(run.first(), run.end());
        if !is_free {
            return Err(no_room().into());
        }
        Ok(LeasePart { window: id, claim, run, tces: 0 })
    }

    fn ground_of_window(&self, id: WindowId) -> Result<Ground<'_>, Error> {
        let state = self.backend()?.window(id).ok_or(LeaseRefusal::NoWindow(id))?;
        let range = Claim { start: state.window.start, size: state.window.size };
        Ok(Ground { state, range, taken: self.leased_of(id).map(|part| part.claim).collect() })
    }

    /// What is quarantined of a lease is not divided.
    fn ground_of_lease(&self, id: WindowId, parent: LeaseId) -> Result<Ground<'_>, Error> {
        let lease = self.leases.allowing(parent, LeaseStep::Sublet)?;
        let range = lease.part(id).ok_or(LeaseRefusal::NoWindow(id))?.claim;
        let state = self.backend()?.window(id).ok_or(LeaseRefusal::NoWindow(id))?;
        let sublet = self.sublet_of(parent, id).into_iter().map(|(_, run)| run);
        let unknown = state.quarantines.iter().filter(|it| it.lease == parent).map(|it| it.run);
        let taken = sublet.chain(unknown).map(|run| state.claim_of(run)).collect();
        Ok(Ground { state, range, taken })
    }
}

impl Ground<'_> {
    /// What is mapped in it.
    fn mapped(&self) -> Vec<Claim> {
        let Self { state, range, .. } = self;
        let run = state.window.admit(*range, &[]).expect("a lease lies in its window");
        let runs = state.table.within(run.first(), run.end());
        runs.map(|run| state.claim(run.first, run.end())).collect()
    }

    /// The lowest range of this size that neither is taken nor overlaps those others.
    fn first_fit(&self, size: Bytes, others: impl Iterator<Item = Claim>) -> Option<Claim> {
        let Self { state, range, taken } = self;
        let window = &state.window;
        let mut taken: Vec<Claim> = taken.iter().copied().chain(others).collect();
        taken.sort_unstable_by_key(|claim| claim.start);
        let mut start = range.start;
        for claim in taken {
            let gap = claim.start.offset_from(start).unwrap_or_default();
            if gap >= size {
                break;
            }
            // A reserved range may end within a page.
            let end = claim.start.checked_add(claim.size)?.offset_from(window.start);
            let used = end.unwrap_or_default().round_up(window.page)?;
            start = start.max(window.start.checked_add(used)?);
        }
        let room = range.start.checked_add(range.size)?.offset_from(start)?;
        (room >= size).then_some(Claim { start, size })
    }
}
