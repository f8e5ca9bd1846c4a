//! What is different inside a logical partition.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{EehOperation, Extension, GroupNumber, Kernel, Raw},
    machine::Backing,
};
use tce_sim::{
    Profile,
    profile::{DeviceProfile, KernelVersion},
};

use crate::bench::{Bench, HIGH, OK, failed};

fn two_groups() -> Bench {
    let second = DeviceProfile::edu("0001:00:00.0");
    Bench::new(Profile::pseries().with_device(GroupNumber(1), second))
}

#[test]
fn the_default_window_costs_its_mirror() {
    let (mut bench, memory) = Bench::with_memory("pseries");
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.locked_kib(), (16 << 10) + 2048);
    let window = bench.machine.windows(bench.container)[0];
    assert_eq!((window.size, window.start.raw()), (Bytes::gib(1), 0));
}

#[test]
fn a_large_window_of_huge_pages_comes_beside_it() {
    let mut bench = Bench::named("pseries");
    let memory = bench.registered(Bytes::mib(64), Backing::Hugetlb(PageShift::M2));
    let reply = bench.create(Bytes::gib(64), 21, 1);
    assert_eq!((reply.raw, reply.out.raw()), (OK, HIGH));
    assert_eq!(bench.map(HIGH + (63 << 30), memory), OK);
    assert_eq!(bench.machine.live_tces(), 32);
    assert_eq!(bench.machine.windows(bench.container)[1].size, Bytes::gib(64), "not rounded");
}

#[test]
fn more_than_one_level_costs_four_gigabytes_for_good() {
    let mut bench = Bench::named("pseries");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(4), 16, 2).raw, failed(Errno::EINVAL));
    assert_eq!(bench.locked_kib(), (4 << 20) - 4);
    let reply = bench.create(Bytes::gib(4), 16, 0);
    assert_eq!(reply.raw, OK, "no level is as good as one");
    assert_eq!(reply.out.raw(), HIGH, "a dynamic window is high in any slot");
    let limited = Profile::pseries().with_locked_limit(Bytes::gib(1));
    let mut bench = Bench::new(limited.with_kernel(KernelVersion::new(7, 2, 12)));
    assert_eq!(bench.create(Bytes::gib(4), 16, 2).raw, failed(Errno::ENOMEM));
}

#[test]
fn a_second_group_is_let_in_and_then_nothing_works() {
    let mut bench = two_groups();
    let (_, joined) = bench.join(GroupNumber(1));
    assert_eq!(joined, OK);
    let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.map(0, memory), failed(Errno::EPERM));
    assert_eq!(bench.create(Bytes::gib(4), 16, 1).raw, failed(Errno::EPERM));
    assert_eq!(bench.locked_kib(), 1024, "this failure gives its charge back");
}

#[test]
fn a_second_group_is_not_let_into_a_window() {
    let mut bench = two_groups();
    let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.map(0, memory), OK);
    let (_, joined) = bench.join(GroupNumber(1));
    assert_eq!(joined, failed(Errno::EPERM));
    assert_eq!(bench.mapped(memory), 256, "and the window is as it was");
}

#[test]
fn the_default_window_does_not_come_back_beside_a_dynamic_one() {
    let mut bench = Bench::named("pseries");
    assert_eq!(bench.create(Bytes::gib(64), 21, 1).raw, OK);
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(1), 12, 1).raw, failed(Errno::EPERM));
    assert_eq!(bench.create(Bytes::gib(2), 16, 1).raw, failed(Errno::EPERM));
    assert_eq!(bench.remove(HIGH), OK);
    assert_eq!(bench.create(Bytes::gib(1), 12, 1).out.raw(), 0);
}

#[test]
fn too_large_a_window_leaks_its_charge_and_may_be_tried_smaller() {
    let mut bench = Bench::new(Profile { largest_window_tces: 1 << 20, ..Profile::pseries() });
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(128), 16, 1).raw, failed(Errno::EINVAL));
    assert_eq!(bench.locked_kib(), 16 << 10);
    assert_eq!(bench.create(Bytes::gib(64), 16, 1).raw, OK);
}

#[test]
fn there_is_no_error_handling() {
    let mut bench = Bench::named("pseries");
    let answer = bench.kernel.check_extension(bench.container, Extension::Eeh);
    assert_eq!(answer, Raw::Returned(0));
    let state = bench.kernel.eeh(bench.container, EehOperation::GetState);
    assert_eq!(state, failed(Errno::ENODEV));
}

#[test]
fn a_second_dynamic_window_ends_all_windows_of_the_pe() {
    // Seen on 6.12.107 under QEMU: the firmware says no, and Linux never asks again.
    let (mut bench, memory) = Bench::with_memory("pseries");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(4), 21, 1).out.raw(), HIGH);
    assert_eq!(bench.create(Bytes::gib(4), 21, 1).raw, failed(Errno::ENODEV));
    assert_eq!(bench.remove(HIGH), OK);
    assert_eq!(bench.create(Bytes::gib(1), 12, 1).raw, failed(Errno::ENODEV));
    let leaked = 16 + 2048;
    assert_eq!(bench.locked_kib(), (16 << 10) + leaked);
    assert_eq!(bench.kernel.unset_container(bench.group), OK);
    assert_eq!(bench.kernel.set_container(bench.group, bench.container), OK);
    assert_eq!(bench.kernel.set_iommu(bench.container, Extension::SpaprTceV2), OK);
    assert_eq!(bench.register(memory), OK);
    assert_eq!(bench.map(0, memory), failed(Errno::ENODEV), "a fresh backend does not help");
    assert_eq!(bench.unmap(0, memory.size), failed(Errno::ENODEV));
    assert_eq!(bench.locked_kib(), (16 << 10) + leaked + 2 * 2048, "and each try costs");
}

#[test]
fn a_default_window_below_a_page_is_made_and_holds_nothing() {
    let mut bench = Bench::named("pseries");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::new(2048), 12, 1).out.raw(), 0);
    assert_eq!(bench.remove(0), failed(Errno::EINVAL), "it can't be named");
    assert_eq!(bench.create(Bytes::gib(1), 12, 1).out.raw(), HIGH);
}
