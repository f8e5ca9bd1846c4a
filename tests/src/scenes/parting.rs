//! The scene of two groups in one container, one of which leaves.

use anyhow::{Context, Result, anyhow, ensure};
use tce_conformance::edu::{Edu, EduError};
use tce_engine::{
    Engine, Error, LeaseRequest,
    access::Access,
    addr::{Bytes, GuestAddress, HostAddr, Iova, PageShift},
    edit::Edit,
    error::GroupRefusal,
    facts::Slot,
    guest::LoanRequest,
    kernel::{DeviceFd, Kernel, LockedMemory, MemoryRange, Platform, VmFd},
    layout::WindowChoice,
    lease::{Holder, LeaseId},
    machine::{Backing, HypercallExit, HypercallRegisters, Machine, MemoryRequest},
    papr::{GuestMemory, Liobn, NotGuestMemory, Placement, ReturnCode},
    region::RegionId,
    window::Window,
};

use crate::{
    rig::{NOW, Seat, seats},
    sample::{EMPTY, LENGTH, LENGTH_BYTES, pattern},
};

const LIOBN: Liobn = Liobn(0x8000_0002);
const MEMORY: Bytes = Bytes::mib(2);
const READ_WRITE: u64 = 3;
/// What the devices' buffers hold.
const STAMP: u8 = 9;

/// A group leaves another one in the container. What a holder and a guest of KVM's had mapped is there again, for the
/// device that stays; the guest goes on, until its lease is revoked; and the group comes back.
///
/// # Errors
/// What did not come out so.
pub fn a_group_leaves_and_nothing_is_lost<M: Machine>(machine: &mut M) -> Result<()> {
    if machine.kernel().system().platform == Platform::Pseries {
        return one_group_only(machine);
    }
    let mut scene = Scene::new(machine)?;
    scene.everything_is_reached(&[0, 1]).context("with both groups")?;
    let other = scene.seats[1].group;
    let refused = scene.engine.detach(other);
    let refusal = Error::Group(GroupRefusal::OthersPresent(other));
    ensure!(refused == Err(refusal), "a group left others without a word: {refused:?}");
    let memory = OneRegion(scene.region);
    let restored = scene.engine.part_from_guest(other, &memory)?;
    ensure!(restored.tces == 4, "{restored:?}");
    scene.engine.resume_devices()?;
    scene.everything_is_reached(&[0]).context("after the other group has left")?;
    scene.put_tce(5, 0)?;
    scene.is_reached(0, scene.guest.1.start, 5, 0).context("by the guest, that goes on")?;
    scene.engine.attach(other)?;
    scene.devices[1] = scene.engine.open_device(other, &scene.seats[1].address)?;
    scene.engine.resume_devices()?;
    scene.everything_is_reached(&[0, 1]).context("after the group came back")?;
    scene.engine.revoke(scene.guest.0)?;
    let exit = scene.hypercall(0, 0)?;
    ensure!(exit == HypercallExit::ToUserSpace, "KVM still answers: {exit:?}");
    scene.engine.resume_devices()?;
    scene.is_not_reached(0, scene.guest.1.start, 5, 0)?;
    scene.close()
}

/// A partition has one group in a container, and says so before any call.
fn one_group_only<M: Machine>(machine: &mut M) -> Result<()> {
    let groups = machine.groups();
    let [first, second, ..] = groups[..] else { return Ok(()) };
    let mut engine = Engine::open(machine.kernel())?;
    engine.attach(first)?;
    let refused = engine.attach(second);
    ensure!(refused == Err(Error::Group(GroupRefusal::OneGroupOnly(second))), "{refused:?}");
    engine.close()?;
    Ok(())
}

struct Scene<'m, M: Machine> {
    machine: &'m mut M,
    engine: Engine<M::Kernel>,
    seats: Vec<Seat>,
    devices: [DeviceFd; 2],
    vm: VmFd,
    memory: MemoryRange,
    region: RegionId,
    page: PageShift,
    holder: (LeaseId, Window),
    guest: (LeaseId, Window),
    before: LockedMemory,
}

impl<'m, M: Machine> Scene<'m, M> {
    fn new(machine: &'m mut M) -> Result<Self> {
        let seats = seats(machine);
        let [first, second, ..] = &seats[..] else { return Err(anyhow!("two groups are needed")) };
        let mut engine = Engine::open(machine.kernel())?;
        let before = engine.locked()?;
        let mut devices = Vec::new();
        for seat in [first, second] {
            engine.attach(seat.group)?;
            devices.push(engine.open_device(seat.group, &seat.address)?);
        }
        let devices = [devices[0], devices[1]];
        let page = engine.system().page_shift;
        let request =
            MemoryRequest { size: MEMORY, backing: Backing::Anonymous, align: PageShift::M2 };
        let memory = machine.allocate(&request)?;
        let region = engine.register(memory, page)?;
        let holder = window(&mut engine, Slot::Zero, page)?;
        let guest = window(&mut engine, Slot::One, page)?;
        let vm = machine.kernel().create_vm().map_err(|errno| anyhow!("KVM: {errno}"))?;
        machine.set_guest_memory(vm, GuestAddress::new(0), memory)?;
        engine.link_guest(vm)?;
        engine.lend(guest.0, &LoanRequest { liobn: LIOBN, page })?;
        let mut scene = Self {
            machine,
            engine,
            seats,
            devices,
            vm,
            memory,
            region,
            page,
            holder,
            guest,
            before,
        };
        scene.map_all()?;
        Ok(scene)
    }

    /// Two pages that do not go together for the holder, and two for the guest.
    fn map_all(&mut self) -> Result<()> {
        let (lease, window) = self.holder;
        let edits = [(0, 0), (9, 1)].map(|(at, page)| Edit::Map {
            iova: window.start.checked_add(self.bytes(at)).expect("inside the window"),
            region: self.region,
            offset: self.bytes(page),
            size: self.bytes(1),
            access: Access::ReadWrite,
        });
        self.engine.apply(lease, &edits, NOW)?;
        self.put_tce(0, 2)?;
        self.put_tce(7, 3)
    }

    fn bytes(&self, pages: u64) -> Bytes {
        Bytes::new(pages * self.page.bytes().raw())
    }

    fn hypercall(&mut self, at: u64, page: u64) -> Result<HypercallExit> {
        let ioba = self.guest.1.start.raw() + self.bytes(at).raw();
        let tce = self.bytes(page).raw() | READ_WRITE;
        let call = HypercallRegisters::put_tce(LIOBN.0.into(), ioba, tce);
        Ok(self.machine.hypercall(self.vm, call)?)
    }

    /// The guest maps a page of its memory, and the kernel answers.
    fn put_tce(&mut self, at: u64, page: u64) -> Result<()> {
        let exit = self.hypercall(at, page)?;
        ensure!(exit.code() == Some(ReturnCode::Success.register()), "H_PUT_TCE: {exit:?}");
        Ok(())
    }

    fn everything_is_reached(&mut self, devices: &[usize]) -> Result<()> {
        for device in devices {
            for (start, at, page) in [
                (self.holder.1.start, 0, 0),
                (self.holder.1.start, 9, 1),
                (self.guest.1.start, 0, 2),
                (self.guest.1.start, 7, 3),
            ] {
                self.is_reached(*device, start, at, page)
                    .with_context(|| format!("device {device}, {start} and {at} pages"))?;
            }
        }
        Ok(())
    }

    fn is_reached(&mut self, device: usize, start: Iova, at: u64, page: u64) -> Result<()> {
        let found = self.write_there(device, start, at, page)?;
        ensure!(found == pattern::<LENGTH>(STAMP), "what the device wrote did not arrive");
        Ok(())
    }

    fn is_not_reached(&mut self, device: usize, start: Iova, at: u64, page: u64) -> Result<()> {
        let found = self.write_there(device, start, at, page)?;
        ensure!(found == EMPTY, "what the device wrote arrived where nothing is mapped");
        Ok(())
    }

    /// Loads the device's buffer through the holder's first page, has it write to an address, and tells what is there.
    fn write_there(
        &mut self,
        device: usize,
        start: Iova,
        at: u64,
        page: u64,
    ) -> Result<[u8; LENGTH]> {
        let source = self.host(0)?;
        self.machine.write_memory(source, &pattern::<LENGTH>(STAMP))?;
        let (from, to) = (self.holder.1.start, start.checked_add(self.bytes(at)));
        let to = to.context("inside the window")?;
        let target = self.host(page)?;
        self.drive(device, |edu| edu.read_memory(from, LENGTH_BYTES))?;
        self.machine.write_memory(target, &EMPTY)?;
        self.drive(device, |edu| edu.write_memory(to, LENGTH_BYTES))?;
        let mut found = [0; LENGTH];
        self.machine.read_memory(target, &mut found)?;
        Ok(found)
    }

    fn drive(
        &mut self,
        device: usize,
        drive: impl FnOnce(&mut Edu<'_, M::Kernel>) -> Result<(), EduError>,
    ) -> Result<()> {
        let mut kernel = self.machine.kernel();
        Ok(drive(&mut Edu::new(&mut kernel, self.devices[device])?)?)
    }

    fn host(&self, page: u64) -> Result<HostAddr> {
        self.memory.address.checked_add(self.bytes(page)).context("inside the memory")
    }

    fn close(self) -> Result<()> {
        let Self { machine, engine, vm, memory, before, .. } = self;
        let closed = engine.close()?;
        machine.kernel().close(vm.fd()).map_err(|errno| anyhow!("closing the guest: {errno}"))?;
        ensure!(closed.locked == Bytes::ZERO, "{closed:?}, before there was {before:?}");
        Ok(machine.free(memory)?)
    }
}

/// A window, and a lease of all of it.
fn window<K: Kernel>(
    engine: &mut Engine<K>,
    slot: Slot,
    page: PageShift,
) -> Result<(LeaseId, Window)> {
    let size = Bytes::mib(64);
    let choice = WindowChoice { slot, page, size, fallback: None, levels: 1, needs: Vec::new() };
    let grant = engine.grant_layout(&[choice])?;
    let made = engine.create_windows(grant)?;
    let window = engine.windows().map(|state| *state.window()).find(|it| made.contains(&it.id));
    let window = window.context("it was just made")?;
    let holder = Holder::new("scene").context("a name")?;
    let grant = engine.grant_lease(LeaseRequest::new(holder, window.id, size))?;
    Ok((engine.lease(grant)?, window))
}

/// Guest memory that is one region, from address 0 on.
struct OneRegion(RegionId);

impl GuestMemory for OneRegion {
    fn locate(&self, at: GuestAddress, wanted: Bytes) -> Result<Placement, NotGuestMemory> {
        let left = MEMORY.checked_sub(Bytes::new(at.raw())).ok_or(NotGuestMemory(at))?;
        let (offset, size) = (Bytes::new(at.raw()), left.min(wanted));
        Ok(Placement { region: self.0, offset, size })
    }

    fn read(&self, at: GuestAddress, _: &mut [u8]) -> Result<(), NotGuestMemory> {
        Err(NotGuestMemory(at))
    }

    fn guest_address(&self, _: RegionId, offset: Bytes) -> Option<GuestAddress> {
        Some(GuestAddress::new(offset.raw()))
    }
}
