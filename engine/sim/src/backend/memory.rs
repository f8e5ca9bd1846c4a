//! Registering and unregistering memory.

use tce_engine::{errno::Errno, kernel::MemoryRange};

use super::{Backend, Binding, Host, Mapping};
use crate::profile::Profile;

impl Backend {
    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY` (`tce_iommu_register_pages`).
    pub(crate) fn register(
        &mut self,
        range: MemoryRange,
        host: &mut Host<'_>,
    ) -> Result<i32, Errno> {
        self.bind(host);
        let start = range.address.raw();
        let wraps = start.checked_add(range.size.raw()).is_none();
        if !is_page_aligned(range, host.profile) || wraps {
            return Err(Errno::EINVAL);
        }
        match host.mm.regions.exact(range) {
            Some(_) if self.registrations.contains(&start) => return Err(Errno::EBUSY),
            // Another container's, or one that leaked: shared, and charged no second time.
            Some(region) => region.users += 1,
            None => match host.mm.pin(range, host.profile)? {
                0 => {}
                part => return Ok(part),
            },
        }
        self.registrations.push(start);
        self.mapping = Mapping::Allowed;
        Ok(0)
    }

    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY` (`tce_iommu_unregister_pages`). It takes a reference to find the region,
    /// drops the container's, and ignores what dropping its own says: memory that is still mapped loses its owner
    /// and stays.
    pub(crate) fn unregister(
        &mut self,
        range: MemoryRange,
        host: &mut Host<'_>,
    ) -> Result<(), Errno> {
        if self.binding == Binding::Unbound {
            return Err(Errno::EPERM);
        }
        if !is_page_aligned(range, host.profile) {
            return Err(Errno::EINVAL);
        }
        let start = range.address.raw();
        let region = host.mm.regions.exact(range).ok_or(Errno::ENOENT)?;
        region.users += 1;
        let found = self.registrations.iter().position(|registered| *registered == start);
        let answer = match found {
            None => Err(Errno::ENOENT),
            Some(at) => host.mm.put(start, host.profile).map(|()| {
                self.registrations.remove(at);
            }),
        };
        let _ = host.mm.put(start, host.profile);
        answer
    }
}

fn is_page_aligned(range: MemoryRange, profile: &Profile) -> bool {
    range.address.is_aligned(profile.page_shift) && range.size.is_multiple_of(profile.page_shift)
}
