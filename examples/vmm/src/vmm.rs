//! The life of a virtual machine with a device.

use std::cell::RefCell;

use anyhow::{Context, Result, bail, ensure};
use tce_conformance::edu::Edu;
use tce_engine::{
    Engine, LeaseRequest,
    addr::{Bytes, GuestAddress, Iova, PageShift},
    guest::LoanRequest,
    kernel::{DeviceFd, GroupNumber, Kernel, MemoryRange, VmFd},
    lease::{Holder, LeaseId, Timestamp},
    machine::{Backing, HypercallExit, HypercallRegisters, Machine, MemoryRequest},
    papr::{BusRequest, Buses, Hypercall, Liobn, ReturnCode},
    window::Window,
};
use tce_host::decide::Policies;

use crate::{decisions, memory::Memory};

/// What the guest calls its table.
const LIOBN: Liobn = Liobn(0x8000_0001);
const MEMORY: Bytes = Bytes::mib(4);
/// Where in its memory the guest's driver has its buffers.
const SOURCE: u64 = 0x10_0000;
const TARGET: u64 = 0x20_0000;
const LENGTH: usize = 1024;
/// What no device here writes a thousand times.
const MARK: u8 = 0xee;
/// TCEs of these mean reading and writing.
const READ_WRITE: u64 = 3;

/// Who answers the guest's hypercalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel: the lease is lent to KVM's guest.
    Kvm,
    /// This program, through the engine's front-end for hypercalls.
    FrontEnd,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The hypercalls that came to this program.
    pub exits: u64,
    /// Locked memory beyond what there was before, when all was closed.
    pub left: Bytes,
}

/// The device, by its address, and its group.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The group.
    pub group: GroupNumber,
    /// The PCI address.
    pub address: String,
}

/// Gives a guest a device: its driver maps two buffers, the device copies from one to the other, and after the lease is
/// revoked it reaches neither.
///
/// # Errors
/// Whatever does not go as it should.
pub fn run<M: Machine>(
    machine: &RefCell<M>,
    device: &Passed,
    policies: &Policies,
    way: Way,
    mut say: impl FnMut(&str, String),
) -> Result<Seen> {
    let mut kernel = machine.borrow().kernel();
    let mut engine = Engine::open(machine.borrow().kernel())?;
    engine.attach(device.group)?;
    let fd = engine.open_device(device.group, &device.address)?;
    say("device", format!("{} of group {}", device.address, device.group));

    let request = MemoryRequest { size: MEMORY, backing: Backing::Anonymous, align: PageShift::M2 };
    let range = machine.borrow_mut().allocate(&request)?;
    let backing = engine.system().page_shift;
    let region = engine.register(range, backing)?;
    say("memory", format!("{MEMORY}, registered"));

    let (grant, policy) =
        decisions::window(&mut engine, policies, &[device.group], MEMORY, backing, now())?;
    let window = engine.create_windows(grant)?.first().copied().context("a window was granted")?;
    let window = engine.windows().map(|state| *state.window()).find(|it| it.id == window);
    let window = window.context("it was just made")?;
    let Window { start, size, page, .. } = window;
    say("window", format!("{size} of {page} pages at {start}, decided by {policy}"));

    let holder = Holder::new("guest").context("a name")?;
    let lease = engine.grant_lease(LeaseRequest::new(holder, window.id, size))?;
    let lease = engine.lease(lease)?;
    let memory = Memory { machine, range, region };
    let mut vmm = Vmm {
        machine,
        engine,
        memory,
        window,
        lease,
        kvm: None,
        buses: Buses::default(),
        exits: 0,
    };
    vmm.open_bus(&mut kernel, way)?;
    say(
        "bus",
        format!(
            "{LIOBN}, its TCEs set by {}",
            match way {
                Way::Kvm => "the guest itself, through KVM",
                Way::FrontEnd => "this program, at the guest's hypercalls",
            }
        ),
    );

    vmm.drive(&mut kernel, fd)?;
    say("guest", format!("its driver mapped two buffers, and the device copied {LENGTH} bytes"));

    vmm.engine.revoke(lease)?;
    vmm.lost(&mut kernel, fd)?;
    say("revoked", "the same hypercall is refused, and the device reaches nothing".to_owned());
    let seen = vmm.close(&mut kernel)?;
    machine.borrow_mut().free(range)?;
    say(
        "closed",
        format!("{} of locked memory left; hypercalls that came here: {}", seen.left, seen.exits),
    );
    Ok(seen)
}

struct Vmm<'m, M: Machine> {
    machine: &'m RefCell<M>,
    engine: Engine<M::Kernel>,
    memory: Memory<'m, M>,
    window: Window,
    lease: LeaseId,
    kvm: Option<VmFd>,
    buses: Buses,
    exits: u64,
}

impl<M: Machine> Vmm<'_, M> {
    /// The guest's view of its lease.
    fn open_bus(&mut self, kernel: &mut M::Kernel, way: Way) -> Result<()> {
        let page = self.window.page;
        if way == Way::Kvm {
            let vm = kernel.create_vm().map_err(|errno| anyhow::anyhow!("KVM: {errno}"))?;
            self.kvm = Some(vm);
            let at = GuestAddress::new(0);
            self.machine.borrow_mut().set_guest_memory(vm, at, self.memory.range)?;
            self.engine.link_guest(vm)?;
            self.engine.lend(self.lease, &LoanRequest { liobn: LIOBN, page })?;
            return Ok(());
        }
        let claim = self.engine.leases().get(self.lease)?.home().claim;
        let bus = BusRequest { liobn: LIOBN, lease: self.lease, claim, page };
        Ok(self.buses.add(&self.engine, bus, now())?)
    }

    /// The guest sets a TCE. What the kernel does not answer comes here.
    fn put_tce(&mut self, at: u64, tce: u64) -> Result<ReturnCode> {
        let ioba = self.iova(at)?.raw();
        let call = HypercallRegisters::put_tce(LIOBN.0.into(), ioba, tce);
        if let Some(vm) = self.kvm {
            let exit = self.machine.borrow_mut().hypercall(vm, call)?;
            if let HypercallExit::Answered { code, .. } = exit {
                ensure!(code == ReturnCode::Success.register(), "KVM answered {code:#x}");
                return Ok(ReturnCode::Success);
            }
        }
        self.exits += 1;
        let call = Hypercall::decode(call.token, call.arguments);
        let call = call.context("a hypercall for TCEs")?;
        match self.buses.serve(&mut self.engine, &self.memory, &call, now()) {
            Ok(_) => Ok(ReturnCode::Success),
            Err(failure) => Ok(failure.code()),
        }
    }

    /// The guest's driver: two buffers, one copy.
    fn drive(&mut self, kernel: &mut M::Kernel, device: DeviceFd) -> Result<()> {
        let source = self.host(SOURCE)?;
        let text: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
        self.machine.borrow_mut().write_memory(source.address, &text)?;
        for (at, buffer) in [(0, SOURCE), (1, TARGET)] {
            let code = self.put_tce(at, buffer | READ_WRITE)?;
            ensure!(code == ReturnCode::Success, "H_PUT_TCE: {code}");
        }
        let (from, to) = (self.iova(0)?, self.iova(1)?);
        let length = u64::try_from(LENGTH)?;
        let mut edu = Edu::new(kernel, device)?;
        edu.read_memory(from, length)?;
        edu.write_memory(to, length)?;
        ensure!(self.target()? == text, "the device did not copy what was mapped");
        Ok(())
    }

    /// After the lease is gone: a refusal for the guest, nothing for the device.
    fn lost(&mut self, kernel: &mut M::Kernel, device: DeviceFd) -> Result<()> {
        let code = self.put_tce(1, TARGET | READ_WRITE)?;
        ensure!(code != ReturnCode::Success, "the guest still sets TCEs");
        let target = self.host(TARGET)?;
        self.machine.borrow_mut().write_memory(target.address, &[MARK; LENGTH])?;
        self.engine.resume_devices()?;
        let to = self.iova(1)?;
        Edu::new(kernel, device)?.write_memory(to, u64::try_from(LENGTH)?)?;
        ensure!(self.target()? == [MARK; LENGTH], "the device still reaches the guest's memory");
        Ok(())
    }

    fn close(self, kernel: &mut M::Kernel) -> Result<Seen> {
        let left = self.engine.close()?.locked;
        if let Some(vm) = self.kvm
            && let Err(errno) = kernel.close(vm.fd())
        {
            bail!("closing the virtual machine: {errno}");
        }
        Ok(Seen { exits: self.exits, left })
    }

    fn target(&mut self) -> Result<Vec<u8>> {
        let mut found = vec![0; LENGTH];
        let target = self.host(TARGET)?;
        self.machine.borrow_mut().read_memory(target.address, &mut found)?;
        Ok(found)
    }

    /// The bus address of one of the window's pages.
    fn iova(&self, page: u64) -> Result<Iova> {
        let offset = Bytes::new(page * self.window.page.bytes().raw());
        self.window.start.checked_add(offset).context("inside the window")
    }

    /// Where guest memory lies in this process.
    fn host(&self, at: u64) -> Result<MemoryRange> {
        let address = self.memory.range.address.checked_add(Bytes::new(at));
        let size = Bytes::new(u64::try_from(LENGTH)?);
        Ok(MemoryRange { address: address.context("guest memory")?, size })
    }
}

/// The engine has no clock. Nothing here depends on the time.
const fn now() -> Timestamp {
    Timestamp(0)
}
