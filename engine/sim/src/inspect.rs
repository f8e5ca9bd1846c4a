//! What a test may see of the machine that the kernel would not show.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    kernel::{ContainerFd, DescriptorKind, Fd, MemoryRange},
};

use crate::{window::Window, window::entry::TceAccess, world::World};

/// A call that would have broken a real kernel. No engine call may ever cause one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCorrupted {
    /// What happened, and what it does to the kernel.
    pub what: String,
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
        let Ok(id) = self.container_of(container.fd()) else { return Vec::new() };
        let backend = self.containers.get(&id).and_then(|container| container.backend.as_ref());
        let windows = backend.into_iter().flat_map(|backend| backend.windows());
        windows.map(|(slot, window)| self.window_view(slot, window)).collect()
    }

    fn window_view(&self, slot: usize, window: &Window) -> WindowView {
        let page_bytes = window.page_shift.bytes().raw();
        let system_bytes = self.profile.page_shift.bytes().raw();
        WindowView {
            slot,
            start: window.start,
            size: Bytes::new(window.table.entries().saturating_mul(page_bytes)),
            page_shift: window.page_shift,
            levels: window.levels,
            live_tces: window.table.live(),
            charge: Bytes::new(window.charge_pages.saturating_mul(system_bytes)),
        }
    }

    pub(crate) fn tce(&self, container: ContainerFd, iova: Iova) -> Option<TceView> {
        let id = self.container_of(container.fd()).ok()?;
        let backend = self.containers.get(&id)?.backend.as_ref()?;
        let entry = backend.windows().find_map(|(_, window)| {
            window.index_of(iova).and_then(|index| window.table.get(index))
        })?;
        Some(TceView { address: entry.address, access: entry.access })
    }

    pub(crate) fn live_tces(&self) -> u64 {
        let backends = self.containers.values().filter_map(|shell| shell.backend.as_ref());
        let windows = backends.flat_map(|backend| backend.windows());
        windows.map(|(_, window)| window.table.live()).sum()
    }

    pub(crate) fn regions(&self) -> Vec<RegionView> {
        let backends: Vec<_> =
            self.containers.values().filter_map(|shell| shell.backend.as_ref()).collect();
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
        self.process.mm.regions.iter().map(view).collect()
    }

    pub(crate) fn descriptors(&self) -> Vec<(Fd, DescriptorKind)> {
        let open = self.process.descriptors.iter();
        open.map(|(fd, file)| (fd, file.kind())).collect()
    }

    pub(crate) fn left_behind(&self) -> LeftBehind {
        LeftBehind {
            descriptors: self.descriptors(),
            regions: self.regions(),
            live_tces: self.live_tces(),
            locked: self.process.mm.locked.bytes(),
            memory: Bytes::new(self.process.mm.memory.mapped_bytes()),
        }
    }
}
