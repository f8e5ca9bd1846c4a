//! Creating and removing windows.

use tce_engine::{
    addr::{Iova, PageShift},
    errno::Errno,
    kernel::{CreateCall, Platform},
};

use super::{Backend, DefaultWindow, Host};
use crate::window::{Levels, NewTable, Table, Window, size};

impl Backend {
    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`: a pending default window comes first.
    pub(crate) fn create(&mut self, call: &CreateCall, host: &mut Host<'_>) -> Result<Iova, Errno> {
        self.bind(host);
        self.create_default_window(host)?;
        self.create_window(call, host)
    }

    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`: any address inside names the window.
    pub(crate) fn remove(&mut self, start: Iova, host: &mut Host<'_>) -> Result<(), Errno> {
        self.bind(host);
        if self.default_window == DefaultWindow::Pending && start.raw() == 0 {
            self.default_window = DefaultWindow::Settled;
            return Ok(());
        }
        let slot = self.slot_of(start).ok_or(Errno::EINVAL)?;
        if let Some(window) = self.windows[slot].take() {
            host.unset_window(&self.groups, slot);
            host.free(window);
        }
        Ok(())
    }

    /// `tce_iommu_create_default_window`: 4K pages, one level.
    pub(super) fn create_default_window(&mut self, host: &mut Host<'_>) -> Result<(), Errno> {
        if self.default_window == DefaultWindow::Settled {
            return Ok(());
        }
        let call = CreateCall {
            page_shift: u32::from(PageShift::K4.raw()),
            size: host.profile.default_window,
            levels: 1,
        };
        self.create_window(&call, host)?;
        self.default_window = DefaultWindow::Settled;
        Ok(())
    }

    /// `tce_iommu_find_table`.
    pub(super) fn slot_of(&self, iova: Iova) -> Option<usize> {
        self.windows().find_map(|(slot, window)| window.index_of(iova).map(|_| slot))
    }

    /// `tce_iommu_create_window`.
    fn create_window(&mut self, call: &CreateCall, host: &mut Host<'_>) -> Result<Iova, Errno> {
        let free = self.windows.iter().position(Option::is_none);
        let slot = free.ok_or(Errno::ENOSPC)?;
        // A shift of 128 and more passes as the one it wraps to, and fails later.
        if host.profile.page_sizes & size::shifted(call.page_shift) == 0 {
            return Err(Errno::EINVAL);
        }
        let charge_pages = host.charge_table(call)?;
        // A failure from here to the table leaves the charge standing: nothing undoes account_locked_vm.
        let NewTable { start, entries } = self.create_table(slot, call, host)?;
        self.set_window(slot, charge_pages, host)?;
        let lowest_shift = size::lowest_level_shift(host.profile.page_shift, call);
        self.windows[slot] = Some(Window {
            id: host.kvm.next_table(),
            start,
            page_shift: page_of(call.page_shift)?,
            levels: Levels::new(call.levels, lowest_shift),
            charge_pages,
            table: Table::new(entries),
        });
        Ok(start)
    }

    /// `ops->create_table`, asked of the first group.
    fn create_table(
        &self,
        slot: usize,
        call: &CreateCall,
        host: &mut Host<'_>,
    ) -> Result<NewTable, Errno> {
        match host.profile.platform {
            Platform::Powernv => {
                let entries = size::powernv_entries(host.profile.page_shift, call)?;
                Ok(NewTable { start: host.profile.slot_starts[slot], entries })
            }
            Platform::Pseries => {
                let first = self.groups.first().ok_or(Errno::EFAULT)?;
                let endpoint = host.endpoints.get_mut(*first).ok_or(Errno::ENODEV)?;
                endpoint.partition.create(slot, call, host.profile)
            }
        }
    }

    /// `ops->set_window` for every group. In a partition a window is its own PE's, so a second group refuses; that
    /// undoes the table, charge included.
    fn set_window(&self, slot: usize, charge_pages: u64, host: &mut Host<'_>) -> Result<(), Errno> {
        if host.profile.platform == Platform::Powernv || self.groups.len() == 1 {
            return Ok(());
        }
        host.unset_window(&self.groups, slot);
        host.unset_window_that_was_not_set();
        host.mm.locked.uncharge(charge_pages);
        Err(Errno::EPERM)
    }
}

impl Host<'_> {
    /// The first half of `tce_iommu_create_table`: `account_locked_vm` before the table is tried.
    fn charge_table(&mut self, call: &CreateCall) -> Result<u64, Errno> {
        let bytes = size::charged_bytes(self.profile, call);
        if bytes == 0 {
            return Err(Errno::EINVAL);
        }
        let pages = bytes >> self.profile.page_shift.raw();
        self.mm.locked.charge(pages)?;
        Ok(pages)
    }
}

/// The page of a table that exists; `create_table` has refused all others.
fn page_of(page_shift: u32) -> Result<PageShift, Errno> {
    u8::try_from(page_shift).ok().and_then(PageShift::new).ok_or(Errno::EINVAL)
}
