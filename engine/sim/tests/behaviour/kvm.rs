//! KVM as VFIO's external user: what is lent, what keeps it, and what ends it.

use tce_engine::{
    addr::{Bytes, GuestAddress, Iova},
    errno::Errno,
    kernel::{
        DescriptorKind, Fd, GroupFd, GuestTableCall, GuestTableFd, Kernel, KvmVfioFd, Raw, VmFd,
    },
    machine::{Backing, Machine},
};
use tce_sim::{
    Profile, SimMachine,
    profile::{KernelVersion, Kvm},
};

use crate::{
    bench::{Bench, HIGH, OK, failed},
    guest::{Guest, LIOBN, bench_with_window, refusal, table_at_zero},
};

#[test]
fn a_partition_has_no_hypervisor() {
    let mut kernel = SimMachine::new(Profile::pseries()).kernel();
    assert_eq!(kernel.create_vm(), Err(Errno::ENOENT));
    let nested = Profile { kvm: Kvm::Available, ..Profile::pseries() };
    assert!(SimMachine::new(nested.clone()).kernel().create_vm().is_ok());
    assert!(nested.advertises_kvm_vfio_tables());
    let old = nested.with_kernel(KernelVersion::new(6, 12, 23));
    assert!(!old.advertises_kvm_vfio_tables(), "since 6.12.24");
    assert!(Profile::powernv9().advertises_kvm_vfio_tables());
    assert!(!Profile::pseries().advertises_kvm_vfio_tables());
}

#[test]
fn a_virtual_machine_has_one_link() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    assert_eq!(bench.kernel.create_kvm_vfio(guest.vm), Err(Errno::EBUSY));
    bench.kernel.close(guest.link.fd()).expect("it is open");
    assert!(bench.kernel.create_kvm_vfio(guest.vm).is_ok());
    assert_eq!(bench.kernel.kind(guest.vm.fd()), DescriptorKind::VirtualMachine);
}

#[test]
fn a_link_works_without_its_virtual_machines_descriptor() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    bench.kernel.close(guest.vm.fd()).expect("it is open");
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(bench.kernel.kind(guest.link.fd()), DescriptorKind::KvmVfio);
    bench.kernel.close(guest.link.fd()).expect("it is open");
    assert_eq!(bench.kernel.kind(guest.link.fd()), DescriptorKind::Closed);
}

#[test]
fn guest_tables_are_checked_charged_and_given_back() {
    let mut bench = Bench::new(Profile::powernv9().with_locked_limit(Bytes::mib(10)));
    let guest = Guest::new(&mut bench);
    let mut create = |call| bench.kernel.create_guest_table(guest.vm, call);
    let two_gib = table_at_zero(LIOBN, 12, 1 << 19);
    assert_eq!(create(table_at_zero(LIOBN, 12, 0)), Err(Errno::EINVAL));
    assert_eq!(create(table_at_zero(LIOBN, 11, 1)), Err(Errno::EINVAL));
    assert_eq!(create(table_at_zero(LIOBN, 35, 1)), Err(Errno::EINVAL));
    let far = GuestTableCall { offset: 1 << 52, ..two_gib };
    assert_eq!(create(far), Err(Errno::EINVAL));
    let table = create(two_gib).expect("it is a table");
    assert_eq!(create(two_gib), Err(Errno::EBUSY), "the name is taken");
    let larger = GuestTableCall { size: 1 << 20, ..two_gib };
    assert_eq!(create(larger), Err(Errno::ENOMEM), "the limit comes before the name");
    // 4 MiB of TCEs, their 1024 pointers and a header.
    assert_eq!(bench.locked_kib(), 4096 + 12, "failures leave no charge");
    bench.kernel.close(table.fd()).expect("it is open");
    assert_eq!(bench.locked_kib(), 0);
    assert!(bench.kernel.create_guest_table(guest.vm, two_gib).is_ok(), "the name is free");
}

#[test]
fn a_guest_table_whose_pointers_are_no_single_allocation_is_refused() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    let huge = table_at_zero(LIOBN, 12, 1 << 30);
    assert_eq!(bench.kernel.create_guest_table(guest.vm, huge), Err(Errno::ENOMEM));
    assert_eq!(bench.locked_kib(), 0);
}

#[test]
fn groups_are_added_once_and_only_groups_and_devices() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    let group = bench.group;
    let mut add = |fd: Fd| bench.kernel.add_group(guest.link, GroupFd::new(fd));
    assert_eq!(add(Fd::new(99)), failed(Errno::EBADF));
    assert_eq!(add(bench.container.fd()), failed(Errno::EINVAL));
    assert_eq!(add(guest.vm.fd()), failed(Errno::EINVAL));
    assert_eq!(add(group.fd()), OK);
    assert_eq!(add(group.fd()), failed(Errno::EEXIST));
    let mut delete = |fd: Fd| bench.kernel.delete_group(guest.link, GroupFd::new(fd));
    assert_eq!(delete(Fd::new(99)), failed(Errno::EBADF));
    assert_eq!(delete(bench.container.fd()), failed(Errno::ENOENT));
    assert_eq!(delete(group.fd()), OK);
    assert_eq!(delete(group.fd()), failed(Errno::ENOENT));
    assert_eq!(bench.kernel.add_group(guest.link, group), OK);
}

#[test]
fn a_link_that_never_had_a_lease_is_warned_of_when_it_ends() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(bench.machine.host_warnings(), []);
    assert_eq!(bench.kernel.delete_group(guest.link, bench.group), OK);
    let warnings = bench.machine.host_warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].what.starts_with("kvm_spapr_tce_release_vfio_group"));
}

#[test]
fn a_device_is_taken_and_has_no_group_to_lend() {
    let (mut bench, _) = bench_with_window("powernv9");
    let device = bench.kernel.open_device(bench.group, "0000:01:00.0").expect("it is there");
    let as_group = GroupFd::new(device.fd());
    let guest = Guest::new(&mut bench);
    assert_eq!(bench.kernel.add_group(guest.link, as_group), OK);
    let table = guest.table(&mut bench, table_at_zero(LIOBN, 12, 1 << 19));
    assert_eq!(guest.attach_of(&mut bench, as_group, table), failed(Errno::EIO));
    bench.kernel.close(device.fd()).expect("it is open");
    let held = bench.kernel.unset_container(bench.group);
    assert_eq!(held, failed(Errno::EBUSY), "the link holds the device's file");
    bench.kernel.close(guest.link.fd()).expect("it is open");
    assert_eq!(bench.kernel.unset_container(bench.group), OK);
    let mut old = Bench::new(Profile::powernv9().with_kernel(KernelVersion::new(6, 5, 0)));
    let device = old.kernel.open_device(old.group, "0000:01:00.0").expect("it is there");
    let guest = Guest::new(&mut old);
    let refused = old.kernel.add_group(guest.link, GroupFd::new(device.fd()));
    assert_eq!(refused, failed(Errno::EINVAL), "since 6.6");
}

#[test]
fn attaching_is_refused_in_the_kernels_order() {
    let (mut bench, _) = bench_with_window("powernv9");
    let guest = Guest::new(&mut bench);
    let other = Guest::new(&mut bench);
    let table = guest.table(&mut bench, table_at_zero(LIOBN, 12, 1 << 19));
    let strange = other.table(&mut bench, table_at_zero(LIOBN, 12, 1 << 19));
    let closed = GuestTableFd::new(Fd::new(99));
    let nothing = GroupFd::new(Fd::new(98));
    let (group, vm) = (bench.group, GuestTableFd::new(guest.vm.fd()));
    let attach = |bench: &mut Bench, group, table| guest.attach_of(bench, group, table);
    assert_eq!(attach(&mut bench, nothing, closed), failed(Errno::EBADF), "the group");
    assert_eq!(attach(&mut bench, group, closed), failed(Errno::ENOENT), "not added");
    assert_eq!(bench.kernel.add_group(guest.link, group), OK);
    assert_eq!(attach(&mut bench, group, closed), failed(Errno::EBADF), "the table");
    assert_eq!(attach(&mut bench, group, vm), failed(Errno::EINVAL), "no table");
    assert_eq!(attach(&mut bench, group, strange), failed(Errno::EINVAL), "another's table");
    assert_eq!(attach(&mut bench, group, table), OK);
    assert_eq!(attach(&mut bench, group, table), OK, "again");
}

#[test]
fn a_window_follows_a_table_of_its_place_with_no_smaller_page_and_no_larger_size() {
    // kernel-facts section 3: seen on 6.12.107, with a window of 64K pages.
    let mut bench = Bench::named("powernv9-64k");
    assert_eq!(bench.create(Bytes::gib(4), 16, 1).out.raw(), HIGH);
    let guest = Guest::new(&mut bench);
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    let mut liobn = LIOBN;
    let mut attach = |page_shift: u32, start: u64, bytes: u64| {
        liobn += 1;
        let (offset, size) = (start >> page_shift, bytes >> page_shift);
        let call = GuestTableCall { liobn, page_shift, offset, size };
        let table = guest.table(&mut bench, call);
        guest.attach(&mut bench, table)
    };
    assert_eq!(attach(16, HIGH, 4 << 30), OK, "equal");
    assert_eq!(attach(12, HIGH, 4 << 30), failed(Errno::EINVAL), "a smaller page");
    assert_eq!(attach(24, HIGH, 4 << 30), OK, "a larger page");
    assert_eq!(attach(16, HIGH, 8 << 30), failed(Errno::EINVAL), "a larger size");
    assert_eq!(attach(16, HIGH, 1 << 30), OK, "a smaller size");
    assert_eq!(attach(16, HIGH + (1 << 30), 1 << 30), failed(Errno::EINVAL), "another place");
    assert_eq!(attach(12, 0, 2 << 30), OK, "the default window, which CREATE made");
}

#[test]
fn a_group_without_windows_has_nothing_to_lend() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    let table = guest.table(&mut bench, table_at_zero(LIOBN, 12, 1 << 19));
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(guest.attach(&mut bench, table), failed(Errno::EINVAL), "it is still pending");
    assert_eq!(bench.machine.host_corruption(), None);
    let free = bench.kernel.open_group(bench.second_group()).expect("it is free");
    assert_eq!(bench.kernel.add_group(guest.link, free), OK);
    guest.attach_of(&mut bench, free, table);
    let corrupted = bench.machine.host_corruption().expect("the host's own window is leased");
    assert!(corrupted.what.contains("in no container"), "{}", corrupted.what);
}

#[test]
fn calls_of_kvm_on_other_descriptors_are_unknown() {
    let mut bench = Bench::named("powernv9");
    let guest = Guest::new(&mut bench);
    let call = table_at_zero(LIOBN, 12, 16);
    for fd in [bench.container.fd(), bench.group.fd(), guest.link.fd()] {
        let vm = VmFd::new(fd);
        assert_eq!(bench.kernel.create_kvm_vfio(vm), Err(Errno::ENOTTY));
        assert_eq!(bench.kernel.create_guest_table(vm, call), Err(Errno::ENOTTY));
        let set = bench.machine.set_guest_memory(vm, GuestAddress::new(0), memory());
        assert_eq!(refusal(set), Some(Errno::ENOTTY));
    }
    let vm = KvmVfioFd::new(guest.vm.fd());
    assert_eq!(bench.kernel.add_group(vm, bench.group), failed(Errno::ENOTTY));
    let closed = KvmVfioFd::new(Fd::new(99));
    assert_eq!(bench.kernel.delete_group(closed, bench.group), failed(Errno::EBADF));
    let container = tce_engine::kernel::ContainerFd::new(guest.vm.fd());
    assert_eq!(bench.kernel.remove(container, Iova::new(0)), failed(Errno::ENOTTY));
    assert_eq!(bench.kernel.set_container(bench.group, container), failed(Errno::EINVAL));
    assert_ne!(bench.kernel.info(container).raw, Raw::OK);
}

fn memory() -> tce_engine::kernel::MemoryRange {
    let mut bench = Bench::named("powernv9");
    bench.allocated(Bytes::kib(64), Backing::Anonymous)
}
