//! A machine with an `edu` device and an engine whose kernel can be spoiled: for scenes with several windows, regions
//! and leases. Memory is counted in *units* of the system's page, which is the page of every window made here but the
//! default one, whose page is 4 KiB.

mod device;

use anyhow::{Context, Result, anyhow, ensure};
use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, HostAddr, Iova, PageShift},
    edit::Edit,
    facts::Slot,
    fault::Operation,
    kernel::{DeviceFd, Kernel as _, LockedMemory, MemoryRange},
    lease::{Holder, LeaseId},
    lingering::Unmapping,
    machine::{Backing, Machine, MemoryRequest},
    region::RegionId,
    window::{Claim, Origin, WindowId},
};

use crate::{
    rig::{NOW, Seat, Shape, make_window, seat},
    spoiled::{Saboteur, SpoiledKernel},
};

/// Registered memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Where.
    pub range: MemoryRange,
    /// Its region.
    pub region: RegionId,
}

impl Memory {
    /// The byte at an offset.
    ///
    /// # Panics
    /// If it lies beyond the last address.
    #[must_use]
    pub fn at(&self, offset: Bytes) -> HostAddr {
        self.range.address.checked_add(offset).expect("an offset inside the memory")
    }

    /// The edit that maps the part of it from `offset`.
    #[must_use]
    pub const fn map(&self, iova: Iova, offset: Bytes, size: Bytes) -> Edit {
        Edit::Map { iova, region: self.region, offset, size, access: Access::ReadWrite }
    }

    /// The edit that maps all of it.
    #[must_use]
    pub const fn map_all(&self, iova: Iova) -> Edit {
        self.map(iova, Bytes::ZERO, self.range.size)
    }
}

/// The kernel calls that change TCEs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TceCalls {
    /// `MAP_DMA`.
    pub map: u64,
    /// `UNMAP_DMA`.
    pub unmap: u64,
}

/// An engine with a group and a device.
pub struct Stage<'a, M: Machine> {
    /// The machine.
    pub machine: &'a mut M,
    /// The engine.
    pub engine: Engine<SpoiledKernel<M::Kernel>>,
    /// Who spoils its kernel calls.
    pub saboteur: Saboteur,
    seat: Seat,
    device: DeviceFd,
    memories: Vec<MemoryRange>,
    before: LockedMemory,
}

impl<'a, M: Machine> Stage<'a, M> {
    /// Attaches the first `edu` and opens it.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn new(machine: &'a mut M) -> Result<Self> {
        let (seat, saboteur) = (seat(machine)?, Saboteur::default());
        let kernel = SpoiledKernel::new(machine.kernel(), saboteur.clone());
        let mut engine = Engine::open(kernel)?;
        let before = engine.locked()?;
        engine.attach(seat.group)?;
        let device = engine.open_device(seat.group, &seat.address)?;
        Ok(Self { machine, engine, saboteur, seat, device, memories: Vec::new(), before })
    }

    /// The size of a number of units.
    #[must_use]
    pub fn units(&self, count: u32) -> Bytes {
        Bytes::new(self.page().bytes().raw() * u64::from(count))
    }

    /// The page of a unit.
    #[must_use]
    pub fn page(&self) -> PageShift {
        self.engine.system().page_shift
    }

    /// Makes the kernel's default window one that can be leased.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn default_window(&mut self) -> Result<WindowId> {
        self.window(Slot::Zero, PageShift::K4, Origin::DefaultWindow)
    }

    /// Makes a window of 64 units in the second slot.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn second_window(&mut self) -> Result<WindowId> {
        self.window(Slot::One, self.page(), Origin::Created)
    }

    /// Makes a window of 64 pages, or the default one.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn window(&mut self, slot: Slot, page: PageShift, origin: Origin) -> Result<WindowId> {
        make_window(&mut self.engine, Shape { slot, page, origin, backing: Backing::Anonymous })
    }

    /// Memory that is not registered, and is given back when all is over.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&mut self, size: Bytes) -> Result<MemoryRange> {
        self.allocate_in(size, Backing::Anonymous, self.page())
    }

    /// The same in pages of this backing, aligned to a page.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate_in(
        &mut self,
        size: Bytes,
        backing: Backing,
        align: PageShift,
    ) -> Result<MemoryRange> {
        let memory = self.machine.allocate(&MemoryRequest { size, backing, align })?;
        self.memories.push(memory);
        Ok(memory)
    }

    /// Registered memory of a number of units.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn memory(&mut self, units: u32) -> Result<Memory> {
        let range = self.allocate(self.units(units))?;
        let region = self.engine.register(range, self.page())?;
        Ok(Memory { range, region })
    }

    /// The start of memory of which only the first `registered` units are registered and as many behind them are not:
    /// a map of more begins well and fails half-way.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn cliff(&mut self, registered: u32) -> Result<HostAddr> {
        let whole = self.allocate(self.units(registered * 2))?;
        let range = MemoryRange { size: self.units(registered), ..whole };
        self.engine.register(range, self.page())?;
        Ok(range.address)
    }

    /// Leases a range of a window.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn lease(
        &mut self,
        window: WindowId,
        size: Bytes,
        unmapping: Unmapping,
    ) -> Result<(LeaseId, Claim)> {
        let holder = Holder::new("driver").context("a holder has a name")?;
        let request = LeaseRequest { unmapping, ..LeaseRequest::new(holder, window, size) };
        let grant = self.engine.grant_lease(request)?;
        let claim = grant.claim();
        Ok((self.engine.lease(grant)?, claim))
    }

    /// Applies edits, and makes sure that it took these calls and no others, as the plan said it would.
    ///
    /// # Errors
    /// Whatever the engine refuses, or if the calls are others.
    pub fn apply(&mut self, lease: LeaseId, edits: &[Edit], expected: TceCalls) -> Result<()> {
        let plans = self.engine.plan(lease, edits, NOW)?;
        let planned: usize = plans.iter().map(|share| share.plan.calls.len()).sum();
        let before = self.calls();
        let applied = self.engine.apply(lease, edits, NOW)?;
        let told = TceCalls { map: applied.map_calls, unmap: applied.unmap_calls };
        let made = self.calls_since(before);
        ensure!(made == expected && told == made, "{made:?} were made and {told:?} told");
        ensure!(u64::try_from(planned)? == made.map + made.unmap, "{planned} calls were planned");
        Ok(())
    }

    /// The calls made so far.
    #[must_use]
    pub fn calls(&self) -> TceCalls {
        let counts = self.engine.calls();
        TceCalls { map: counts.of(Operation::Map), unmap: counts.of(Operation::Unmap) }
    }

    /// The calls made since then.
    #[must_use]
    pub fn calls_since(&self, before: TceCalls) -> TceCalls {
        let now = self.calls();
        TceCalls { map: now.map - before.map, unmap: now.unmap - before.unmap }
    }

    /// What the kernel counts as locked by now.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn locked(&mut self) -> Result<Bytes> {
        Ok(self.engine.locked()?.locked)
    }

    /// What is charged for what the engine has done by now.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn charged(&mut self) -> Result<Bytes> {
        let locked = self.locked()?;
        locked.checked_sub(self.before.locked).context("less is locked than before")
    }

    /// Takes down all but the group and the device, for the next scene, and makes sure that no more than the default
    /// window is left, if the kernel has made it.
    ///
    /// # Errors
    /// If something will not go.
    pub fn clear(&mut self) -> Result<()> {
        self.saboteur.spoil([]);
        let live: Vec<LeaseId> = self.engine.leases().live().map(|(lease, _)| lease).collect();
        live.into_iter().try_for_each(|lease| self.engine.revoke(lease))?;
        self.engine.resume_devices()?;
        let windows: Vec<WindowId> = self.engine.windows().map(|it| it.window().id).collect();
        // A partition's dynamic window goes before the one in slot 0.
        windows.into_iter().rev().try_for_each(|window| self.engine.remove_window(window))?;
        let regions = self.engine.regions().context("a group is attached")?;
        let regions: Vec<RegionId> = regions.iter().map(|(region, _)| region).collect();
        regions.into_iter().try_for_each(|region| self.engine.unregister(region))?;
        let memories = std::mem::take(&mut self.memories);
        memories.into_iter().try_for_each(|memory| self.machine.free(memory))?;
        let (expected, charged) = (self.default_charge()?, self.charged()?);
        ensure!(charged == expected, "{charged} are charged, where {expected} should be");
        Ok(())
    }

    fn default_charge(&self) -> Result<Bytes> {
        let layouts = self.engine.layouts().context("a group is attached")?;
        if !layouts.default_made {
            return Ok(Bytes::ZERO);
        }
        let facts = layouts.facts;
        let shape = facts.geometry().shape(PageShift::K4, facts.default_window, 1);
        Ok(shape.context("the default window has a shape")?.charge)
    }

    /// Takes everything down, and makes sure that nothing is left: no charge, no pin, and the group can be had again.
    ///
    /// # Errors
    /// If something is.
    pub fn close(self) -> Result<()> {
        let Self { machine, engine, seat, memories, before, .. } = self;
        let closed = engine.close()?;
        memories.into_iter().try_for_each(|memory| machine.free(memory))?;
        ensure!(closed.locked.is_zero(), "{} stay locked", closed.locked);
        ensure!(closed.pinned.is_zero(), "{} stay pinned", closed.pinned);
        let mut kernel = machine.kernel();
        let failed = |errno| anyhow!("after all was closed: {errno}");
        let now = kernel.locked_memory().map_err(failed)?;
        ensure!(now == before, "locked memory was {before:?} and is {now:?}");
        let group = kernel.open_group(seat.group).map_err(failed)?;
        kernel.close(group.fd()).map_err(failed)
    }
}
