//! The engine: one owner of one container.
//!
//! Its parts, by what they do: `groups` (authority comes and goes), `devices` (watched, made quiet, reset), `freeze` (PEs that EEH froze), `memory` (regions), `windows` (layouts become
//! windows), `leases` (rights to ranges of windows), `batch` (edits become calls), `ledger` (what is mapped, noted).

mod backend;
mod batch;
mod deferred;
mod devices;
mod freeze;
mod groups;
mod growth;
mod guests;
mod leases;
mod ledger;
mod memory;
mod platform;
mod windows;

use crate::{
    addr::Bytes,
    calls::Calls,
    error::{Error, GroupRefusal},
    facts::{ContainerFacts, PlatformLimits},
    fault::{CallCounts, Fault},
    kernel::{ContainerFd, DescriptorKind, Fd, GuestTableFd, Kernel, LockedMemory, SystemFacts},
    layout::Layouts,
    lease::{Events, LeaseEvent, LeaseId, Leases},
    region::{RegionId, Regions},
    window::{Generation, WindowId},
};

use self::{backend::Backend, platform::Platform};
pub use self::{
    backend::WindowState, batch::Applied, batch::WindowPlan, groups::Restored, leases::LeaseGrant,
    leases::LeaseRequest, windows::LayoutGrant,
};

/// What a charge was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeSubject {
    /// A registered region.
    Region(RegionId),
    /// A window's table.
    Window(WindowId),
    /// The table of a guest that has a lease.
    GuestTable(LeaseId),
    /// The default window, made because something else needed it.
    DefaultWindow,
    /// A window that the kernel did not make but charged all the same (`tce_iommu_create_table`).
    Leaked,
    /// A region that was unregistered and is charged all the same, of which the kernel goes on counting TCEs
    /// (`tce_iommu_unregister_pages`). Memory that another container of the process has registered as well, and
    /// charges of other threads during the call, cannot be told apart from that.
    LeakedMemory(RegionId),
}

impl ChargeSubject {
    /// Whether nothing that is there is charged for.
    #[must_use]
    pub const fn is_leak(self) -> bool {
        match self {
            Self::Leaked | Self::LeakedMemory(_) => true,
            Self::Region(_) | Self::Window(_) | Self::GuestTable(_) | Self::DefaultWindow => false,
        }
    }
}

/// The most charges that are remembered.
pub const CHARGES_MAX: usize = 8192;

/// What one call charged against the locked-memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// For what.
    pub subject: ChargeSubject,
    /// What the formulas said.
    pub predicted: Bytes,
    /// What the kernel did.
    pub charged: Bytes,
}

/// What there is to say of an engine that was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Locked memory beyond what the process had when the engine was opened: zero, unless the kernel leaked.
    pub locked: Bytes,
    /// Pinned memory beyond what it had then.
    pub pinned: Bytes,
    /// What [`Engine::leaked`] said at the end.
    pub leaked: Bytes,
    /// The kernel calls of the engine's whole life.
    pub calls: CallCounts,
    /// What happened to leases and [`Engine::take_events`] had not told yet.
    pub events: Vec<LeaseEvent>,
}

enum State {
    /// A container without groups: a shell, whose backend does not exist.
    Bare,
    Attached(Box<Backend>),
}

impl State {
    fn backend_mut(&mut self) -> Option<&mut Backend> {
        match self {
            Self::Attached(backend) => Some(backend),
            Self::Bare => None,
        }
    }
}

/// The one owner of one container.
///
/// Calls on a container must not overlap, and the kernel binds it to the process that first used it; hence `&mut self`,
/// and one engine per container. Dropping an engine closes its descriptors, upon which the kernel takes everything
/// down; [`Engine::close`] does so in order and says what is left.
pub struct Engine<K: Kernel> {
    calls: Calls<K>,
    container: Option<ContainerFd>,
    state: State,
    /// The generation of the newest window.
    generation: Generation,
    platform: Platform,
    regions: Regions,
    leases: Leases,
    events: Events,
    charges: Vec<Charge>,
    baseline: LockedMemory,
}

impl<K: Kernel> Engine<K> {
    /// Opens a fresh container.
    ///
    /// # Errors
    /// [`Error::Fault`].
    pub fn open(kernel: K) -> Result<Self, Error> {
        let mut calls = Calls::new(kernel);
        let baseline = calls.locked()?;
        let container = calls.open_container()?;
        Ok(Self::with(calls, container, baseline))
    }

    /// Takes over a container that somebody else opened, such as a launcher that hands over descriptors. The kernel
    /// view must know the descriptor.
    ///
    /// # Errors
    /// [`GroupRefusal::NotAContainer`] for a descriptor of another kind, [`GroupRefusal::ContainerInUse`] for a
    /// container that has a backend already.
    pub fn adopt(kernel: K, fd: Fd) -> Result<Self, Error> {
        let mut calls = Calls::new(kernel);
        let found = calls.kind(fd);
        if found != DescriptorKind::Container {
            return Err(GroupRefusal::NotAContainer { fd: fd.raw(), found }.into());
        }
        let container = ContainerFd::new(fd);
        if calls.info(container).is_ok() {
            return Err(GroupRefusal::ContainerInUse { fd: fd.raw() }.into());
        }
        let baseline = calls.locked()?;
        Ok(Self::with(calls, container, baseline))
    }

    fn with(calls: Calls<K>, container: ContainerFd, baseline: LockedMemory) -> Self {
        Self {
            calls,
            container: Some(container),
            state: State::Bare,
            generation: Generation::default(),
            platform: Platform::default(),
            regions: Regions::default(),
            leases: Leases::default(),
            events: Events::default(),
            charges: Vec::new(),
            baseline,
        }
    }

    /// The same within limits of the platform that the kernel does not tell. They count when the first group is
    /// attached, and a container's facts show them from then on.
    #[must_use]
    pub fn with_limits(mut self, limits: PlatformLimits) -> Self {
        self.platform.limits = limits;
        self
    }

    /// The container's descriptor, for those who may use it beside the engine: to look at, never to map or to close.
    #[must_use]
    pub fn descriptor(&self) -> Fd {
        self.container().fd()
    }

    /// What is true of the system.
    #[must_use]
    pub fn system(&self) -> SystemFacts {
        self.calls.system()
    }

    /// The container's facts; `None` while it has no group.
    #[must_use]
    pub fn facts(&self) -> Option<&ContainerFacts> {
        self.backend().ok().map(|backend| &backend.facts)
    }

    /// The arithmetic of layouts, as the slots are now; `None` while the container has no group.
    #[must_use]
    pub fn layouts(&self) -> Option<Layouts<'_>> {
        self.backend().ok().map(Backend::layouts)
    }

    /// The windows there are, by slot.
    pub fn windows(&self) -> impl Iterator<Item = &WindowState> {
        self.backend().into_iter().flat_map(Backend::windows)
    }

    /// The regions there are; `None` while the container has no group.
    #[must_use]
    pub fn regions(&self) -> Option<&Regions> {
        self.backend().ok().map(|_| &self.regions)
    }

    /// The leases, those that ended included as long as they are remembered.
    #[must_use]
    pub const fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The kernel calls made so far.
    #[must_use]
    pub const fn calls(&self) -> &CallCounts {
        self.calls.counts()
    }

    /// What was charged, call by call: the newest of it, [`CHARGES_MAX`] at most. A call whose charge could not be read
    /// is not among them.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// What the kernel counts against the process now.
    ///
    /// # Errors
    /// [`Fault`] if that cannot be read.
    pub fn locked(&mut self) -> Result<LockedMemory, Fault> {
        self.calls.locked()
    }

    /// What happened to leases since this was last called.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<LeaseEvent> {
        self.events.take()
    }

    /// How many news nobody took in time, so that they made room for newer ones. Ends are never among them.
    #[must_use]
    pub const fn missed_events(&self) -> u64 {
        self.events.missed()
    }

    /// Takes everything down, in order, and closes the container.
    ///
    /// # Errors
    /// The first fault. The engine is dropped then, and the kernel takes down what is left as the descriptors close.
    pub fn close(mut self) -> Result<Closed, Error> {
        self.detach_all()?;
        if let Some(container) = self.container.take() {
            self.calls.close(container.fd(), "container")?;
        }
        let now = self.calls.locked()?;
        Ok(Closed {
            locked: now.locked.checked_sub(self.baseline.locked).unwrap_or_default(),
            pinned: now.pinned.checked_sub(self.baseline.pinned).unwrap_or_default(),
            leaked: self.leaked(),
            calls: self.calls.counts().clone(),
            events: self.take_events(),
        })
    }

    fn note_charge(&mut self, subject: ChargeSubject, predicted: Bytes, charged: Option<Bytes>) {
        let Some(charged) = charged else { return };
        if subject.is_leak() {
            if charged.is_zero() {
                return;
            }
            self.platform.note_leak(charged);
        }
        if self.charges.len() == CHARGES_MAX {
            self.charges.drain(..CHARGES_MAX / 2);
        }
        self.charges.push(Charge { subject, predicted, charged });
    }

    fn backend(&self) -> Result<&Backend, Error> {
        match &self.state {
            State::Attached(backend) => Ok(backend),
            State::Bare => Err(Error::NoBackend),
        }
    }

    fn backend_mut(&mut self) -> Result<&mut Backend, Error> {
        self.state.backend_mut().ok_or(Error::NoBackend)
    }

    fn container(&self) -> ContainerFd {
        self.container.expect("open until it is closed, which consumes the engine")
    }
}

impl<K: Kernel> Drop for Engine<K> {
    /// Closes what is open. The kernel tears down the rest, so nothing can be done about a failure.
    fn drop(&mut self) {
        if let State::Attached(backend) = &self.state {
            // The link goes first: no guest sets a TCE any more.
            for fd in backend.descriptors() {
                let _ = self.calls.close(fd, "descriptor");
            }
        }
        let tables: Vec<Fd> = self.leases.guest_tables().map(GuestTableFd::fd).collect();
        for fd in tables {
            let _ = self.calls.close(fd, "guest's table");
        }
        if let Some(container) = self.container {
            let _ = self.calls.close(container.fd(), "container");
        }
    }
}
