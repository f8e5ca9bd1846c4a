//! Groups that are not attached, and containers that are not taken: the engine's word and the kernel's.

use anyhow::{Context, Result, anyhow, ensure};
use tce_engine::{
    Engine, Error,
    addr::{Bytes, Iova, PageShift},
    errno::Errno,
    error::GroupRefusal,
    kernel::{
        ContainerFd, Extension, GroupFd, GroupNumber, Kernel, MAP_READ, MapCall, MemoryRange,
        Platform, Raw,
    },
    machine::{Backing, Machine, MemoryRequest},
};

use super::super::bare::{done, failed};
use crate::rig::{seat, seats};

const EINVAL: Raw = Raw::Failed(Errno::EINVAL);
/// A group that no machine has.
const NOWHERE: GroupNumber = GroupNumber(4095);
/// What is registered with a partition's container.
const MEMORY: Bytes = Bytes::kib(64);

/// What the engine refuses, by name where it knows beforehand, else with the kernel's errno, the kernel refuses as well;
/// but for a partition's second group, which the kernel takes and whose harm comes later.
///
/// # Errors
/// What did not come out so.
pub fn every_group_that_is_refused_has_its_reason<M: Machine>(machine: &mut M) -> Result<()> {
    a_group_is_had_once(machine).context("a group is had once")?;
    a_used_container_is_not_taken(machine).context("a used container is not taken")?;
    another_backend_is_not_ours(machine).context("a container with another backend")?;
    match machine.kernel().system().platform {
        Platform::Pseries => a_partition_takes_one_group(machine).context("a partition's groups"),
        Platform::Powernv => Ok(()),
    }
}

/// A group that is attached already, one that another container has, and one that is not there.
fn a_group_is_had_once<M: Machine>(machine: &mut M) -> Result<()> {
    let group = seat(machine)?.group;
    let mut engine = Engine::open(machine.kernel())?;
    engine.attach(group)?;
    let calls = engine.calls().total();
    let again = engine.attach(group);
    let refusal = GroupRefusal::Attached { group, attached: true };
    ensure!(again == Err(refusal.into()), "the same group again: {again:?}");
    ensure!(engine.calls().total() == calls, "it reached the kernel");

    let mut other = Engine::open(machine.kernel())?;
    is_failed(&other.attach(group), Errno::EBUSY).context("by another container")?;
    is_failed(&other.attach(NOWHERE), Errno::ENOENT).context("a group that is not there")?;
    ensure!(other.facts().is_none(), "a container without a group has facts");
    other.close()?;
    engine.close()?;

    let mut kernel = machine.kernel();
    let (container, descriptor) = join(&mut kernel, group)?;
    let second = kernel.open_group(group);
    ensure!(second == Err(Errno::EBUSY), "a second opener: {second:?}");
    let other = kernel.open_container().map_err(failed("another container"))?;
    for container in [container, other] {
        let raw = kernel.set_container(descriptor, container);
        ensure!(raw == EINVAL, "SET_CONTAINER of a group that is in one: {raw:?}");
    }
    kernel.close(other.fd()).map_err(failed("closing"))?;
    leave(&mut kernel, descriptor, container)
}

/// A container that has a backend is somebody's.
fn a_used_container_is_not_taken<M: Machine>(machine: &mut M) -> Result<()> {
    let group = seat(machine)?.group;
    let mut engine = Engine::open(machine.kernel())?;
    engine.attach(group)?;
    let container = engine.descriptor();
    let adopted = Engine::adopt(machine.kernel(), container).map(drop);
    let refusal = GroupRefusal::ContainerInUse { fd: container.raw() };
    ensure!(adopted == Err(refusal.into()), "a used container: {adopted:?}");
    let raw = machine.kernel().set_iommu(ContainerFd::new(container), Extension::SpaprTceV2);
    ensure!(raw == EINVAL, "a second SET_IOMMU: {raw:?}");
    engine.close()?;
    Ok(())
}

/// The backend's first version is another contract: it registers no memory, and has one group. The simulated kernel has
/// no such version.
fn another_backend_is_not_ours<M: Machine>(machine: &mut M) -> Result<()> {
    let seats = seats(machine);
    let (first, others) = seats.split_first().context("there is no edu device for VFIO")?;
    let mut kernel = machine.kernel();
    let container = kernel.open_container().map_err(failed("the container"))?;
    let group = kernel.open_group(first.group).map_err(failed("the group"))?;
    done("SET_CONTAINER", kernel.set_container(group, container))?;
    match kernel.set_iommu(container, Extension::SpaprTceV1) {
        Raw::OK => {
            first_version(machine, container)?;
            if let Some(other) = others.first() {
                let other = kernel.open_group(other.group).map_err(failed("another group"))?;
                let raw = kernel.set_container(other, container);
                ensure!(raw == Raw::Failed(Errno::EBUSY), "a second group: {raw:?}");
                kernel.close(other.fd()).map_err(failed("closing"))?;
            }
        }
        raw => ensure!(raw == Raw::Failed(Errno::ENODEV), "SET_IOMMU of version 1: {raw:?}"),
    }
    leave(&mut kernel, group, container)
}

fn first_version<M: Machine>(machine: &mut M, container: ContainerFd) -> Result<()> {
    let adopted = Engine::adopt(machine.kernel(), container.fd()).map(drop);
    let refusal = GroupRefusal::ContainerInUse { fd: container.fd().raw() };
    ensure!(adopted == Err(refusal.into()), "a container of the first version: {adopted:?}");
    with_memory(machine, |kernel, memory| {
        let raw = kernel.register(container, memory);
        ensure!(raw == Raw::Failed(Errno::ENOTTY), "REGISTER with the first version: {raw:?}");
        Ok(())
    })
}

/// The engine refuses a second group. The kernel takes it, and then no window can be made for either.
fn a_partition_takes_one_group<M: Machine>(machine: &mut M) -> Result<()> {
    let groups = machine.groups();
    let [first, second, ..] = groups[..] else { return Err(anyhow!("two groups are needed")) };
    let mut engine = Engine::open(machine.kernel())?;
    engine.attach(first)?;
    let calls = engine.calls().total();
    let refused = engine.attach(second);
    ensure!(refused == Err(GroupRefusal::OneGroupOnly(second).into()), "{refused:?}");
    ensure!(engine.calls().total() == calls, "it reached the kernel");
    engine.close()?;

    let mut kernel = machine.kernel();
    let (container, group) = join(&mut kernel, first)?;
    let other = kernel.open_group(second).map_err(failed("the second group"))?;
    done("SET_CONTAINER of a second group", kernel.set_container(other, container))?;
    with_memory(machine, |kernel, memory| {
        done("REGISTER", kernel.register(container, memory))?;
        let (address, size) = (memory.address, PageShift::K4.bytes());
        let map = MapCall { flags: MAP_READ, address, iova: Iova::new(0), size };
        let raw = kernel.map(container, map);
        ensure!(raw == Raw::Failed(Errno::EPERM), "the first MAP of two groups: {raw:?}");
        done("UNREGISTER", kernel.unregister(container, memory))
    })?;
    kernel.close(other.fd()).map_err(failed("closing"))?;
    leave(&mut kernel, group, container)
}

/// The kernel failed the attach with this errno.
fn is_failed(attached: &Result<(), Error>, errno: Errno) -> Result<()> {
    let said = attached.as_ref().err().and_then(Error::fault).and_then(|fault| fault.errno());
    ensure!(said == Some(errno), "attaching said {attached:?}");
    Ok(())
}

/// A fresh container with a group and our backend.
pub(super) fn join<K: Kernel>(
    kernel: &mut K,
    group: GroupNumber,
) -> Result<(ContainerFd, GroupFd)> {
    let container = kernel.open_container().map_err(failed("the container"))?;
    let group = kernel.open_group(group).map_err(failed("the group"))?;
    done("SET_CONTAINER", kernel.set_container(group, container))?;
    done("SET_IOMMU", kernel.set_iommu(container, Extension::SpaprTceV2))?;
    Ok((container, group))
}

fn leave<K: Kernel>(kernel: &mut K, group: GroupFd, container: ContainerFd) -> Result<()> {
    kernel.close(group.fd()).map_err(failed("closing the group"))?;
    kernel.close(container.fd()).map_err(failed("closing the container"))
}

fn with_memory<M: Machine>(
    machine: &mut M,
    act: impl FnOnce(&mut M::Kernel, MemoryRange) -> Result<()>,
) -> Result<()> {
    let request =
        MemoryRequest { size: MEMORY, backing: Backing::Anonymous, align: PageShift::K64 };
    let memory = machine.allocate(&request)?;
    let acted = act(&mut machine.kernel(), memory);
    machine.free(memory)?;
    acted
}
