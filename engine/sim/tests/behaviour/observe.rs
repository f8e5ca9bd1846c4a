//! What a test may look at, and memory at chosen addresses.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{MemoryRange, Raw},
    machine::{Backing, Machine, MachineError},
};
use tce_sim::{MappedRun, Profile, TceAccess};

use crate::bench::{Bench, HIGH, OK, READ_WRITE, failed, part};

/// Every run of a container, up to 100.
fn runs(bench: &Bench, start: u64, size: u64) -> Vec<(u64, u64, u64)> {
    let size = Bytes::new(size);
    let runs = bench.machine.mapped_runs(bench.container, Iova::new(start), size, 100);
    let numbers =
        |run: MappedRun| (run.iova.raw(), run.memory.address.raw(), run.memory.size.raw());
    runs.into_iter().map(numbers).collect()
}

#[test]
fn runs_are_as_long_as_both_address_spaces_allow() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let at = memory.address.raw();
    assert_eq!(bench.map(0x1000, part(memory, 0, 0x4000)), OK);
    assert_eq!(bench.map(0x5000, part(memory, 0x4000, 0x1000)), OK, "it goes on");
    assert_eq!(bench.map(0x6000, part(memory, 0, 0x1000)), OK, "elsewhere in memory");
    assert_eq!(bench.map_flags(1, 0x7000, part(memory, 0x1000, 0x1000)), OK, "another access");
    assert_eq!(bench.map(0x9000, part(memory, 0x3000, 0x1000)), OK, "a hole");
    let all = [
        (0x1000, at, 0x5000),
        (0x6000, at, 0x1000),
        (0x7000, at + 0x1000, 0x1000),
        (0x9000, at + 0x3000, 0x1000),
    ];
    assert_eq!(runs(&bench, 0, u64::MAX), all);
    assert_eq!(runs(&bench, 0x2fff, 0x2002), [(0x2000, at + 0x1000, 0x4000)], "touched pages");
    assert_eq!(runs(&bench, 0x8000, 0x1000), []);
    assert_eq!(runs(&bench, 0x1000, 0), []);
    let size = Bytes::gib(1);
    let first = bench.machine.mapped_runs(bench.container, Iova::new(0), size, 1);
    assert_eq!((first.len(), first[0].access), (1, TceAccess::ReadWrite));
    assert_eq!(first[0].page_shift, PageShift::K4);
}

#[test]
fn runs_of_all_windows_come_in_ascending_order() {
    // In a partition the first slot may hold the high window.
    let mut bench = Bench::named("pseries");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(4), 16, 1).out.raw(), HIGH);
    let memory = bench.registered(Bytes::mib(2), Backing::Hugetlb(PageShift::M2));
    assert_eq!(bench.map(HIGH + 0x1_0000, part(memory, 0, 0x2_0000)), OK);
    assert_eq!(runs(&bench, 0, u64::MAX), [(HIGH + 0x1_0000, memory.address.raw(), 0x2_0000)]);
    let mut bench = Bench::named("powernv9");
    let memory = bench.registered(Bytes::mib(2), Backing::Anonymous);
    assert_eq!(bench.create(Bytes::gib(4), 12, 1).out.raw(), HIGH);
    assert_eq!(bench.map(HIGH, part(memory, 0, 0x1000)), OK);
    assert_eq!(bench.map(0, part(memory, 0, 0x1000)), OK);
    let starts: Vec<u64> = runs(&bench, 0, u64::MAX).iter().map(|run| run.0).collect();
    assert_eq!(starts, [0, HIGH]);
}

#[test]
fn tces_into_a_piece_of_memory_are_counted_per_container() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.machine.mapped_of(bench.container, memory), 0);
    assert_eq!(bench.map(0, part(memory, 0, 0x8000)), OK);
    assert_eq!(bench.map(0x10_0000, part(memory, 0x4000, 0x8000)), OK);
    let count = |offset, size| bench.machine.mapped_of(bench.container, part(memory, offset, size));
    assert_eq!(bench.machine.mapped_of(bench.container, memory), 16);
    assert_eq!((count(0, 0x4000), count(0x4000, 0x4000), count(0xc000, 0x1000)), (4, 8, 0));
    let other = tce_engine::kernel::ContainerFd::new(bench.group.fd());
    assert_eq!(bench.machine.mapped_of(other, memory), 0, "no container");
}

#[test]
fn memory_is_placed_where_a_recorded_program_had_it() {
    let mut bench = Bench::named("powernv9");
    let at = HostAddr::new(0x1_0000_0000);
    let huge = Backing::Hugetlb(PageShift::M2);
    let free = bench.machine.free_huge_pages(PageShift::M2);
    let placed = bench.machine.place(at, Bytes::mib(4), huge).expect("nothing is there");
    assert_eq!(placed, MemoryRange { address: at, size: Bytes::mib(4) });
    let mut refusal = |address: u64, size, backing| match bench.machine.place(
        HostAddr::new(address),
        size,
        backing,
    ) {
        Err(MachineError::NoMemory { errno, .. }) => errno,
        other => panic!("{other:?}"),
    };
    let page = Bytes::kib(4);
    assert_eq!(refusal(at.raw() + 0x1000, page, Backing::Anonymous), Errno::EEXIST);
    assert_eq!(refusal(at.raw() - 0x1000, Bytes::kib(8), Backing::Memfd), Errno::EEXIST);
    assert_eq!(refusal(0x2_0000_0800, page, Backing::Anonymous), Errno::EINVAL);
    assert_eq!(refusal(0x2_0010_0000, Bytes::mib(2), huge), Errno::EINVAL);
    assert_eq!(refusal((1 << 47) - 0x1000, Bytes::kib(8), Backing::Anonymous), Errno::ENOMEM);
    assert_eq!((bench.register(placed), bench.machine.regions()[0].page_shift), (OK, 21));
    assert_eq!(bench.machine.free_huge_pages(PageShift::M2), free, "not the machine's own");
    assert_eq!(bench.unregister(placed), OK);
    bench.machine.free(placed).expect("it is ours");
    assert_eq!(bench.machine.free_huge_pages(PageShift::M2), free);
}

#[test]
fn allocations_go_round_placed_memory() {
    let mut bench = Bench::named("powernv9");
    let probe = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let next = HostAddr::new(probe.address.raw() + (4 << 20));
    bench.machine.place(next, Bytes::mib(64), Backing::Anonymous).expect("nothing is there");
    let after = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    assert!(after.address.raw() >= next.raw() + (64 << 20), "{after:?}");
    assert_eq!(bench.register(part(next_range(next), 0, 64 << 20)), OK);
}

const fn next_range(address: HostAddr) -> MemoryRange {
    MemoryRange { address, size: Bytes::mib(64) }
}

#[test]
fn a_spoiled_partition_is_told() {
    let mut bench = Bench::named("pseries");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(4), 21, 1).raw, OK);
    assert!(!bench.machine.partition_spoiled());
    assert_eq!(bench.create(Bytes::gib(4), 21, 1).raw, failed(Errno::ENODEV));
    assert!(bench.machine.partition_spoiled());
    let mut host = Bench::named("powernv9");
    assert_eq!(host.create(Bytes::gib(1), 12, 5).raw, failed(Errno::EINVAL));
    assert!(!host.machine.partition_spoiled());
}

#[test]
fn a_page_of_16_gib_has_no_multiples() {
    // IOMMU_PAGE_MASK is an int: 1 << 34 is 0 in it.
    let sizes = Profile::pseries().page_sizes | 1 << 34;
    let mut bench = Bench::new(Profile { page_sizes: sizes, ..Profile::pseries() });
    let memory = bench.registered(Bytes::mib(2), Backing::Hugetlb(PageShift::M2));
    assert_eq!(bench.create(Bytes::gib(64), 34, 1).out.raw(), HIGH);
    let sixteen = MemoryRange { address: HostAddr::new(0), size: Bytes::new(16 << 30) };
    assert_eq!(bench.map(HIGH, sixteen), failed(Errno::EINVAL));
    assert_eq!(bench.unmap(HIGH, sixteen.size), failed(Errno::EINVAL));
    assert_eq!(bench.map_flags(READ_WRITE, HIGH, part(memory, 0, 0)), failed(Errno::EINVAL));
    assert_eq!(bench.unmap(HIGH, Bytes::ZERO), Raw::OK);
}
