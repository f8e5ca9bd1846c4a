//! What depends on the kernel's version.

use tce_engine::{
    addr::Bytes,
    errno::Errno,
    kernel::{Extension, GroupNumber, Kernel},
    machine::{Backing, Machine},
};
use tce_sim::{
    Profile, SimMachine,
    profile::{DeviceProfile, KernelVersion},
};

use crate::bench::{Bench, OK, failed};

#[test]
fn on_6_1_no_group_has_a_node() {
    let profile = Profile::powernv9().with_kernel(KernelVersion::new(6, 1, 176));
    let machine = SimMachine::new(profile);
    assert_eq!(machine.kernel().open_group(machine.groups()[0]), Err(Errno::ENOENT));
    let since = Profile::powernv9().with_kernel(KernelVersion::new(6, 4, 0));
    let machine = SimMachine::new(since);
    assert!(machine.kernel().open_group(machine.groups()[0]).is_ok());
}

#[test]
fn before_6_11_a_partition_has_no_second_version() {
    let set_iommu = |kernel| {
        let machine = SimMachine::new(Profile::pseries().with_kernel(kernel));
        let mut kernel = machine.kernel();
        let container = kernel.open_container().expect("containers are free");
        let group = kernel.open_group(machine.groups()[0]).expect("it is free");
        assert_eq!(kernel.set_container(group, container), OK);
        kernel.set_iommu(container, Extension::SpaprTceV2)
    };
    assert_eq!(set_iommu(KernelVersion::new(6, 10, 14)), failed(Errno::EINVAL));
    assert_eq!(set_iommu(KernelVersion::new(6, 11, 0)), OK);
}

fn two_groups(kernel: KernelVersion) -> Bench {
    let second = DeviceProfile::edu("0001:00:00.0");
    let profile = Profile::pseries().with_device(GroupNumber(1), second);
    Bench::new(profile.with_kernel(kernel))
}

#[test]
fn a_second_group_in_a_partition_broke_the_kernel_until_6_12_13() {
    // CVE-2025-21713.
    for (patch, broken) in [(12, true), (13, false)] {
        let mut bench = two_groups(KernelVersion::new(6, 12, patch));
        let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
        assert_eq!(bench.map(0, memory), OK);
        assert_eq!(bench.join(GroupNumber(1)).1, failed(Errno::EPERM));
        assert_eq!(bench.machine.host_corruption().is_some(), broken, "6.12.{patch}, a window");
        let mut bench = two_groups(KernelVersion::new(6, 12, patch));
        assert_eq!(bench.join(GroupNumber(1)).1, OK);
        assert_eq!(bench.create(Bytes::gib(4), 16, 1).raw, failed(Errno::EPERM));
        assert_eq!(bench.machine.host_corruption().is_some(), broken, "6.12.{patch}, none");
    }
}

#[test]
fn which_backends_there_are_is_answered_as_the_driver_does() {
    let set_iommu = |profile: Profile, backend| {
        let machine = SimMachine::new(profile);
        let mut kernel = machine.kernel();
        let container = kernel.open_container().expect("containers are free");
        let group = kernel.open_group(machine.groups()[0]).expect("it is free");
        assert_eq!(kernel.set_container(group, container), OK);
        let answer = kernel.set_iommu(container, backend);
        assert_eq!(kernel.info(container).raw, failed(Errno::EINVAL), "there is no backend");
        answer
    };
    let (no_device, invalid) = (failed(Errno::ENODEV), failed(Errno::EINVAL));
    assert_eq!(set_iommu(Profile::powernv9(), Extension::Eeh), invalid, "known, and refused");
    assert_eq!(set_iommu(Profile::pseries(), Extension::Eeh), no_device, "not known");
    assert_eq!(set_iommu(Profile::powernv9(), Extension::Other(1)), no_device, "Type1's");
    assert_eq!(set_iommu(Profile::powernv9(), Extension::Other(99)), no_device);
    assert_eq!(set_iommu(Profile::powernv9(), Extension::SpaprTceV1), no_device, "not simulated");
}
