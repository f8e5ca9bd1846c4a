//! Containers, groups and the backend's life.

use tce_engine::{
    addr::Bytes,
    errno::Errno,
    kernel::{Extension, Fd, GroupNumber, GroupStatus, Kernel, Raw},
    machine::{Backing, Machine},
};
use tce_sim::{
    Profile, SimMachine, Unbind,
    profile::{DeviceProfile, KernelVersion},
};

use crate::bench::{Bench, OK, failed, part};

#[test]
fn a_group_has_one_opener() {
    let mut bench = Bench::named("powernv9");
    let number = bench.machine.groups()[0];
    assert_eq!(bench.kernel.open_group(number), Err(Errno::EBUSY));
    assert_eq!(bench.kernel.open_group(GroupNumber(99)), Err(Errno::ENOENT));
    bench.kernel.close(bench.group.fd()).expect("it is open");
    assert!(bench.kernel.open_group(number).is_ok());
}

#[test]
fn set_iommu_needs_a_group_and_comes_once() {
    let machine = SimMachine::new(Profile::powernv9());
    let mut kernel = machine.kernel();
    let container = kernel.open_container().expect("containers are free");
    assert_eq!(kernel.set_iommu(container, Extension::SpaprTceV2), failed(Errno::EINVAL));
    let group = kernel.open_group(machine.groups()[0]).expect("it is free");
    assert_eq!(kernel.set_container(group, container), OK);
    assert_eq!(kernel.info(container).raw, failed(Errno::EINVAL), "no backend yet");
    assert_eq!(kernel.set_iommu(container, Extension::SpaprTceV2), OK);
    assert_eq!(kernel.set_iommu(container, Extension::SpaprTceV2), failed(Errno::EINVAL));
    assert_eq!(kernel.info(container).raw, OK);
}

#[test]
fn set_container_tests_come_in_the_kernels_order() {
    let mut bench = Bench::named("powernv9");
    let group = bench.group;
    let kernel = &mut bench.kernel;
    let nothing = tce_engine::kernel::ContainerFd::new(Fd::new(99));
    assert_eq!(kernel.set_container(group, nothing), failed(Errno::EBADF));
    assert_eq!(kernel.set_container(group, bench.container), failed(Errno::EINVAL), "has one");
    assert_eq!(kernel.unset_container(group), OK);
    assert_eq!(kernel.unset_container(group), failed(Errno::EINVAL));
    let other = tce_engine::kernel::ContainerFd::new(group.fd());
    assert_eq!(kernel.set_container(group, other), failed(Errno::EBADFD), "no container");
    assert_eq!(kernel.set_container(group, bench.container), OK);
}

#[test]
fn a_group_with_a_host_driver_is_not_viable() {
    let number = GroupNumber(0);
    let profile = Profile::powernv9().with_device(number, DeviceProfile::host_nic("0000:01:00.1"));
    let machine = SimMachine::new(profile);
    let mut kernel = machine.kernel();
    let container = kernel.open_container().expect("containers are free");
    let group = kernel.open_group(number).expect("its edu is VFIO's");
    assert_eq!(kernel.group_status(group).out, GroupStatus::default());
    assert_eq!(kernel.set_container(group, container), failed(Errno::EPERM));
    let blocking: Vec<_> =
        machine.devices_of(number).into_iter().filter(|device| device.blocks_group).collect();
    assert_eq!(blocking.len(), 1);
    assert_eq!(blocking[0].driver.as_deref(), Some("tg3"));
}

#[test]
fn a_group_without_a_vfio_device_has_no_node() {
    let alone = GroupNumber(40);
    let machine = SimMachine::new(Profile::powernv9().with_host_nic(alone, "0005:01:00.0"));
    assert_eq!(machine.kernel().open_group(alone), Err(Errno::ENOENT));
    assert_eq!(machine.group_of("0005:01:00.0"), Ok(alone));
    assert!(machine.group_of("0009:01:00.0").is_err());
}

#[test]
fn status_tells_viability_and_membership() {
    let mut bench = Bench::named("powernv9");
    let second = bench.kernel.open_group(bench.second_group()).expect("it is free");
    let free = bench.kernel.group_status(second);
    assert_eq!((free.raw, free.out), (OK, GroupStatus { viable: true, in_container: false }));
    let held = bench.kernel.group_status(bench.group).out;
    assert_eq!(held, GroupStatus { viable: true, in_container: true });
}

#[test]
fn the_last_group_takes_the_backend_with_it() {
    // The review of 2016: a container without groups has nothing.
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.create(Bytes::gib(4), 21, 1).raw, OK);
    assert_eq!(bench.kernel.unset_container(bench.group), OK);
    let gone = failed(Errno::EINVAL);
    assert_eq!(bench.kernel.info(bench.container).raw, gone);
    assert_eq!(bench.map(0, memory), gone);
    assert_eq!(bench.unmap(0, memory.size), gone);
    assert_eq!((bench.register(memory), bench.unregister(memory)), (gone, gone));
    assert_eq!((bench.create(Bytes::gib(4), 21, 1).raw, bench.remove(0)), (gone, gone));
    let extension = bench.kernel.check_extension(bench.container, Extension::SpaprTceV2);
    assert_eq!(extension, Raw::Returned(1), "the shell still answers");
    assert_eq!((bench.locked_kib(), bench.machine.live_tces()), (0, 0));
    assert_eq!(bench.machine.regions(), []);
    // A group comes back: the backend is fresh.
    assert_eq!(bench.kernel.set_container(bench.group, bench.container), OK);
    assert_eq!(bench.kernel.set_iommu(bench.container, Extension::SpaprTceV2), OK);
    assert_eq!(bench.map(0, memory), failed(Errno::EPERM));
    assert_eq!(bench.machine.windows(bench.container), []);
}

#[test]
fn one_of_several_groups_wipes_the_windows_of_all() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let (second, joined) = bench.join(bench.second_group());
    assert_eq!(joined, OK);
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.kernel.unset_container(second), OK);
    assert_eq!(bench.machine.live_tces(), 0);
    assert_eq!(bench.machine.windows(bench.container).len(), 1, "the window stays");
    assert_eq!(bench.mapped(memory), 0);
    assert_eq!(bench.map(0, memory), OK, "and the registration");
}

#[test]
fn before_6_11_it_did_not() {
    let mut bench = Bench::new(Profile::powernv9().with_kernel(KernelVersion::new(6, 8, 0)));
    let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
    let (second, _) = bench.join(bench.second_group());
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.kernel.unset_container(second), OK);
    assert_eq!(bench.machine.live_tces(), 256);
}

#[test]
fn open_devices_hold_the_group_in_its_container() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let number = bench.machine.groups()[0];
    let device = bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there");
    assert_eq!(bench.kernel.unset_container(bench.group), failed(Errno::EBUSY));
    bench.kernel.close(bench.group.fd()).expect("it is open");
    assert_eq!(bench.map(0, memory), OK, "the device holds the group's file");
    assert_eq!(bench.kernel.open_group(number), Err(Errno::EBUSY));
    bench.kernel.close(device.fd()).expect("it is open");
    assert_eq!(bench.map(0, memory), failed(Errno::EINVAL));
    assert!(bench.kernel.open_group(number).is_ok());
}

#[test]
fn a_container_outlives_its_descriptor_while_groups_are_in_it() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.map(0, memory), OK);
    bench.kernel.close(bench.container.fd()).expect("it is open");
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (4096, 4096));
    bench.kernel.close(bench.group.fd()).expect("it is open");
    bench.machine.free(memory).expect("it is ours");
    assert!(bench.machine.left_behind().is_nothing(), "{:?}", bench.machine.left_behind());
}

#[test]
fn closing_the_group_detaches_it() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    bench.kernel.close(bench.group.fd()).expect("it is open");
    assert_eq!(bench.map(0, memory), failed(Errno::EINVAL));
    assert_eq!(bench.locked_kib(), 0);
}

#[test]
fn an_unbind_without_open_devices_takes_the_group_at_once() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let number = bench.machine.groups()[0];
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.machine.unbind(number), Unbind::Done);
    assert_eq!(bench.map(0, memory), failed(Errno::EINVAL));
    assert_eq!(bench.kernel.group_status(bench.group).raw, failed(Errno::ENODEV));
    let again = bench.kernel.set_container(bench.group, bench.container);
    assert_eq!(again, failed(Errno::ENODEV));
    assert_eq!(bench.kernel.unset_container(bench.group), failed(Errno::EINVAL));
    assert_eq!(bench.kernel.open_group(number), Err(Errno::ENOENT));
    assert_eq!(bench.machine.unbind(number), Unbind::Nothing);
    bench.machine.rebind(number);
    let again = bench.kernel.set_container(bench.group, bench.container);
    assert_eq!(again, failed(Errno::ENODEV), "the old descriptor stays dead");
    let fresh = bench.kernel.open_group(number).expect("it is another object");
    assert_eq!(bench.kernel.set_container(fresh, bench.container), OK);
}

#[test]
fn an_unbind_waits_for_open_devices() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let number = bench.machine.groups()[0];
    let device = bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there");
    assert_eq!(bench.machine.unbind(number), Unbind::Waiting);
    assert_eq!(bench.map(0, part(memory, 0, 4096)), OK, "everything works meanwhile");
    assert_eq!(
        bench.kernel.open_device(bench.group, "0000:01:00.0"),
        Err(Errno::ENODEV),
        "but no device is opened any more"
    );
    bench.kernel.close(device.fd()).expect("it is open");
    assert_eq!(bench.map(0, memory), failed(Errno::EINVAL));
    assert_eq!(bench.kernel.group_status(bench.group).raw, failed(Errno::ENODEV));
    assert_eq!(bench.machine.devices_of(number)[0].driver, None);
}

#[test]
fn devices_are_opened_by_address_through_a_backend() {
    let machine = SimMachine::new(Profile::powernv9());
    let mut kernel = machine.kernel();
    let container = kernel.open_container().expect("containers are free");
    let group = kernel.open_group(machine.groups()[0]).expect("it is free");
    assert_eq!(kernel.open_device(group, "0001:01:00.0"), Err(Errno::ENODEV), "another group's");
    assert_eq!(kernel.open_device(group, "0000:01:00.0"), Err(Errno::EINVAL), "no container");
    assert_eq!(kernel.set_container(group, container), OK);
    assert_eq!(kernel.open_device(group, "0000:01:00.0"), Err(Errno::EINVAL), "no backend");
    assert_eq!(kernel.set_iommu(container, Extension::SpaprTceV2), OK);
    assert!(kernel.open_device(group, "0000:01:00.0").is_ok());
}
