//! Failures that a test orders.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{Kernel, Raw},
    machine::{Backing, Machine, MachineError, MemoryRequest},
};
use tce_sim::{Fault, Operation};

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
