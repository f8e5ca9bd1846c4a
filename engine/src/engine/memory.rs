//! Regions: registering memory pins and charges it; unregistering is refused while anything can point into it.

use crate::{
    addr::{Bytes, PageShift},
    error::Error,
    kernel::{Kernel, MemoryRange},
    region::{Region, RegionId, RegionRefusal},
};

use super::{Charge, ChargeSubject, Engine, State};

impl<K: Kernel> Engine<K> {
    /// Registers memory that is backed by pages of the given size throughout.
    ///
    /// # Errors
    /// [`RegionRefusal`] before any call, [`Error::Fault`] from the kernel.
    pub fn register(&mut self, range: MemoryRange, backing: PageShift) -> Result<RegionId, Error> {
        let backend = self.backend()?;
        let region = Region::new(range, backing, backend.facts.system_page)?;
        backend.regions.check_new(&region)?;
        self.check_limit(range.size)?;
        let container = self.container();
        let (result, charged) = self.calls.charged(|calls| calls.register(container, range))?;
        result?;
        let id = self.backend_mut()?.regions.insert(region);
        let (subject, predicted) = (ChargeSubject::Region(id), range.size);
        self.charges.push(Charge { subject, predicted, charged });
        Ok(id)
    }

    fn check_limit(&mut self, needed: Bytes) -> Result<(), Error> {
        let Some(limit) = self.backend()?.facts.locked_limit else { return Ok(()) };
        let charged = self.calls.locked()?.locked;
        if charged.saturating_add(needed) > limit {
            return Err(RegionRefusal::LockedMemory { needed, charged, limit }.into());
        }
        Ok(())
    }

    /// Unregisters a region.
    ///
    /// # Errors
    /// [`RegionRefusal::Mapped`] while a TCE points into it or may do so: the kernel would say yes and leak.
    pub fn unregister(&mut self, id: RegionId) -> Result<(), Error> {
        let backend = self.backend()?;
        backend.check_unused(id)?;
        let range = backend.regions.get(id)?.range;
        self.calls.unregister(self.container(), range)?;
        self.backend_mut()?.regions.remove(id);
        Ok(())
    }

    pub(super) fn unregister_all(&mut self) -> Result<(), Error> {
        let State::Attached(backend) = &self.state else { return Ok(()) };
        let all: Vec<RegionId> = backend.regions.iter().map(|(id, _)| id).collect();
        all.into_iter().try_for_each(|id| self.unregister(id))
    }
}
