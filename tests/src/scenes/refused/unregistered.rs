//! A container that no memory was ever registered with: the kernel takes a guest into its window, and nothing out of it.

use anyhow::{Context, Result, anyhow, ensure};
use tce_engine::{
    Error, LeaseRequest,
    addr::{Bytes, GuestAddress, Iova, PageShift},
    errno::Errno,
    guest::{LoanRefusal, LoanRequest},
    kernel::{ContainerFd, CreateCall, Fd, GuestTableCall, Kernel, Raw, UnmapCall},
    lease::Holder,
    machine::{HypercallRegisters, Machine},
    papr::Liobn,
};

use super::{
    super::bare::{Bare, READ_WRITE, done, failed},
    groups::join,
};
use crate::{rig::seats, stage::Stage};

const LIOBN: u32 = 0x8000_0006;
/// A window, and the guest's table of it.
const SIZE: Bytes = Bytes::mib(2);
const PAGE: PageShift = PageShift::K4;

/// The engine refuses such a loan before any call, and makes it as soon as there is memory.
pub(super) fn the_engine_waits_for_memory<M: Machine>(machine: &mut M) -> Result<()> {
    let mut stage = Stage::new(machine)?;
    let vm = stage.machine.kernel().create_vm().map_err(failed("KVM_CREATE_VM"))?;
    let window = stage.default_window()?;
    stage.engine.link_guest(vm)?;
    let holder = Holder::new("lender").context("a holder has a name")?;
    let grant = stage.engine.grant_lease(LeaseRequest::new(holder, window, SIZE))?;
    let lease = stage.engine.lease(grant)?;
    let loan = LoanRequest { liobn: Liobn(LIOBN), page: PAGE };
    let calls = stage.engine.calls().total();
    let said = stage.engine.lend(lease, &loan).map(drop);
    ensure!(said == Err(Error::Loan(LoanRefusal::NothingRegistered)), "it said {said:?}");
    ensure!(stage.engine.calls().total() == calls, "a refusal reached the kernel");
    stage.memory(1)?;
    stage.engine.lend(lease, &loan)?;
    stage.engine.take_back(lease)?;
    let mut kernel = stage.machine.kernel();
    stage.close()?;
    kernel.close(vm.fd()).map_err(|errno| anyhow!("closing the virtual machine: {errno}"))
}

/// KVM knows the memory, since another container of the process has registered it. So the guest sets TCEs, and the
/// container unmaps none of them.
pub(super) fn the_kernel_does_not<M: Machine>(machine: &mut M) -> Result<()> {
    let group = seats(machine).get(1).context("two groups with an edu are needed")?.group;
    let mut other = Bare::new(machine)?;
    let (container, group) = join(&mut other.kernel, group)?;
    make_window(&mut other.kernel, container)?;
    let vm = other.kernel.create_vm().map_err(failed("KVM_CREATE_VM"))?;
    let link = other.kernel.create_kvm_vfio(vm).map_err(failed("the link"))?;
    done("GROUP_ADD", other.kernel.add_group(link, group))?;
    other.machine.set_guest_memory(vm, GuestAddress::new(0), other.memory)?;
    let (page_shift, size) = (u32::from(PAGE.raw()), SIZE.raw() >> PAGE.raw());
    let call = GuestTableCall { liobn: LIOBN.into(), page_shift, offset: 0, size };
    let table = other.kernel.create_guest_table(vm, call).map_err(failed("a table"))?;
    done("SET_SPAPR_TCE", other.kernel.attach_guest_table(link, group, table))?;
    other.answers(vm, HypercallRegisters::put_tce(LIOBN.into(), 0, READ_WRITE), None)?;
    let raw = other.kernel.unmap(container, UnmapCall { iova: Iova::new(0), size: SIZE });
    ensure!(raw == Raw::Failed(Errno::EPERM), "UNMAP without registered memory: {raw:?}");
    other.answers(vm, HypercallRegisters::get_tce(LIOBN.into(), 0), Some(READ_WRITE))?;
    done("GROUP_DEL", other.kernel.delete_group(link, group))?;
    let more: [Fd; 5] = [table.fd(), link.fd(), vm.fd(), group.fd(), container.fd()];
    other.close(&more)
}

/// The window at 0, without the promise of a default one.
fn make_window<K: Kernel>(kernel: &mut K, container: ContainerFd) -> Result<()> {
    done("REMOVE", kernel.remove(container, Iova::new(0)))?;
    let call = CreateCall { page_shift: u32::from(PAGE.raw()), size: SIZE, levels: 1 };
    let created = kernel.create(container, call);
    done("CREATE", created.raw)?;
    ensure!(created.out == Iova::new(0), "the window starts at {}", created.out);
    Ok(())
}
