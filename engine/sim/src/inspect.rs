//! What a test may see of the machine that the kernel would not show.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    kernel::{ContainerFd, DescriptorKind, Fd, MemoryRange},
};

mod runs;

pub use runs::MappedRun;

use crate::{
    backend::Backend,
    process::MmId,
    window::{Window, entry::TceAccess},
    world::World,
};

/// A call that would have broken a real kernel. No engine call may ever cause one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCorrupted {
    /// What happened, and what it does to the kernel.
    pub what: String,
}

/// A warning (`WARN_ON`) that a real kernel would have written into its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostWarning {
    /// The function that warns, and of what.
    pub what: &'static str,
}

/// Corruptions that are remembered: the first tell what happened.
const CORRUPTIONS_MAX: usize = 64;

/// What happened to the host that no call answers.
#[derive(Debug, Default)]
pub(crate) struct HostLog {
    pub(crate) corruptions: Vec<HostCorrupted>,
    pub(crate) warnings: Vec<HostWarning>,
}

impl HostLog {
    /// Notes that a real kernel would be broken by now.
    pub(crate) fn corrupt(&mut self, what: String) {
        if self.corruptions.len() < CORRUPTIONS_MAX {
            self.corruptions.push(HostCorrupted { what });
        }
    }

    /// Notes a warning; each counts once.
    pub(crate) fn warn(&mut self, what: &'static str) {
        let warning = HostWarning { what };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// A window, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Its slot.
    pub slot: usize,
    /// Its first address.
    pub start: Iova,
    /// Its size. Larger than what was asked for if the kernel rounded a small table up.
    pub size: Bytes,
    /// Its TCE page.
    pub page_shift: PageShift,
    /// Its levels.
    pub levels: u32,
    /// TCEs that are set.
    pub live_tces: u64,
    /// What it costs in locked memory.
    pub charge: Bytes,
}

/// A TCE that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TceView {
    /// The page it points to.
    pub address: HostAddr,
    /// What the device may do.
    pub access: TceAccess,
}

/// A guest's TCE table, as KVM has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestTableView {
    /// The guest's number for it (LIOBN).
    pub liobn: u64,
    /// How often it holds the tables of windows, which follow what the guest sets; 0: none follows.
    pub references: u64,
}

/// A registered region of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionView {
    /// The memory.
    pub range: MemoryRange,
    /// `log2` of the largest TCE page it takes.
    pub page_shift: u8,
    /// TCEs that point into it.
    pub mapped: u64,
    /// References to it (`used`).
    pub users: u64,
    /// Containers that registered it. Fewer than `users`: the rest leaked.
    pub owners: u64,
}

impl RegionView {
    /// Whether references to it are held by nobody, so that it stays as long as the process.
    #[must_use]
    pub const fn has_leaked(&self) -> bool {
        self.users > self.owners
    }
}

/// What the process still holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Open descriptors.
    pub descriptors: Vec<(Fd, DescriptorKind)>,
    /// Registered regions.
    pub regions: Vec<RegionView>,
    /// TCEs that are set, in all containers.
    pub live_tces: u64,
    /// Locked memory.
    pub locked: Bytes,
    /// Memory that was allocated and not given back.
    pub memory: Bytes,
}

impl LeftBehind {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl World {
    pub(crate) fn windows(&self, container: ContainerFd) -> Vec<WindowView> {
        let backend = self.backend_of(container);
        let windows = backend.into_iter().flat_map(|backend| backend.windows());
        windows.map(|(slot, window)| self.window_view(slot, window)).collect()
    }

    fn backend_of(&self, container: ContainerFd) -> Option<&Backend> {
        let id = self.container_of(container.fd()).ok()?;
        self.containers.get(&id)?.backend.as_ref()
    }

    fn window_view(&self, slot: usize, window: &Window) -> WindowView {
        let page_bytes = window.page_shift.bytes().raw();
        let system_bytes = self.profile.page_shift.bytes().raw();
        WindowView {
            slot,
            start: window.start,
            size: Bytes::new(window.table.entries().saturating_mul(page_bytes)),
            page_shift: window.page_shift,
            levels: window.levels.count(),
            live_tces: window.table.live(),
            charge: Bytes::new(window.charge_pages.saturating_mul(system_bytes)),
        }
    }

    pub(crate) fn tce(&self, container: ContainerFd, iova: Iova) -> Option<TceView> {
        let backend = self.backend_of(container)?;
        let entry = backend.windows().find_map(|(_, window)| {
            window.index_of(iova).and_then(|index| window.table.get(index))
        })?;
        Some(TceView { address: entry.address, access: entry.access })
    }

    /// Whether a PE has lost its dynamic windows for good.
    pub(crate) fn is_partition_spoiled(&self) -> bool {
        self.endpoints.iter().any(|(_, endpoint)| endpoint.partition.has_given_up())
    }

    pub(crate) fn live_tces(&self) -> u64 {
        let backends = self.containers.values().filter_map(|shell| shell.backend.as_ref());
        let windows = backends.flat_map(|backend| backend.windows());
        windows.map(|(_, window)| window.table.live()).sum()
    }

    pub(crate) fn regions(&self, process: MmId) -> Vec<RegionView> {
        let backends = self.containers.values().filter_map(|shell| shell.backend.as_ref());
        let backends: Vec<_> =
            backends.filter(|backend| backend.owner() == Some(process)).collect();
        let view = |(start, region): (u64, &crate::region::Region)| {
            let owners = backends.iter().filter(|backend| backend.registrations().contains(&start));
            RegionView {
                range: MemoryRange {
                    address: HostAddr::new(start),
                    size: Bytes::new(region.end - start),
                },
                page_shift: region.page_shift,
                mapped: region.mapped,
                users: region.users,
                owners: u64::try_from(owners.count()).unwrap_or(u64::MAX),
            }
        };
        self.mms.get(process).regions.iter().map(view).collect()
    }

    pub(crate) fn open_descriptors(&self) -> Vec<(Fd, DescriptorKind)> {
        let open = self.descriptors.iter();
        open.map(|(fd, file)| (fd, file.kind())).collect()
    }

    pub(crate) fn left_behind(&self, process: MmId) -> LeftBehind {
        let mm = self.mms.get(process);
        LeftBehind {
            descriptors: self.open_descriptors(),
            regions: self.regions(process),
            live_tces: self.live_tces(),
            locked: mm.locked.bytes(),
            memory: Bytes::new(mm.memory.mapped_bytes()),
        }
    }
}
