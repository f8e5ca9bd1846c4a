//! A group in a container by raw calls, as those who build on the seam make them: no engine stands between.

use anyhow::{Context, Result, anyhow, ensure};
use tce_conformance::edu::{Edu, EduError};
use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{
        ContainerFd, DeviceFd, Extension, Fd, GroupFd, Kernel, MAP_READ, MAP_WRITE, MapCall,
        MemoryRange, Raw, UnmapCall, VmFd,
    },
    machine::{Backing, HypercallExit, HypercallRegisters, Machine, MemoryRequest},
    papr::ReturnCode,
};

use crate::{
    rig::seat,
    sample::{EMPTY, LENGTH, LENGTH_BYTES, pattern},
};

/// Registered memory: what a guest has, from its address 0 on.
pub(super) const MEMORY: Bytes = Bytes::mib(2);
/// A TCE's permission to read and to write.
pub(super) const READ_WRITE: u64 = 3;

/// What is said of a call that fails.
pub(super) fn failed(what: &'static str) -> impl Fn(Errno) -> anyhow::Error {
    move |errno| anyhow!("{what}: {errno}")
}

/// A call gives plain success.
pub(super) fn done(what: &str, raw: Raw) -> Result<()> {
    ensure!(raw == Raw::OK, "{what}: {raw:?}");
    Ok(())
}

/// A group in a container, its device, and registered memory that a first map has made the default window for.
pub(super) struct Bare<'m, M: Machine> {
    pub(super) machine: &'m mut M,
    pub(super) kernel: M::Kernel,
    pub(super) container: ContainerFd,
    pub(super) group: GroupFd,
    pub(super) device: DeviceFd,
    pub(super) memory: MemoryRange,
}

impl<'m, M: Machine> Bare<'m, M> {
    /// The first `edu`.
    pub(super) fn new(machine: &'m mut M) -> Result<Self> {
        let seat = seat(machine)?;
        let request =
            MemoryRequest { size: MEMORY, backing: Backing::Anonymous, align: PageShift::M2 };
        let memory = machine.allocate(&request)?;
        let mut kernel = machine.kernel();
        let container = kernel.open_container().map_err(failed("the container"))?;
        let group = kernel.open_group(seat.group).map_err(failed("the group"))?;
        done("SET_CONTAINER", kernel.set_container(group, container))?;
        done("SET_IOMMU", kernel.set_iommu(container, Extension::SpaprTceV2))?;
        let device = kernel.open_device(group, &seat.address).map_err(failed("the device"))?;
        Edu::switch_on(&mut kernel, device)?;
        done("REGISTER", kernel.register(container, memory))?;
        let (iova, size) = (Iova::new(0), Bytes::kib(64));
        let flags = MAP_READ | MAP_WRITE;
        let map = MapCall { flags, address: memory.address, iova, size };
        done("MAP", kernel.map(container, map))?;
        done("UNMAP", kernel.unmap(container, UnmapCall { iova, size }))?;
        Ok(Self { machine, kernel, container, group, device, memory })
    }

    /// The kernel answers a call with `H_SUCCESS`, and `H_GET_TCE` with this TCE.
    pub(super) fn answers(
        &mut self,
        vm: VmFd,
        call: HypercallRegisters,
        tce: Option<u64>,
    ) -> Result<()> {
        let exit = self.machine.hypercall(vm, call)?;
        let success = Some(ReturnCode::Success.register());
        ensure!(exit.code() == success, "{call:x?} ended as {exit:x?}");
        let HypercallExit::Answered { value, .. } = exit else { return Ok(()) };
        ensure!(tce.is_none_or(|tce| tce == value), "{call:x?} read {value:#x}");
        Ok(())
    }

    /// The kernel leaves a call to the process.
    pub(super) fn leaves(&mut self, vm: VmFd, call: HypercallRegisters) -> Result<()> {
        let exit = self.machine.hypercall(vm, call)?;
        ensure!(exit == HypercallExit::ToUserSpace, "{call:x?} ended as {exit:x?}");
        Ok(())
    }

    /// What the device reads at a bus address is what lies at the guest's, or is not; it writes it back behind.
    pub(super) fn moves(&mut self, iova: u64, guest: u64, expected: bool) -> Result<()> {
        let sample: [u8; LENGTH] = pattern(9);
        let (from, to) = (self.at(guest)?, self.at(guest + LENGTH_BYTES)?);
        self.machine.write_memory(from, &sample)?;
        self.machine.write_memory(to, &EMPTY)?;
        let (source, target) = (Iova::new(iova), Iova::new(iova + LENGTH_BYTES));
        self.with_edu(|edu| edu.read_memory(source, LENGTH_BYTES))?;
        self.with_edu(|edu| edu.write_memory(target, LENGTH_BYTES))?;
        let mut found = [0; LENGTH];
        self.machine.read_memory(to, &mut found)?;
        let wanted = if expected { sample } else { EMPTY };
        ensure!(found == wanted, "the device's bytes are not as they should be at {iova:#x}");
        Ok(())
    }

    /// The place in memory that a guest has at this address.
    pub(super) fn at(&self, offset: u64) -> Result<HostAddr> {
        self.memory.address.checked_add(Bytes::new(offset)).context("inside the memory")
    }

    /// Drives the device.
    pub(super) fn with_edu<T>(
        &mut self,
        drive: impl FnOnce(&mut Edu<'_, M::Kernel>) -> Result<T, EduError>,
    ) -> Result<T> {
        Ok(drive(&mut Edu::new(&mut self.kernel, self.device)?)?)
    }

    /// Closes these descriptors and its own, in that order.
    pub(super) fn close(mut self, more: &[Fd]) -> Result<()> {
        let ours = [self.device.fd(), self.group.fd(), self.container.fd()];
        for fd in more.iter().chain(&ours) {
            self.kernel.close(*fd).map_err(failed("closing"))?;
        }
        Ok(self.machine.free(self.memory)?)
    }
}
