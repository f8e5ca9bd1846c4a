//! Calls on descriptors of the wrong kind.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceSpace, EehOperation, Extension,
        Fd, GroupFd, Kernel, MapCall, MemoryRange, Raw, UnmapCall,
    },
};
use tce_sim::{Profile, SimKernel, SimMachine};

use crate::bench::{Bench, OK, READ_WRITE, failed};
use tce_engine::machine::Machine;

/// Every call that a container takes, in the order of the seam.
fn container_calls(kernel: &mut SimKernel, fd: Fd) -> [Raw; 10] {
    let container = ContainerFd::new(fd);
    let memory = MemoryRange { address: HostAddr::new(0), size: Bytes::ZERO };
    let (iova, size) = (Iova::new(0), Bytes::ZERO);
    [
        kernel.check_extension(container, Extension::SpaprTceV2),
        kernel.set_iommu(container, Extension::SpaprTceV2),
        kernel.info(container).raw,
        kernel.register(container, memory),
        kernel.unregister(container, memory),
        kernel.create(container, CreateCall { page_shift: 12, size, levels: 1 }).raw,
        kernel.remove(container, iova),
        kernel.map(container, MapCall { flags: READ_WRITE, address: memory.address, iova, size }),
        kernel.unmap(container, UnmapCall { iova, size }),
        kernel.eeh(container, EehOperation::GetState),
    ]
}

#[test]
fn a_closed_descriptor_is_ebadf_for_every_call() {
    let mut kernel = SimMachine::new(Profile::powernv9()).kernel();
    let closed = Fd::new(17);
    assert_eq!(container_calls(&mut kernel, closed), [failed(Errno::EBADF); 10]);
    let group = GroupFd::new(closed);
    assert_eq!(kernel.group_status(group).raw, failed(Errno::EBADF));
    assert_eq!(kernel.set_container(group, ContainerFd::new(closed)), failed(Errno::EBADF));
    assert_eq!(kernel.unset_container(group), failed(Errno::EBADF));
    assert_eq!(kernel.open_device(group, "0000:01:00.0"), Err(Errno::EBADF));
    let device = DeviceFd::new(closed);
    assert_eq!(kernel.read_device(device, DeviceSpace::Config, 0, &mut [0]), Err(Errno::EBADF));
    assert_eq!(kernel.close(closed), Err(Errno::EBADF));
    assert_eq!(kernel.kind(closed), DescriptorKind::Closed);
}

#[test]
fn groups_and_strangers_do_not_know_container_calls() {
    let mut bench = Bench::named("powernv9");
    let stranger = bench.machine.open_other("/dev/null").expect("there is room");
    for fd in [bench.group.fd(), stranger] {
        assert_eq!(container_calls(&mut bench.kernel, fd), [failed(Errno::ENOTTY); 10]);
    }
    assert_eq!(bench.kernel.kind(bench.group.fd()), DescriptorKind::Group);
    let name = DescriptorKind::Other("/dev/null".to_owned());
    assert_eq!(bench.kernel.kind(stranger), name);
}

#[test]
fn a_device_takes_some_numbers_for_its_own() {
    let mut bench = Bench::named("powernv9");
    let device = bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there");
    let answers = container_calls(&mut bench.kernel, device.fd());
    let mut expected = [failed(Errno::ENOTTY); 10];
    expected[2] = OK;
    expected[7] = failed(Errno::EINVAL);
    assert_eq!(answers, expected);
    let info = bench.kernel.info(ContainerFd::new(device.fd())).out;
    assert_eq!((info.flags, info.dma32_window_start, info.page_sizes), (0, 1, 0x1_0000));
    assert_eq!(bench.kernel.kind(device.fd()), DescriptorKind::Device);
}

#[test]
fn a_container_passes_group_calls_to_its_driver() {
    let mut bench = Bench::named("powernv9");
    let as_group = GroupFd::new(bench.container.fd());
    assert_eq!(bench.kernel.group_status(as_group).raw, failed(Errno::ENOTTY));
    let empty = bench.kernel.open_container().expect("containers are free");
    let as_group = GroupFd::new(empty.fd());
    assert_eq!(bench.kernel.group_status(as_group).raw, failed(Errno::EINVAL), "no driver");
    let as_device = DeviceFd::new(empty.fd());
    let read = bench.kernel.read_device(as_device, DeviceSpace::Bar(0), 0, &mut [0; 4]);
    assert_eq!(read, Err(Errno::EINVAL));
}

#[test]
fn a_container_of_a_wrong_kind_is_a_descriptor_in_a_bad_state() {
    let machine = SimMachine::new(Profile::powernv9());
    let mut kernel = machine.kernel();
    let group = kernel.open_group(machine.groups()[0]).expect("it is free");
    let stranger = machine.open_other("/dev/zero").expect("there is room");
    let answer = kernel.set_container(group, ContainerFd::new(stranger));
    assert_eq!(answer, failed(Errno::EBADFD));
}
