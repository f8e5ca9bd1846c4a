//! What an edit is checked against, before any call.
//!
//! The checks are inlined wherever they are made: what they answer is large, and it costs as much as they do to hand it
//! over in memory.

use crate::{
    edit::{Edit, Wish, joined},
    error::EditRefusal,
    facts::ReservedRange,
    lease::{Lease, LeaseId, LeasePart, LeaseRefusal},
    region::{RegionRefusal, Regions},
    table::Target,
    window::{Claim, Run},
};

use super::super::backend::{Backend, WindowState};

/// A part of a lease with its window.
pub(super) struct Place<'a> {
    pub(super) part: &'a LeasePart,
    pub(super) state: &'a WindowState,
    /// What of it sub-leases have.
    pub(super) sublet: Vec<(LeaseId, Run)>,
}

/// A lease with all that its edits depend on.
pub(super) struct Admission<'a> {
    id: LeaseId,
    lease: &'a Lease,
    places: Vec<Place<'a>>,
    reserved: &'a [ReservedRange],
    regions: &'a Regions,
}

impl<'a> Admission<'a> {
    pub(super) fn new(
        id: LeaseId,
        lease: &'a Lease,
        backend: &'a Backend,
        regions: &'a Regions,
    ) -> Result<Self, LeaseRefusal> {
        let place = |part: &'a LeasePart| {
            let state = backend.window(part.window).ok_or(LeaseRefusal::NoWindow(part.window))?;
            Ok(Place { part, state, sublet: Vec::new() })
        };
        let places = lease.parts.iter().map(place).collect::<Result<_, LeaseRefusal>>()?;
        Ok(Self { id, lease, places, reserved: &backend.facts.reserved, regions })
    }

    pub(super) const fn lease(&self) -> &'a Lease {
        self.lease
    }

    pub(super) fn places(&self) -> &[Place<'a>] {
        &self.places
    }

    pub(super) fn places_mut(&mut self) -> &mut [Place<'a>] {
        &mut self.places
    }

    /// Checks edits; `wished` gets what they wish in each place. Those that continue one another are checked as one.
    pub(super) fn admit(
        &self,
        edits: &[Edit],
        mut wished: impl FnMut(usize, Wish),
    ) -> Result<(), EditRefusal> {
        let pages = self.places.iter().map(|place| place.state.window.page);
        let page = pages.max().expect("a lease has a part");
        let mut at = 0;
        while let Some((all, count)) = joined(&edits[at..], page) {
            let admitted = self.admit_one(at, &all, &mut wished);
            if count > 1 && admitted.is_err() {
                // One of them is wrong, or they lie in two windows.
                for (edit, wanted) in (at..).zip(&edits[at..at + count]) {
                    self.admit_one(edit, wanted, &mut wished)?;
                }
            } else {
                admitted?;
            }
            at += count;
        }
        Ok(())
    }

    #[inline(always)]
    fn admit_one(
        &self,
        edit: usize,
        wanted: &Edit,
        wished: &mut impl FnMut(usize, Wish),
    ) -> Result<(), EditRefusal> {
        let claim = wanted.claim();
        let at = self.place_of(claim);
        wished(at, self.wish(edit, wanted, &self.places[at], claim)?);
        let Some(growth) = self.lease.growth else { return Ok(()) };
        if self.places[at].part.window == growth.into {
            let image = growth.image();
            return match claim.overlaps(image) {
                true => Err(EditRefusal::InImage { edit, claim, old: growth.old }),
                false => Ok(()),
            };
        }
        let start = growth.moved(claim.start).expect("the claim is inside the old range");
        let image = Claim { start, ..claim };
        let into = self.places.iter().position(|place| place.part.window == growth.into);
        let into = into.expect("a lease that grows is in both windows");
        let wish = self.wish(edit, wanted, &self.places[into], image).map_err(|refusal| {
            EditRefusal::Growing { window: growth.into, refusal: Box::new(refusal) }
        })?;
        wished(into, wish);
        Ok(())
    }

    /// The place whose window a range starts in; if it is none, the first one tells what is wrong with it.
    fn place_of(&self, claim: Claim) -> usize {
        let found = self.places.iter().position(|Place { state, .. }| {
            let window = state.window();
            claim.start.offset_from(window.start).is_some_and(|offset| offset < window.size)
        });
        found.unwrap_or(0)
    }

    #[inline(always)]
    fn wish(
        &self,
        edit: usize,
        wanted: &Edit,
        place: &Place<'_>,
        claim: Claim,
    ) -> Result<Wish, EditRefusal> {
        let Place { part, state, sublet } = place;
        let admitted = state.window().admit(claim, self.reserved);
        let run = admitted.map_err(|refusal| EditRefusal::Claim { edit, refusal })?;
        self.check_lease(claim, run, part, wanted)
            .map_err(|refusal| EditRefusal::Lease { edit, refusal })?;
        if let Some((to, run)) = sublet.iter().find(|(_, of)| of.overlaps(run)) {
            let claim = state.claim_of(*run);
            let refusal = LeaseRefusal::Sublet { lease: self.id, claim, to: *to };
            return Err(EditRefusal::Lease { edit, refusal });
        }
        if let Some(quarantine) = state.quarantines.iter().find(|it| it.run.overlaps(run)) {
            let claim = state.claim_of(quarantine.run);
            return Err(EditRefusal::Quarantined { edit, claim });
        }
        let target =
            self.target(wanted, state).map_err(|refusal| EditRefusal::Region { edit, refusal })?;
        Ok(Wish { first: run.first(), end: run.end(), target })
    }

    #[inline(always)]
    fn check_lease(
        &self,
        claim: Claim,
        run: Run,
        part: &LeasePart,
        wanted: &Edit,
    ) -> Result<(), LeaseRefusal> {
        let (lease, allowed) = (self.id, self.lease.access);
        if !part.run.contains(run) {
            return Err(LeaseRefusal::Outside { lease, claim, leased: part.claim });
        }
        match *wanted {
            Edit::Map { access, .. } if !allowed.includes(access) => {
                Err(LeaseRefusal::Access { lease, allowed, wanted: access })
            }
            Edit::Map { .. } | Edit::Unmap(_) => Ok(()),
        }
    }

    #[inline(always)]
    fn target(&self, wanted: &Edit, state: &WindowState) -> Result<Option<Target>, RegionRefusal> {
        let Edit::Map { region, offset, size, access, .. } = *wanted else { return Ok(None) };
        let address = self.regions.locate(region, offset, size, state.window().page)?;
        Ok(Some(Target { address, access, region }))
    }
}
