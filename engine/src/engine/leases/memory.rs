//! Memory that is registered for a lease, counts against its quota, and goes with it.

use crate::{
    error::Error,
    kernel::Kernel,
    lease::{LeaseId, LeaseRefusal, LeaseStep},
    region::{RegionId, RegionRefusal, RegionRequest},
};

use super::super::Engine;

impl<K: Kernel> Engine<K> {
    /// Registers memory for a lease. It is unregistered when the lease ends; if other leases have mapped some of it by
    /// then, it stays, and is nobody's but the container's owner's.
    ///
    /// # Errors
    /// [`LeaseRefusal`] if the lease has ended, its quota does not hold the memory, or it has registered it already; as
    /// [`Engine::register_memory`].
    pub fn register_for(
        &mut self,
        id: LeaseId,
        request: &RegionRequest,
    ) -> Result<RegionId, Error> {
        let lease = self.leases.allowing(id, LeaseStep::Pin)?;
        let range = request.range();
        let wanted = lease.pinned.saturating_add(range.size);
        if let Some(limit) = lease.pinned_max().filter(|limit| wanted > *limit) {
            return Err(LeaseRefusal::Pinned { lease: id, limit, wanted }.into());
        }
        let known = self.regions.iter().find(|(_, region)| region.range == range);
        if let Some((region, _)) = known.filter(|(region, _)| lease.regions.contains(region)) {
            return Err(LeaseRefusal::HasRegion { lease: id, region }.into());
        }
        let region = self.register_memory(request)?;
        let lease = self.leases.get_mut(id);
        lease.regions.push(region);
        lease.pinned = wanted;
        Ok(region)
    }

    /// Unregisters memory that was registered for a lease.
    ///
    /// # Errors
    /// [`LeaseRefusal`] if it was not, or the lease has ended; as [`Engine::unregister`].
    pub fn unregister_for(&mut self, id: LeaseId, region: RegionId) -> Result<(), Error> {
        let lease = self.leases.allowing(id, LeaseStep::Pin)?;
        if !lease.regions.contains(&region) {
            return Err(LeaseRefusal::NoRegion { lease: id, region }.into());
        }
        let size = self.regions.get(region)?.range.size;
        self.unregister(region)?;
        let lease = self.leases.get_mut(id);
        lease.regions.retain(|other| *other != region);
        lease.pinned = lease.pinned.saturating_sub(size);
        Ok(())
    }

    /// Unregisters what was registered for a lease that ends. Nothing of it is mapped by the lease any more.
    pub(super) fn give_memory_up(&mut self, id: LeaseId) -> Result<(), Error> {
        while let Some(region) = self.leases.get(id)?.regions.last().copied() {
            match self.unregister(region) {
                Ok(())
                | Err(Error::Region(
                    RegionRefusal::Mapped { .. }
                    | RegionRefusal::Lent { .. }
                    | RegionRefusal::Gone(_),
                )) => {}
                Err(error) => return Err(error),
            }
            self.leases.get_mut(id).regions.pop();
        }
        Ok(())
    }
}
