//! The backend of one container: `struct tce_container` of `vfio_iommu_spapr_tce.c`.
//!
//! It is made by `VFIO_SET_IOMMU` and dies with the container's last group, whatever the container's descriptor does.
//! Calls come one at a time; the real driver's races are out of reach here.

use tce_engine::{
    errno::Errno,
    kernel::{EehOperation, GroupNumber, InjectedError, Platform, SpaprInfo},
};

use crate::{
    endpoint::Endpoints,
    fault::Tally,
    inspect::HostLog,
    kvm::Kvm,
    process::{Mm, MmId},
    profile::{Profile, SLOTS},
    window::{Window, table::TableRun},
};

mod cut;
mod maps;
mod memory;
mod windows;

pub(crate) use cut::{CutEnd, MapCut};

/// What the driver reaches besides its own state.
pub(crate) struct Host<'a> {
    pub(crate) profile: &'a Profile,
    /// The address space that the container is bound to; for one that is not, the caller's.
    pub(crate) mm: &'a mut Mm,
    pub(crate) mm_id: MmId,
    pub(crate) endpoints: &'a mut Endpoints,
    pub(crate) kvm: &'a mut Kvm,
    pub(crate) tally: &'a mut Tally,
    pub(crate) log: &'a mut HostLog,
}

/// The driver's state.
#[derive(Debug)]
pub(crate) struct Backend {
    binding: Binding,
    mapping: Mapping,
    default_window: DefaultWindow,
    windows: [Option<Window>; SLOTS],
    /// Newest first: `list_add` puts a group before the others, and the first decides.
    groups: Vec<GroupNumber>,
    /// `prereg_list`: the first addresses of this container's regions.
    registrations: Vec<u64>,
}

/// Whose the container is (`tce_iommu_mm_set`): the process's that first registers memory, or creates or removes a
/// window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Unbound,
    Bound(MmId),
}

/// `tce_container::enabled`: set by the first registration, never taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    Refused,
    Allowed,
}

/// `tce_container::def_window_pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DefaultWindow {
    Pending,
    Settled,
}

impl Backend {
    /// `tce_iommu_open`.
    pub(crate) const fn new() -> Self {
        Self {
            binding: Binding::Unbound,
            mapping: Mapping::Refused,
            default_window: DefaultWindow::Settled,
            windows: [const { None }; SLOTS],
            groups: Vec::new(),
            registrations: Vec::new(),
        }
    }

    /// The test that comes first in `tce_iommu_ioctl`: a bound container answers its own process only.
    pub(crate) fn admits(&self, caller: MmId) -> Result<(), Errno> {
        match self.binding {
            Binding::Bound(mm) if mm != caller => Err(Errno::EPERM),
            Binding::Bound(_) | Binding::Unbound => Ok(()),
        }
    }

    /// Whose the container is, if it is anybody's yet.
    pub(crate) const fn owner(&self) -> Option<MmId> {
        match self.binding {
            Binding::Bound(mm) => Some(mm),
            Binding::Unbound => None,
        }
    }

    fn bind(&mut self, host: &Host<'_>) {
        self.binding = Binding::Bound(host.mm_id);
    }

    /// `tce_iommu_attach_group`: the new group sees every window that exists.
    pub(crate) fn attach(&mut self, group: GroupNumber, host: &mut Host<'_>) -> Result<(), Errno> {
        if !host.profile.has_dynamic_windows() {
            return Err(Errno::EINVAL);
        }
        let first = self.groups.is_empty() && self.windows[0].is_none();
        let set = self.set_windows(host);
        if first {
            self.default_window = DefaultWindow::Pending;
        }
        set?;
        self.groups.insert(0, group);
        Ok(())
    }

    /// `ops->set_window` of the windows that exist. A partition's only compares: the window is another PE's.
    fn set_windows(&self, host: &mut Host<'_>) -> Result<(), Errno> {
        match host.profile.platform {
            Platform::Pseries if self.windows().next().is_some() => {
                host.unset_window_that_was_not_set();
                Err(Errno::EPERM)
            }
            Platform::Pseries | Platform::Powernv => Ok(()),
        }
    }

    /// `tce_iommu_detach_group`: the leaving group takes everybody's TCEs with it
    /// (`tce_iommu_release_ownership`, since 6.11).
    pub(crate) fn detach(&mut self, group: GroupNumber, host: &mut Host<'_>) {
        self.groups.retain(|attached| *attached != group);
        for (slot, window) in self.windows.iter_mut().enumerate() {
            if let Some(window) = window {
                if host.profile.kernel.detach_clears_windows() {
                    host.clear_all(window);
                }
                host.unset_window(&[group], slot);
            }
        }
    }

    /// `tce_iommu_release`, once the last group has left.
    pub(crate) fn release(mut self, host: &mut Host<'_>) {
        for window in self.windows.iter_mut().filter_map(Option::take) {
            host.free(window);
        }
        for region in self.registrations {
            // A region that will not go stays as it is.
            if host.mm.put(region, host.profile).is_err() {
                host.log.warn("tce_iommu_release: a registered region is still mapped");
            }
        }
    }

    /// The windows and their slots.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (usize, &Window)> {
        let numbered = self.windows.iter().enumerate();
        numbered.filter_map(|(slot, window)| window.as_ref().map(|window| (slot, window)))
    }

    /// The same, to be changed.
    pub(crate) fn windows_mut(&mut self) -> impl Iterator<Item = &mut Window> {
        self.windows.iter_mut().flatten()
    }

    /// First addresses of the regions this container registered.
    pub(crate) fn registrations(&self) -> &[u64] {
        &self.registrations
    }

    /// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`: properties of the PE, not of what exists now.
    pub(crate) fn info(&self, profile: &Profile) -> SpaprInfo {
        let start = profile.slot_starts[0].raw();
        SpaprInfo {
            // VFIO_IOMMU_SPAPR_INFO_DDW; a v2 container has no group without dynamic windows.
            flags: 1,
            dma32_window_start: u32::try_from(start).unwrap_or(u32::MAX),
            dma32_window_size: u32::try_from(profile.default_window.raw()).unwrap_or(u32::MAX),
            page_sizes: profile.page_sizes,
            windows_max: profile.windows_max,
            levels_max: profile.levels_max,
        }
    }

    /// `VFIO_EEH_PE_OP`: every group in turn, until one answers something else than 0.
    pub(crate) fn eeh(&self, operation: EehOperation, host: &mut Host<'_>) -> Result<i32, Errno> {
        for group in &self.groups {
            let answer = host.endpoints.eeh(*group, operation, host.profile.eeh)?;
            if answer != 0 {
                return Ok(answer);
            }
        }
        Ok(0)
    }

    /// `VFIO_EEH_PE_INJECT_ERR`: every group in turn.
    pub(crate) fn inject_error(
        &self,
        error: InjectedError,
        host: &mut Host<'_>,
    ) -> Result<(), Errno> {
        let mut groups = self.groups.iter();
        groups.try_for_each(|group| host.endpoints.inject(*group, error, host.profile))
    }
}

impl Host<'_> {
    /// `tce_iommu_clear`: entries that are not set are passed over.
    fn clear(&mut self, window: &mut Window, run: TableRun) {
        self.tally.tces_cleared += window.clear(run, self.mm);
    }

    fn clear_all(&mut self, window: &mut Window) {
        let count = window.table.entries();
        self.clear(window, TableRun { index: 0, count });
    }

    /// `tce_iommu_clear` and `tce_iommu_free_table`. A table that KVM holds loses its charge, but not its life.
    fn free(&mut self, mut window: Window) {
        self.clear_all(&mut window);
        self.mm.locked.uncharge(window.charge_pages);
        self.kvm.keep_if_held(window);
    }

    /// `ops->unset_window` for some groups; its errors are ignored.
    fn unset_window(&mut self, groups: &[GroupNumber], slot: usize) {
        for group in groups {
            if let Some(endpoint) = self.endpoints.get_mut(*group) {
                endpoint.partition.unset(slot);
            }
        }
    }

    /// `spapr_tce_unset_window` of a PE whose window could not be set (CVE-2025-21713).
    fn unset_window_that_was_not_set(&mut self) {
        if !self.profile.kernel.tolerates_unset_windows() {
            self.log.corrupt("a second group: spapr_tce_unset_window of no window".to_owned());
        }
    }
}
