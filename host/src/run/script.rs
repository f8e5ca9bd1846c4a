//! The script: steps become batches of edits.

use tce_engine::{
    addr::{Bytes, Iova},
    edit::Edit,
    region::RegionId,
    window::Claim,
};

use crate::job::{EditPlan, LeasePlan, RegionPlan, Ring, Step};

/// What steps refer to by index.
pub(super) struct Script<'a> {
    pub(super) regions: &'a [RegionPlan],
    pub(super) region_ids: &'a [RegionId],
    pub(super) leases: &'a [LeasePlan],
    /// The leases' ranges; none where there is no lease yet.
    pub(super) claims: &'a [Option<Claim>],
}

/// What a step comes to.
pub(super) enum Act {
    /// Batches under a lease, made one by one.
    Edits { lease: usize, batches: u64 },
    /// Something that is done at once.
    Once,
}

impl Script<'_> {
    pub(super) fn act(step: &Step) -> Act {
        match *step {
            Step::MapAll { lease } | Step::UnmapAll { lease } | Step::Batch { lease, .. } => {
                Act::Edits { lease, batches: 1 }
            }
            Step::Ring { lease, ring } => Act::Edits { lease, batches: u64::from(ring.turns) },
            Step::Revoke { .. }
            | Step::Lease { .. }
            | Step::Renew { .. }
            | Step::Grow { .. }
            | Step::Leave(_) => Act::Once,
        }
    }

    /// The edits of one batch of a step, counted from 0. `None` if an address does not fit 64 bits.
    pub(super) fn batch(&self, step: &Step, batch: u64) -> Option<Vec<Edit>> {
        match step {
            Step::MapAll { lease } => self.map_all(*lease),
            Step::UnmapAll { lease } => Some(vec![Edit::Unmap(self.claims[*lease]?)]),
            Step::Batch { lease, edits } => {
                edits.iter().map(|edit| self.edit(*lease, edit)).collect()
            }
            Step::Ring { lease, ring } => self.turn(*lease, ring, batch),
            Step::Revoke { .. }
            | Step::Lease { .. }
            | Step::Renew { .. }
            | Step::Grow { .. }
            | Step::Leave(_) => Some(Vec::new()),
        }
    }

    /// Regions without an address of their own lie one behind the other from the start of the lease.
    fn map_all(&self, lease: usize) -> Option<Vec<Edit>> {
        let mut next = self.claims[lease]?.start;
        let mut edits = Vec::new();
        for index in &self.leases[lease].regions {
            let RegionPlan { size, access, at, .. } = self.regions[*index];
            let region = self.region_ids[*index];
            let iova = at.unwrap_or(next);
            edits.push(Edit::Map { iova, region, offset: Bytes::ZERO, size, access });
            next = iova.checked_add(size)?;
        }
        Some(edits)
    }

    fn edit(&self, lease: usize, plan: &EditPlan) -> Option<Edit> {
        Some(match *plan {
            EditPlan::Map { region, at, offset, size, access } => {
                let iova = self.iova(lease, at)?;
                Edit::Map { iova, region: self.region_ids[region], offset, size, access }
            }
            EditPlan::Unmap { at, size } => {
                Edit::Unmap(Claim { start: self.iova(lease, at)?, size })
            }
        })
    }

    fn iova(&self, lease: usize, at: Bytes) -> Option<Iova> {
        self.claims[lease]?.start.checked_add(at)
    }

    /// One turn of a ring: the oldest buffers go, the next ones come in the places that follow.
    fn turn(&self, lease: usize, ring: &Ring, turn: u64) -> Option<Vec<Edit>> {
        let places = u64::from(ring.entries);
        let buffers = self.regions[ring.region].size.raw() / ring.entry_size.raw();
        let first = turn * u64::from(ring.batch);
        let mut edits = Vec::new();
        if places > u64::from(ring.batch) {
            let oldest = (first + u64::from(ring.batch)) % places;
            let size = Bytes::new(u64::from(ring.batch) * ring.entry_size.raw());
            edits.push(Edit::Unmap(Claim { start: self.place(lease, ring, oldest)?, size }));
        }
        for entry in first..first + u64::from(ring.batch) {
            edits.push(Edit::Map {
                iova: self.place(lease, ring, entry % places)?,
                region: self.region_ids[ring.region],
                offset: Bytes::new(entry % buffers * ring.entry_size.raw()),
                size: ring.entry_size,
                access: ring.access,
            });
        }
        Some(edits)
    }

    fn place(&self, lease: usize, ring: &Ring, index: u64) -> Option<Iova> {
        let offset = Bytes::new(index.checked_mul(ring.entry_size.raw())?);
        self.iova(lease, ring.at)?.checked_add(offset)
    }
}
