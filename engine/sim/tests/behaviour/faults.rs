//! Failures that a test orders.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{Kernel, Raw},
    machine::{Backing, Machine, MachineError, MemoryRequest},
};
use tce_sim::{Fault, LevelOf, Operation};

use crate::bench::{Bench, OK, failed, part};

#[test]
fn an_errno_comes_before_the_work() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    bench.machine.fail_next(Operation::Map, Fault::Errno(Errno::ENOMEM));
    bench.machine.fail_nth(Operation::Map, 3, Fault::Value(7));
    assert_eq!(bench.map(0, memory), failed(Errno::ENOMEM));
    assert_eq!(bench.machine.live_tces(), 0);
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.map(0, memory), Raw::Returned(7));
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!((bench.machine.calls(Operation::Map), bench.machine.faults_waiting()), (4, 0));
}

#[test]
fn a_map_fails_half_way_and_is_rolled_back_to_empty() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.map(0, part(memory, 0, 0x8000)), OK);
    bench.machine.fail_next(Operation::Map, Fault::AfterTces { count: 3, errno: Errno::ENOMEM });
    assert_eq!(bench.map(0, part(memory, 0x8000, 0x8000)), failed(Errno::ENOMEM));
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (5, 5));
    assert_eq!(bench.tce(0x3000), Some(part(memory, 0x3000, 0).address), "the rest is older");
}

#[test]
fn a_map_stops_half_way_and_calls_it_success() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    bench.machine.fail_next(Operation::Map, Fault::SilentAfterTces { count: 3 });
    assert_eq!(bench.map(0, part(memory, 0, 0x8000)), OK);
    assert_eq!(bench.machine.live_tces(), 3);
}

#[test]
fn a_failure_of_its_own_comes_before_an_ordered_one_behind_it() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    bench.machine.fail_next(Operation::Map, Fault::AfterTces { count: 9, errno: Errno::ENOMEM });
    let beyond = part(memory, (16 << 20) - 0x2000, 0x10000);
    assert_eq!(bench.map(0, beyond), failed(Errno::EINVAL));
    assert_eq!(bench.machine.faults_waiting(), 0);
}

#[test]
fn every_kind_of_call_can_fail() {
    let mut bench = Bench::named("powernv9");
    let fault = Fault::Errno(Errno::EIO);
    bench.machine.fail_next(Operation::OpenContainer, fault);
    assert_eq!(bench.kernel.open_container(), Err(Errno::EIO));
    bench.machine.fail_next(Operation::Create, fault);
    assert_eq!(bench.create(Bytes::gib(1), 12, 1).raw, failed(Errno::EIO));
    bench.machine.fail_next(Operation::Close, fault);
    assert_eq!(bench.kernel.close(bench.group.fd()), Err(Errno::EIO));
    bench.machine.fail_next(Operation::Allocate, Fault::Errno(Errno::ENOMEM));
    let request =
        MemoryRequest { size: Bytes::kib(4), backing: Backing::Memfd, align: PageShift::K4 };
    let refused = bench.machine.allocate(&request);
    assert_eq!(refused, Err(MachineError::NoMemory { request, errno: Errno::ENOMEM }));
}

#[test]
fn memory_that_is_not_ours_is_refused() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let last = part(memory, (2 << 20) - 1, 0).address;
    assert!(bench.machine.write_memory(last, b"x").is_ok());
    assert!(bench.machine.write_memory(last, b"xy").is_err());
    assert!(bench.machine.free(part(memory, 0, 4096)).is_err());
    assert!(bench.machine.free(memory).is_ok());
    assert!(bench.machine.read_memory(memory.address, &mut [0]).is_err());
}

#[test]
fn a_refused_exchange_counts_the_wrong_region() {
    // H_PUT_TCE answers H_PARAMETER for the third page, which reads as EINTR.
    let mut bench = Bench::named("pseries");
    let old = bench.registered(Bytes::mib(1), Backing::Anonymous);
    let new = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.map(0, part(old, 0, 0x5000)), OK);
    let fault = Fault::ExchangeFails { count: 2, errno: Errno::EINTR };
    bench.machine.fail_next(Operation::Map, fault);
    assert_eq!(bench.map(0, part(new, 0, 0x4000)), failed(Errno::EINTR));
    let left: Vec<u64> = (0..5).filter(|page| bench.tce(page << 12).is_some()).collect();
    assert_eq!(left, [2, 3, 4], "rolled back to empty, the refused one as it was");
    assert_eq!((bench.mapped(old), bench.mapped(new)), (2, 1), "three point into the old one");
    // So the old memory can go while a TCE points to it, and the new one cannot.
    assert_eq!(bench.unmap(0x3000, Bytes::kib(8)), OK);
    assert_eq!((bench.unregister(old), bench.unregister(new)), (OK, OK));
    let regions = bench.machine.regions();
    assert_eq!((regions.len(), regions[0].range), (1, new));
    assert_eq!(bench.tce(0x2000), Some(part(old, 0x2000, 0).address));
    let mut lab = crate::dma::Lab::on(bench);
    lab.transfer(crate::dma::TO_DEVICE, 0x2000, 8);
    let corrupted = lab.bench.machine.host_corruption().expect("the page may be anybody's");
    assert!(corrupted.what.contains("no longer pinned"), "{}", corrupted.what);
}

#[test]
fn a_forgotten_tce_is_cleared_without_counting_anything() {
    let (mut bench, memory) = Bench::with_memory("pseries");
    assert_eq!(bench.map(0, part(memory, 0, 0x1000)), OK);
    let fault = Fault::ExchangeFails { count: 0, errno: Errno::EINTR };
    bench.machine.fail_next(Operation::Map, fault);
    assert_eq!(bench.map(0, part(memory, 0x8000, 0x1000)), failed(Errno::EINTR));
    assert_eq!((bench.mapped(memory), bench.machine.live_tces()), (1, 1), "+1 and -1");
    assert_eq!(bench.unmap(0, Bytes::kib(4)), OK);
    assert_eq!((bench.mapped(memory), bench.machine.live_tces()), (1, 0));
    assert_eq!(bench.unregister(memory), OK);
    assert!(bench.machine.regions()[0].has_leaked());
}

#[test]
fn a_level_that_cannot_be_had_fails_the_map_that_needs_it() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.remove(0), OK);
    // Levels of 2^13 TCEs: 32 MiB of 4K pages each.
    assert_eq!(bench.create(Bytes::gib(256), 12, 2).raw, OK);
    assert_eq!(bench.map(0, part(memory, 0, 0x2000)), OK);
    let fault = Fault::NoMemoryForLevel(LevelOf::Table);
    bench.machine.fail_next(Operation::Map, fault);
    assert_eq!(bench.map(0x8000, part(memory, 0, 0x1000)), OK, "the level is there");
    bench.machine.fail_next(Operation::Map, fault);
    let across = (32 << 20) - 0x2000;
    assert_eq!(bench.map(across, part(memory, 0, 0x4000)), failed(Errno::ENOMEM));
    assert_eq!(bench.machine.live_tces(), 3, "rolled back");
    assert_eq!(bench.mapped(memory), 4, "one too many");
    assert_eq!(bench.map(across, part(memory, 0, 0x4000)), OK, "the next time there is memory");
    assert_eq!(bench.machine.faults_waiting(), 0);
}

#[test]
fn a_table_of_one_level_has_all_it_needs() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    for of in [LevelOf::Table, LevelOf::Record] {
        bench.machine.fail_next(Operation::Map, Fault::NoMemoryForLevel(of));
        assert_eq!(bench.map(0, memory), OK);
    }
    assert_eq!((bench.mapped(memory), bench.machine.host_corruption()), (4096, None));
}

#[test]
fn a_level_of_the_record_that_cannot_be_had_breaks_the_kernel() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(256), 12, 2).raw, OK);
    let fault = Fault::NoMemoryForLevel(LevelOf::Record);
    bench.machine.fail_next(Operation::Map, fault);
    bench.map(0, memory);
    let corrupted = bench.machine.host_corruption().expect("it writes through a null pointer");
    assert!(corrupted.what.contains("tce_iommu_build_v2"), "{}", corrupted.what);
}

#[test]
fn calls_of_kvm_and_events_can_fail_as_well() {
    let mut bench = Bench::named("powernv9");
    let fault = Fault::Errno(Errno::EIO);
    bench.machine.fail_next(Operation::OpenEvent, fault);
    assert_eq!(bench.kernel.open_event(), Err(Errno::EIO));
    bench.machine.fail_next(Operation::CreateVm, fault);
    assert_eq!(bench.kernel.create_vm(), Err(Errno::EIO));
    let vm = bench.kernel.create_vm().expect("the next works");
    bench.machine.fail_next(Operation::CreateKvmVfio, fault);
    assert_eq!(bench.kernel.create_kvm_vfio(vm), Err(Errno::EIO));
    let link = bench.kernel.create_kvm_vfio(vm).expect("the next works");
    bench.machine.fail_next(Operation::AddGroup, fault);
    assert_eq!(bench.kernel.add_group(link, bench.group), failed(Errno::EIO));
    assert_eq!(bench.machine.calls(Operation::CreateVm), 2);
}
