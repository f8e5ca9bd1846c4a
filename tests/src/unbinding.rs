//! The kernel takes a device back while its group is in use: what must hold on a real kernel.

use std::{
    fs::OpenOptions,
    io::Write,
    path::PathBuf,
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::{Bytes, PageShift},
    edit::Edit,
    facts::Slot,
    kernel::{GroupNumber, MemoryRange},
    layout::WindowChoice,
    lease::{EndCause, Holder, LeaseId, News},
    machine::{Backing, Machine, MemoryRequest},
    region::RegionId,
    window::Claim,
};
use tce_vfio::VfioMachine;

use crate::rig::{NOW, Seat, seats_in_one_container};

const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";
const PAGES: u64 = 64;
/// Batches that are made at most until the kernel has asked for its device.
const BATCHES_MAX: u32 = 4000;
const PAUSE: Duration = Duration::from_millis(2);

/// A driver is unbound while batches are applied: the kernel asks and waits, the holders are told, the group is let go,
/// and the unbinding ends. Where another group is in the container, its mappings are there again. The driver is bound
/// anew, and all works as before.
///
/// # Errors
/// What did not come out so.
pub fn a_driver_is_unbound_under_load(machine: &mut VfioMachine) -> Result<()> {
    let seats = seats_in_one_container(machine);
    let leaving = seats.last().context("there is no edu device that VFIO can have")?.clone();
    let mut load = Load::new(machine, &seats)?;
    let unbinding = unbind(leaving.address.clone());
    load.work_until_wanted(leaving.group)?;
    load.engine.surrender(leaving.group)?;
    let unbound = unbinding.join().ok().context("the thread that unbinds")?;
    let bound = unbound.and_then(|()| write("bind", &leaving.address));
    load.check(&leaving, seats.len())?;
    load.close(machine)?;
    bound?;
    let mut again = Load::new(machine, &seats)?;
    again.work()?;
    again.close(machine)
}

fn write(what: &str, address: &str) -> Result<()> {
    let path = PathBuf::from(DRIVER).join(what);
    let mut file = OpenOptions::new().write(true).open(&path)?;
    file.write_all(address.as_bytes()).with_context(|| format!("{what} of {address}"))
}

/// Returns when the device is nobody's.
fn unbind(address: String) -> JoinHandle<Result<()>> {
    thread::spawn(move || write("unbind", &address))
}

/// A container with every `edu`, and a lease that is used all the time.
struct Load {
    engine: Engine<<VfioMachine as Machine>::Kernel>,
    memory: MemoryRange,
    region: RegionId,
    lease: LeaseId,
    claim: Claim,
    page: PageShift,
    turn: u64,
}

impl Load {
    fn new(machine: &mut VfioMachine, seats: &[Seat]) -> Result<Self> {
        let mut engine = Engine::open(machine.kernel())?;
        for seat in seats {
            engine.attach(seat.group)?;
            engine.open_device(seat.group, &seat.address)?;
        }
        let page = engine.system().page_shift;
        let size = Bytes::new(PAGES * page.bytes().raw());
        let request = MemoryRequest { size, backing: Backing::Anonymous, align: page };
        let memory = machine.allocate(&request)?;
        let region = engine.register(memory, page)?;
        let choice = WindowChoice {
            slot: Slot::One,
            page,
            size: Bytes::mib(64),
            fallback: None,
            levels: 1,
            needs: Vec::new(),
        };
        let grant = engine.grant_layout(&[choice])?;
        let window = *engine.create_windows(grant)?.first().context("a window was granted")?;
        let holder = Holder::new("load").context("a name")?;
        let grant = engine.grant_lease(LeaseRequest::new(holder, window, size))?;
        let claim = grant.claim();
        let lease = engine.lease(grant)?;
        Ok(Self { engine, memory, region, lease, claim, page, turn: 0 })
    }

    /// Maps a page here and there, and unmaps others.
    fn work(&mut self) -> Result<()> {
        let bytes = |pages: u64| Bytes::new(pages * self.page.bytes().raw());
        let edits = (0..PAGES).step_by(3).map(|at| {
            let start = self.claim.start.checked_add(bytes(at)).expect("inside the lease");
            match (at + self.turn).is_multiple_of(2) {
                true => Edit::Unmap(Claim { start, size: bytes(1) }),
                false => Edit::Map {
                    iova: start,
                    region: self.region,
                    offset: bytes((at + self.turn) % PAGES),
                    size: bytes(1),
                    access: Access::ReadWrite,
                },
            }
        });
        let edits: Vec<Edit> = edits.collect();
        self.turn += 1;
        self.engine.apply(self.lease, &edits, NOW)?;
        Ok(())
    }

    fn work_until_wanted(&mut self, group: GroupNumber) -> Result<()> {
        for _ in 0..BATCHES_MAX {
            self.work()?;
            if self.engine.take_requests()?.contains(&group) {
                // There is no hurry: the kernel waits.
                self.work()?;
                let told = self.engine.take_events();
                let news = News::GroupWanted(group);
                ensure!(
                    told.iter().any(|event| event.news == news),
                    "the holder was told {told:?}"
                );
                return Ok(());
            }
            sleep(PAUSE);
        }
        anyhow::bail!("the kernel did not ask for its device in {BATCHES_MAX} batches")
    }

    /// What the group's leaving came to for the lease.
    fn check(&mut self, left: &Seat, groups: usize) -> Result<()> {
        let told = self.engine.take_events();
        if groups > 1 {
            let news = News::GroupLeft(left.group);
            ensure!(told.iter().any(|event| event.news == news), "the holder was told {told:?}");
            self.engine.resume_devices()?;
            return self.work();
        }
        let end = Some(EndCause::LastGroupLeft(left.group));
        ensure!(told.iter().any(|event| event.end() == end), "the holder was told {told:?}");
        ensure!(self.engine.facts().is_none(), "there is a backend without a group");
        Ok(())
    }

    fn close(self, machine: &mut VfioMachine) -> Result<()> {
        let closed = self.engine.close()?;
        ensure!(closed.locked == Bytes::ZERO && closed.leaked == Bytes::ZERO, "{closed:?}");
        Ok(machine.free(self.memory)?)
    }
}
