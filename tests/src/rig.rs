//! A machine with an `edu` device, set up for a scene and taken down after it.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, Iova, PageShift},
    edit::Edit,
    facts::Slot,
    kernel::{DeviceFd, GroupNumber, Kernel, LockedMemory, MemoryRange, Platform},
    layout::{Candidate, CandidateQuery, Need, WindowChoice},
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, GroupDevice, Machine, MemoryRequest},
    region::RegionId,
    window::{Claim, Origin, WindowId},
};

use tce_conformance::edu::{EDU_ID, Edu, EduError};

/// The time of all scenes: nothing in them depends on it.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Which window a scene is about.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its place.
    pub slot: Slot,
    /// Its page.
    pub page: PageShift,
    /// Whether it is made, or the kernel's own.
    pub origin: Origin,
    /// What backs the memory.
    pub backing: Backing,
}

/// An `edu` device that VFIO can have, and its group.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its group.
    pub group: GroupNumber,
    /// Its address.
    pub address: String,
}

/// Every `edu` of the machine that is free for VFIO.
pub fn seats<M: Machine>(machine: &M) -> Vec<Seat> {
    let devices = machine.groups().into_iter().map(|group| (group, machine.devices_of(group)));
    devices
        .filter(|(_, devices)| devices.iter().all(|device| !device.blocks_group))
        .flat_map(|(group, devices)| devices.into_iter().map(move |device| (group, device)))
        .filter(|(_, device)| device.id == EDU_ID)
        .map(|(group, GroupDevice { address, .. })| Seat { group, address })
        .collect()
}

/// Those of them that can be in one container at once: in a partition it is one group's.
pub fn seats_in_one_container<M: Machine>(machine: &M) -> Vec<Seat> {
    let mut seats = seats(machine);
    if machine.kernel().system().platform == Platform::Pseries {
        seats.truncate(1);
    }
    seats
}

/// The first `edu` of the machine.
///
/// # Errors
/// If there is none.
pub fn seat<M: Machine>(machine: &M) -> Result<Seat> {
    seats(machine).into_iter().next().context("there is no edu device that VFIO can have")
}

/// An engine with a group, a device, a window and a region.
pub struct Rig<'a, M: Machine> {
    /// The machine.
    pub machine: &'a mut M,
    /// The engine.
    pub engine: Engine<M::Kernel>,
    /// The device's seat.
    pub seat: Seat,
    /// The open device.
    pub device: DeviceFd,
    /// The window.
    pub window: WindowId,
    /// The region's memory.
    pub memory: MemoryRange,
    /// The region.
    pub region: RegionId,
    /// The TCE page.
    pub page: PageShift,
    before: LockedMemory,
}

impl<'a, M: Machine> Rig<'a, M> {
    /// Attaches the first `edu` and makes a window of this shape with one region of four TCE pages.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn new(machine: &'a mut M, shape: Shape) -> Result<Self> {
        let seat = seat(machine)?;
        let mut engine = Engine::open(machine.kernel())?;
        let before = engine.locked()?;
        engine.attach(seat.group)?;
        let device = engine.open_device(seat.group, &seat.address)?;
        let window = make_window(&mut engine, shape)?;
        let backing = backing_page(shape.backing, engine.system().page_shift);
        // Four TCE pages, and no less than four pages of the backing.
        let size = Bytes::new(backing.max(shape.page).bytes().raw() * 4);
        let request = MemoryRequest { size, backing: shape.backing, align: backing };
        let memory = machine.allocate(&request)?;
        let region = engine.register(memory, backing)?;
        let page = shape.page;
        Ok(Self { machine, engine, seat, device, window, memory, region, page, before })
    }

    /// Leases the whole region's size to somebody.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn lease(&mut self, holder: &str) -> Result<LeaseId> {
        let holder = Holder::new(holder).context("a holder has a name")?;
        let request = LeaseRequest::new(holder, self.window, self.memory.size);
        let grant = self.engine.grant_lease(request)?;
        Ok(self.engine.lease(grant)?)
    }

    /// Where a lease starts.
    ///
    /// # Errors
    /// If it is not known.
    pub fn start_of(&self, lease: LeaseId) -> Result<Iova> {
        Ok(self.engine.leases().get(lease)?.home().claim.start)
    }

    /// The edit that maps the whole region at the start of a lease.
    ///
    /// # Errors
    /// If the lease is not known.
    pub fn map_all(&self, lease: LeaseId) -> Result<Edit> {
        Ok(Edit::Map {
            iova: self.start_of(lease)?,
            region: self.region,
            offset: Bytes::ZERO,
            size: self.memory.size,
            access: Access::ReadWrite,
        })
    }

    /// Maps the whole region at the start of a lease.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn map(&mut self, lease: LeaseId) -> Result<()> {
        let edit = self.map_all(lease)?;
        self.engine.apply(lease, &[edit], NOW)?;
        Ok(())
    }

    /// Unmaps the whole lease.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn unmap(&mut self, lease: LeaseId) -> Result<()> {
        let claim: Claim = self.engine.leases().get(lease)?.home().claim;
        self.engine.apply(lease, &[Edit::Unmap(claim)], NOW)?;
        Ok(())
    }

    /// Drives the device.
    ///
    /// # Errors
    /// Whatever the closure says.
    pub fn with_edu<T>(
        &mut self,
        drive: impl FnOnce(&mut Edu<'_, M::Kernel>) -> Result<T, EduError>,
    ) -> Result<T> {
        let mut kernel = self.machine.kernel();
        Ok(drive(&mut Edu::new(&mut kernel, self.device)?)?)
    }

    /// Takes everything down, and makes sure that nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub fn close(self) -> Result<()> {
        let closed = self.engine.close()?;
        self.machine.free(self.memory)?;
        ensure!(closed.locked.is_zero(), "{} stay locked", closed.locked);
        ensure!(closed.pinned.is_zero(), "{} stay pinned", closed.pinned);
        let now = self.machine.kernel().locked_memory();
        let now = now.map_err(|errno| anyhow::anyhow!("reading the locked memory: {errno}"))?;
        ensure!(now == self.before, "locked memory was {:?} and is {now:?}", self.before);
        Ok(())
    }
}

/// The page that really backs memory.
const fn backing_page(backing: Backing, system_page: PageShift) -> PageShift {
    match backing {
        Backing::Hugetlb(page) => page,
        Backing::Anonymous | Backing::Memfd => system_page,
    }
}

/// The smallest window of a shape that is at least 64 pages large.
///
/// # Errors
/// If there is no such candidate, or the engine fails.
pub fn make_window<K: Kernel>(engine: &mut Engine<K>, shape: Shape) -> Result<WindowId> {
    let size_min = Bytes::new(shape.page.bytes().raw() * 64);
    let query = CandidateQuery {
        size_min,
        size_max: Bytes::new(size_min.raw() * 1024),
        device_mask: Iova::new(u64::MAX),
    };
    let layouts = engine.layouts().context("a container without groups")?;
    let is_wanted = |it: &Candidate| {
        it.slot == shape.slot && it.page == shape.page && it.origin == shape.origin
    };
    let found = layouts.candidates(&query).into_iter().find(is_wanted);
    let candidate = found.with_context(|| format!("no candidate is like {shape:?}"))?;
    let needs = vec![Need { size: shape.page.bytes(), backing: shape.page, at: None }];
    let choice = WindowChoice {
        slot: candidate.slot,
        page: candidate.page,
        size: candidate.size,
        fallback: None,
        levels: candidate.table.levels,
        needs,
    };
    let grant = engine.grant_layout(&[choice])?;
    let windows = engine.create_windows(grant)?;
    windows.first().copied().context("a layout of one window makes one")
}
