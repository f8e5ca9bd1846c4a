//! Regions: registering memory pins and charges it; unregistering is refused while anything can point into it.

use crate::{
    addr::{Bytes, PageShift},
    calls::Charged,
    error::Error,
    kernel::{Kernel, MemoryRange},
    region::{Region, RegionId, RegionRefusal},
};

use super::{ChargeSubject, Engine};

impl<K: Kernel> Engine<K> {
    /// Registers memory that is backed by pages of the given size throughout.
    ///
    /// # Errors
    /// [`RegionRefusal`] before any call, [`Error::Fault`] from the kernel.
    pub fn register(&mut self, range: MemoryRange, backing: PageShift) -> Result<RegionId, Error> {
        let system_page = self.backend()?.facts.system_page;
        let region = Region::new(range, backing, system_page)?;
        self.regions.check_new(&region)?;
        self.check_limit(range.size)?;
        let container = self.container();
        let Charged { result, charged } =
            self.calls.charged(|calls| calls.register(container, range))?;
        result?;
        let id = self.regions.insert(region);
        self.note_charge(ChargeSubject::Region(id), range.size, charged);
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
        let suspect = self.backend()?.suspect_tces(id);
        let Region { range, tces, .. } = *self.regions.get(id)?;
        let tces = tces.saturating_add(suspect);
        if tces > 0 {
            return Err(RegionRefusal::Mapped { region: id, tces }.into());
        }
        self.calls.unregister(self.container(), range)?;
        self.regions.remove(id);
        Ok(())
    }

    pub(super) fn unregister_all(&mut self) -> Result<(), Error> {
        let all: Vec<RegionId> = self.regions.iter().map(|(id, _)| id).collect();
        all.into_iter().try_for_each(|id| self.unregister(id))
    }
}
