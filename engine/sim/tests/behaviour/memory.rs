//! `VFIO_IOMMU_SPAPR_REGISTER_MEMORY` and `UNREGISTER_MEMORY`.

use tce_engine::{
    addr::{Bytes, HostAddr, PageShift},
    errno::Errno,
    kernel::{Extension, Kernel, MemoryRange, Raw},
    machine::{Backing, Machine, MemoryRequest},
};
use tce_sim::{Profile, Protection};

use crate::bench::{Bench, OK, failed, part};

#[test]
fn register_tests_come_in_the_kernels_order() {
    let mut bench = Bench::new(Profile::powernv9().with_locked_limit(Bytes::mib(8)));
    let memory = bench.allocated(Bytes::mib(16), Backing::Anonymous);
    let small = part(memory, 0, 1 << 20);
    let wrapping = MemoryRange { address: HostAddr::new(u64::MAX - 0xfff), size: Bytes::kib(8) };
    assert_eq!(bench.register(part(memory, 8, 1 << 30)), failed(Errno::EINVAL), "address");
    assert_eq!(bench.register(part(memory, 0, 100)), failed(Errno::EINVAL), "size");
    assert_eq!(bench.register(wrapping), failed(Errno::EINVAL), "wrap");
    assert_eq!(bench.register(small), OK);
    assert_eq!(bench.register(small), failed(Errno::EBUSY), "this container has it");
    assert_eq!(bench.register(memory), failed(Errno::ENOMEM), "limit before overlap");
    assert_eq!(bench.register(part(memory, 0, 0)), failed(Errno::ENOMEM), "nothing");
    let unmapped = part(memory, 1 << 40, 1 << 20);
    assert_eq!(bench.register(unmapped), failed(Errno::EFAULT), "nothing is there");
    let overlapping = part(memory, 0, 2 << 20);
    assert_eq!(bench.register(overlapping), failed(Errno::EINVAL), "overlap");
    assert_eq!(bench.locked_kib(), 1024, "failures leave no charge");
}

#[test]
fn unregister_wants_the_exact_pair() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::mib(4), Backing::Memfd);
    assert_eq!(bench.unregister(memory), failed(Errno::EPERM), "no address space is bound");
    assert_eq!(bench.register(memory), OK);
    assert_eq!(bench.unregister(part(memory, 1, 4096)), failed(Errno::EINVAL));
    assert_eq!(bench.unregister(part(memory, 0, 1 << 20)), failed(Errno::ENOENT));
    assert_eq!(bench.unregister(memory), OK);
    assert_eq!(bench.unregister(memory), failed(Errno::ENOENT));
    assert_eq!(bench.locked_kib(), 0);
}

#[test]
fn a_region_takes_pages_as_large_as_alignment_and_backing_allow() {
    let shift = |name: &str, backing, size| {
        let mut bench = Bench::named(name);
        bench.registered(size, backing);
        bench.machine.regions()[0].page_shift
    };
    let (m2, g1) = (Backing::Hugetlb(PageShift::M2), Backing::Hugetlb(PageShift::G1));
    assert_eq!(shift("powernv9", Backing::Anonymous, Bytes::mib(2)), 12);
    assert_eq!(shift("powernv9-64k", Backing::Memfd, Bytes::mib(2)), 16);
    assert_eq!(shift("powernv9", m2, Bytes::mib(4)), 21);
    assert_eq!(shift("powernv9-64k", m2, Bytes::mib(2)), 21);
    assert_eq!(shift("powernv9", g1, Bytes::gib(1)), 30);
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::gib(1), g1);
    assert_eq!(bench.register(part(memory, 0x1_0000, 0x3_0000)), OK);
    assert_eq!(bench.machine.regions()[0].page_shift, 16, "alignment counts");
}

#[test]
fn containers_of_a_process_share_a_region_and_its_charge() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let first = bench.container;
    let other = bench.kernel.open_container().expect("containers are free");
    let group = bench.kernel.open_group(bench.second_group()).expect("it is free");
    assert_eq!(bench.kernel.set_container(group, other), OK);
    assert_eq!(bench.kernel.set_iommu(other, Extension::SpaprTceV2), OK);
    bench.container = other;
    assert_eq!(bench.unregister(memory), failed(Errno::EPERM));
    assert_eq!(bench.register(part(memory, 0, 4096)), failed(Errno::EINVAL));
    assert_eq!(bench.unregister(memory), failed(Errno::ENOENT), "another container's");
    assert_eq!(bench.register(memory), OK);
    assert_eq!(bench.locked_kib(), 16 << 10);
    assert_eq!(bench.machine.regions()[0].owners, 2);
    bench.container = first;
    assert_eq!(bench.unregister(memory), OK);
    assert_eq!(bench.locked_kib(), 16 << 10);
    bench.container = other;
    assert_eq!(bench.unregister(memory), OK);
    assert_eq!(bench.locked_kib(), 0);
}

#[test]
fn unregistering_mapped_memory_says_yes_and_leaks_it() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let page = part(memory, 0, 4096);
    assert_eq!(bench.map(0, page), OK);
    assert_eq!(bench.unregister(memory), OK);
    let region = bench.machine.regions()[0];
    assert!(region.has_leaked());
    assert_eq!((region.users, region.owners, region.mapped), (1, 0, 1));
    assert_eq!(bench.locked_kib(), (16 << 10) + 8192, "still charged");
    assert_eq!(bench.map(0x1000, page), OK, "still mappable");
    assert_eq!(bench.unregister(memory), failed(Errno::ENOENT), "it has no owner");
    assert_eq!(bench.register(part(memory, 0, 1 << 20)), failed(Errno::EINVAL));
    assert_eq!(bench.unmap(0, Bytes::kib(8)), OK);
    assert_eq!((bench.register(memory), bench.unregister(memory)), (OK, OK));
    assert!(bench.machine.regions()[0].has_leaked(), "it can never be freed");
    bench.kernel.close(bench.group.fd()).expect("it is open");
    bench.kernel.close(bench.container.fd()).expect("it is open");
    assert_eq!(bench.locked_kib(), 16 << 10, "not even by closing");
}

#[test]
fn pinned_huge_pages_come_back_only_when_the_pin_goes() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.registered(Bytes::mib(8), Backing::Hugetlb(PageShift::M2));
    let free = bench.machine.free_huge_pages(PageShift::M2);
    bench.machine.free(memory).expect("it is ours");
    assert_eq!(bench.machine.free_huge_pages(PageShift::M2), free);
    assert_eq!(bench.map(0, memory), OK, "the pages are there without the process");
    assert_eq!(bench.unmap(0, memory.size), OK);
    assert_eq!(bench.unregister(memory), OK);
    assert_eq!(bench.machine.free_huge_pages(PageShift::M2), free + 4);
    assert_eq!(bench.register(memory), failed(Errno::EFAULT));
}

#[test]
fn memory_that_ends_too_early_answers_with_the_pages_that_were_there() {
    // Seen on 6.12.107: 4096 for 16 MiB of 4K pages, 1024 for 64 MiB of 64K pages.
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::mib(64), Backing::Anonymous);
    let across = part(memory, 48 << 20, 32 << 20);
    assert_eq!(bench.register(across), Raw::Returned(4096));
    assert_eq!(bench.locked_kib(), 0);
    assert_eq!(bench.machine.regions(), []);
    assert_eq!(bench.map(0, memory), failed(Errno::EPERM), "nothing was registered");
    // The pin goes by chunks of 2 Mi pages; a hole at the start of one is EFAULT again.
    let large = bench.allocated(Bytes::gib(8), Backing::Anonymous);
    assert_eq!(bench.register(part(large, 0, 9 << 30)), failed(Errno::EFAULT));
}

#[test]
fn memory_that_cannot_be_written_cannot_be_registered() {
    let mut bench = Bench::named("powernv9");
    let readable = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let request =
        MemoryRequest { size: Bytes::mib(2), backing: Backing::Memfd, align: PageShift::K4 };
    let behind = bench.machine.allocate_behind(&request).expect("there is room");
    let both = MemoryRange { size: Bytes::mib(4), ..readable };
    for protection in [Protection::ReadOnly, Protection::TrackedFile] {
        bench.machine.protect(behind, protection).expect("it is ours");
        assert_eq!(bench.register(behind), failed(Errno::EFAULT));
        assert_eq!(bench.register(both), Raw::Returned(512), "as far as it goes");
        assert_eq!((bench.locked_kib(), bench.machine.regions()), (0, Vec::new()));
    }
    bench.machine.write_memory(behind.address, b"x").expect("a tracked file can be written");
    bench.machine.protect(behind, Protection::ReadOnly).expect("it is ours");
    assert!(bench.machine.write_memory(behind.address, b"x").is_err());
    assert!(bench.machine.read_memory(behind.address, &mut [0]).is_ok());
    bench.machine.protect(behind, Protection::ReadWrite).expect("it is ours");
    assert_eq!(bench.register(both), OK);
    bench.machine.protect(behind, Protection::ReadOnly).expect("it is ours");
    assert_eq!(bench.map(0, both), OK, "what is pinned stays so");
    assert!(bench.machine.protect(both, Protection::ReadOnly).is_err(), "no single piece");
}

#[test]
fn a_hole_behind_huge_pages_answers_with_their_system_pages() {
    let mut bench = Bench::named("powernv9");
    let huge = bench.allocated(Bytes::mib(4), Backing::Hugetlb(PageShift::M2));
    let past = MemoryRange { size: Bytes::mib(6), ..huge };
    assert_eq!(bench.register(past), Raw::Returned(1024));
    let inside = part(huge, 0x1000, 0x3000);
    assert_eq!((bench.register(inside), bench.machine.regions()[0].page_shift), (OK, 12));
}

#[test]
fn small_pages_before_huge_ones_keep_a_region_small() {
    let mut bench = Bench::named("powernv9");
    let small = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let request = MemoryRequest {
        size: Bytes::mib(2),
        backing: Backing::Hugetlb(PageShift::M2),
        align: PageShift::M2,
    };
    bench.machine.allocate_behind(&request).expect("there is room");
    assert_eq!(bench.register(MemoryRange { size: Bytes::mib(4), ..small }), OK);
    assert_eq!(bench.machine.regions()[0].page_shift, 12);
}
