//! The backend of one container: `struct tce_container` of `vfio_iommu_spapr_tce.c`.
//!
//! It is made by `VFIO_SET_IOMMU` and dies with the container's last group, whatever the container's descriptor does.
//! Calls come one at a time; the real driver's races are out of reach here.

use tce_engine::{
    errno::Errno,
    kernel::{EehOperation, GroupNumber, Platform, SpaprInfo},
};

use crate::{
    endpoint::Endpoints,
    fault::Tally,
    inspect::HostCorrupted,
    process::Mm,
    profile::{Profile, SLOTS},
    region::Unused,
    window::{Window, table::TableRun},
};

mod maps;
mod memory;
mod windows;

pub(crate) use maps::MapCut;

/// What the driver reaches besides its own state.
pub(crate) struct Host<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) mm: &'a mut Mm,
    pub(crate) endpoints: &'a mut Endpoints,
    pub(crate) tally: &'a mut Tally,
    pub(crate) corruption: &'a mut Vec<HostCorrupted>,
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

/// Whether the container knows its address space (`tce_iommu_mm_set`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Unbound,
    Bound,
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

    /// `tce_iommu_attach_group`: the new group sees every window that exists.
    pub(crate) fn attach(&mut self, group: GroupNumber, profile: &Profile) -> Result<(), Errno> {
        if profile.windows_max == 0 {
            return Err(Errno::EINVAL);
        }
        let first = self.groups.is_empty() && self.windows[0].is_none();
        let set = self.set_windows(profile);
        if first {
            self.default_window = DefaultWindow::Pending;
        }
        set?;
        self.groups.insert(0, group);
        Ok(())
    }

    /// `ops->set_window` of the windows that exist. A partition's only compares: the window is another PE's.
    fn set_windows(&self, profile: &Profile) -> Result<(), Errno> {
        match profile.platform {
            Platform::Pseries if self.windows().next().is_some() => Err(Errno::EPERM),
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
            // WARN_ON: a region that will not go stays as it is.
            let _ = host.mm.put(region, host.profile);
        }
    }

    /// The windows and their slots.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (usize, &Window)> {
        let numbered = self.windows.iter().enumerate();
        numbered.filter_map(|(slot, window)| window.as_ref().map(|window| (slot, window)))
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
}

impl Host<'_> {
    /// `tce_iommu_clear`: entries that are not set are passed over.
    fn clear(&mut self, window: &mut Window, run: TableRun) {
        let mut unused = Unused::new(&mut self.mm.regions, window.page_shift.raw());
        let cleared = window.table.clear(run, |word| unused.put(word));
        unused.finish();
        self.tally.tces_cleared += cleared;
    }

    fn clear_all(&mut self, window: &mut Window) {
        let count = window.table.entries();
        self.clear(window, TableRun { index: 0, count });
    }

    /// `tce_iommu_clear` and `tce_iommu_free_table`.
    fn free(&mut self, mut window: Window) {
        self.clear_all(&mut window);
        self.mm.locked.uncharge(window.charge_pages);
    }

    /// `ops->unset_window` for some groups; its errors are ignored.
    fn unset_window(&mut self, groups: &[GroupNumber], slot: usize) {
        for group in groups {
            if let Some(endpoint) = self.endpoints.get_mut(*group) {
                endpoint.partition.unset(slot);
            }
        }
    }

    /// Notes that a real kernel would be broken by now.
    fn corrupt(&mut self, what: String) {
        self.corruption.push(HostCorrupted { what });
    }
}
