//! A second process that has inherited the descriptors.

use tce_engine::{
    addr::{Bytes, GuestAddress, Iova, PageShift},
    errno::Errno,
    kernel::{EehOperation, Extension, GroupFd, Kernel, LockedMemory, MemoryRange, Raw, UnmapCall},
    machine::{Backing, HypercallRegisters, Machine, MemoryRequest},
};
use tce_sim::SimKernel;

use crate::{
    bench::{Bench, OK, failed, part},
    dma::{Lab, TO_DEVICE, TO_MEMORY},
    guest::{Guest, HypercallAnswer, LIOBN, bench_with_window, hypercall, refusal, table_at_zero},
};

fn memory_of(kernel: &SimKernel, size: Bytes) -> MemoryRange {
    let request = MemoryRequest { size, backing: Backing::Anonymous, align: PageShift::M2 };
    kernel.machine().clone().allocate(&request).expect("there is room")
}

fn unmap(kernel: &mut SimKernel, bench: &Bench) -> Raw {
    let call = UnmapCall { iova: Iova::new(0), size: Bytes::kib(4) };
    kernel.unmap(bench.container, call)
}

#[test]
fn a_bound_container_answers_its_own_process_only() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let mut other = bench.machine.other_process();
    let container = bench.container;
    let no = failed(Errno::EPERM);
    assert_eq!(other.info(container).raw, no);
    assert_eq!((other.register(container, memory), other.unregister(container, memory)), (no, no));
    let call = tce_engine::kernel::CreateCall { page_shift: 12, size: Bytes::gib(1), levels: 1 };
    assert_eq!(
        (other.create(container, call).raw, other.remove(container, Iova::new(0))),
        (no, no)
    );
    assert_eq!((unmap(&mut other, &bench), other.eeh(container, EehOperation::GetState)), (no, no));
    let as_group = GroupFd::new(container.fd());
    assert_eq!(other.group_status(as_group).raw, no, "what the container passes on, too");
    let answer = other.check_extension(container, Extension::SpaprTceV2);
    assert_eq!(answer, Raw::Returned(1), "the shell answers itself");
    assert_eq!(other.set_iommu(container, Extension::SpaprTceV2), failed(Errno::EINVAL));
    assert_eq!(bench.map(0, memory), OK, "and the first works on");
}

#[test]
fn the_first_that_registers_creates_or_removes_owns_the_container() {
    let mut bench = Bench::named("powernv9");
    let mut other = bench.machine.other_process();
    assert_eq!(bench.kernel.info(bench.container).raw, OK, "asking binds nobody");
    assert_eq!(bench.unmap(0, Bytes::kib(4)), failed(Errno::EPERM), "not enabled");
    assert_eq!(other.info(bench.container).raw, OK);
    assert_eq!(other.remove(bench.container, Iova::new(0)), OK);
    assert_eq!(bench.kernel.info(bench.container).raw, failed(Errno::EPERM));
    assert_eq!(bench.create(Bytes::gib(1), 12, 1).raw, failed(Errno::EPERM));
    // A fresh backend is nobody's again.
    assert_eq!(bench.kernel.unset_container(bench.group), OK);
    assert_eq!(bench.kernel.set_container(bench.group, bench.container), OK);
    assert_eq!(bench.kernel.set_iommu(bench.container, Extension::SpaprTceV2), OK);
    assert_eq!(bench.remove(0), OK);
}

#[test]
fn a_failed_registration_binds_as_well() {
    let mut bench = Bench::named("powernv9");
    let mut other = bench.machine.other_process();
    let nowhere = bench.allocated(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(other.register(bench.container, nowhere), failed(Errno::EFAULT), "not its memory");
    assert_eq!(bench.register(nowhere), failed(Errno::EPERM));
}

#[test]
fn charges_go_to_the_owner_and_each_sees_its_own() {
    let mut bench = Bench::named("powernv9");
    let mut other = bench.machine.other_process();
    let memory = memory_of(&other, Bytes::mib(4));
    assert_eq!(other.register(bench.container, memory), OK);
    assert_eq!(unmap(&mut other, &bench), OK, "the default window");
    let locked = |kernel: &mut SimKernel| kernel.locked_memory().map(|memory| memory.locked);
    assert_eq!(locked(&mut other), Ok(Bytes::mib(4 + 8)));
    assert_eq!(bench.kernel.locked_memory(), Ok(LockedMemory::default()));
    assert_eq!(other.machine().regions().len(), 1);
    assert_eq!(other.machine().regions()[0].owners, 1);
    assert_eq!(bench.machine.regions(), []);
    bench.kernel.close(bench.group.fd()).expect("it is open");
    assert_eq!(locked(&mut other), Ok(Bytes::ZERO), "whoever closes it");
}

#[test]
fn a_device_reaches_the_memory_of_the_process_that_mapped_it() {
    let mut bench = Bench::named("powernv9");
    let mut other = bench.machine.other_process();
    // The same address in both processes.
    let ours = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let theirs = memory_of(&other, Bytes::mib(2));
    assert_eq!(ours.address, theirs.address);
    other.machine().clone().write_memory(theirs.address, b"theirs").expect("it is mapped");
    bench.machine.write_memory(ours.address, b"ours").expect("it is mapped");
    assert_eq!(other.register(bench.container, theirs), OK);
    let call = tce_engine::kernel::MapCall {
        flags: 3,
        address: theirs.address,
        iova: Iova::new(0x1000),
        size: Bytes::kib(4),
    };
    assert_eq!(other.map(bench.container, call), OK);
    let mut lab = Lab::on(bench);
    lab.transfer(TO_DEVICE, 0x1000, 6);
    lab.transfer(TO_MEMORY, 0x1800, 6);
    let bench = lab.bench;
    let mut seen = [0; 6];
    let at = part(theirs, 0x800, 0).address;
    other.machine().clone().read_memory(at, &mut seen).expect("it is mapped");
    assert_eq!(&seen, b"theirs");
    bench
        .machine
        .clone()
        .read_memory(part(ours, 0x800, 0).address, &mut seen)
        .expect("it is mapped");
    assert_eq!(&seen, &[0; 6]);
}

#[test]
fn kvm_answers_the_process_that_made_the_virtual_machine() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    let mut other = bench.machine.other_process();
    assert_eq!(other.create_kvm_vfio(guest.vm), Err(Errno::EIO));
    let call = table_at_zero(LIOBN + 1, 12, 16);
    assert_eq!(other.create_guest_table(guest.vm, call), Err(Errno::EIO));
    assert_eq!(other.delete_group(guest.link, bench.group), failed(Errno::EIO));
    assert_eq!(other.attach_guest_table(guest.link, bench.group, table), failed(Errno::EIO));
    other.close(table.fd()).expect("descriptors are common");
    assert_eq!(guest.put(&bench, 0, 0), HypercallAnswer::TooHard);
}

#[test]
fn a_guest_of_another_process_maps_that_processs_memory() {
    // The link takes any group; what the hypercall looks up is the memory of the virtual machine's process.
    let (mut bench, memory) = bench_with_window("powernv9");
    let mut other = bench.machine.other_process();
    let vm = other.create_vm().expect("there is KVM");
    let link = other.create_kvm_vfio(vm).expect("it is the first");
    let table = other.create_guest_table(vm, table_at_zero(LIOBN, 12, 16)).expect("it fits");
    assert_eq!(other.add_group(link, bench.group), OK);
    assert_eq!(other.attach_guest_table(link, bench.group, table), OK);
    let theirs = memory_of(&other, Bytes::mib(2));
    other
        .machine()
        .clone()
        .set_guest_memory(vm, GuestAddress::new(0), theirs)
        .expect("it is whole pages");
    let machine = other.machine().clone();
    let put = |tce| hypercall(&machine, vm, HypercallRegisters::put_tce(LIOBN, 0, tce));
    let ours = bench.machine.hypercall(vm, HypercallRegisters::put_tce(LIOBN, 0, 3));
    assert_eq!(refusal(ours), Some(Errno::EIO), "it is not ours to run");
    assert_eq!(put(3), HypercallAnswer::TooHard, "they registered nothing");
    assert_eq!(bench.map(0, part(memory, 0, 4096)), OK);
    assert_eq!(put(0), HypercallAnswer::TooHard, "what lies there is no region of theirs");
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (0, 1), "cleared, not counted");
}
