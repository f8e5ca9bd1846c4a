//! `VFIO_IOMMU_MAP_DMA`.

use tce_engine::{addr::Bytes, errno::Errno, kernel::Kernel, machine::Backing};
use tce_sim::{
    Profile, TceAccess,
    profile::{EmptyMap, KernelVersion},
};

use crate::bench::{Bench, HIGH, OK, ONE, READ_WRITE, failed, part};

#[test]
fn without_any_registration_it_is_refused_first_of_all() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::kib(4), Backing::Anonymous);
    assert_eq!(bench.map_flags(8, 0, memory), failed(Errno::EPERM));
    assert_eq!(bench.locked_kib(), 0, "no default window was made");
}

#[test]
fn tests_come_in_the_kernels_order() {
    let (mut bench, memory) = Bench::with_memory("powernv9-64k");
    let page = part(memory, 0, 0x1_0000);
    // Each call breaks its own rule and all that come later.
    let crooked = part(memory, 0x10, 0x11);
    assert_eq!(bench.map_flags(4, 1, crooked), failed(Errno::EINVAL), "flags");
    assert_eq!(bench.locked_kib(), 16 << 10, "and no default window yet");
    assert_eq!(bench.map_flags(0, 0x8000_0001, crooked), failed(Errno::ENXIO), "no window");
    assert_eq!(bench.locked_kib(), (16 << 10) + 8192, "but the default one was made");
    assert_eq!(bench.map_flags(0, 1, crooked), failed(Errno::EINVAL), "alignment");
    assert_eq!(bench.map_flags(READ_WRITE, 1, part(memory, 0, 0x11)), failed(Errno::EINVAL));
    assert_eq!(bench.map_flags(READ_WRITE, 1, part(memory, 1, 0x1000)), failed(Errno::EINVAL));
    assert_eq!(bench.map_flags(0, 1, page), failed(Errno::EINVAL), "neither read nor write");
    assert_eq!(bench.map_flags(READ_WRITE, 1, part(memory, 1 << 40, 0x1000)), ONE, "iova");
    let outside = part(memory, 1 << 40, 0x1000);
    assert_eq!(bench.map_flags(READ_WRITE, 0, outside), failed(Errno::EINVAL), "no region");
    assert_eq!(bench.map_flags(READ_WRITE, 0, page), OK);
    assert_eq!(bench.machine.host_corruption(), None);
}

#[test]
fn a_failing_default_window_is_its_failure() {
    let profile = Profile::powernv9().with_locked_limit(Bytes::mib(16));
    let mut bench = Bench::new(profile);
    let memory = bench.registered(Bytes::mib(12), Backing::Anonymous);
    assert_eq!(bench.map(0, memory), failed(Errno::ENOMEM));
    assert_eq!(bench.unmap(0, memory.size), failed(Errno::ENOMEM));
    assert_eq!(bench.unregister(memory), OK);
    let little = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.map(0, little), OK, "it is tried again each time");
}

#[test]
fn write_implies_read_on_powernv_only() {
    for (name, written) in [("powernv9", TceAccess::ReadWrite), ("pseries", TceAccess::Write)] {
        let (mut bench, memory) = Bench::with_memory(name);
        let page = part(memory, 0, 0x1000);
        for (flags, access) in [(1, TceAccess::Read), (2, written), (3, TceAccess::ReadWrite)] {
            assert_eq!(bench.map_flags(flags, 0x3000, page), OK);
            let tce = bench.machine.tce(bench.container, tce_engine::addr::Iova::new(0x3fff));
            assert_eq!(tce.expect("it is set").access, access, "{name} {flags}");
        }
    }
}

#[test]
fn a_mapped_page_is_exchanged_without_a_word() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let other = bench.registered(Bytes::mib(2), Backing::Memfd);
    assert_eq!(bench.map(0x1_0000, part(memory, 0, 0x4000)), OK);
    assert_eq!(bench.map(0x1_2000, part(other, 0, 0x4000)), OK);
    assert_eq!((bench.mapped(memory), bench.mapped(other)), (2, 4));
    assert_eq!(bench.tce(0x1_1000), Some(part(memory, 0x1000, 0).address));
    assert_eq!(bench.tce(0x1_2000), Some(other.address));
    assert_eq!((bench.machine.live_tces(), bench.machine.tces_set()), (6, 8));
}

#[test]
fn a_failure_rolls_back_to_empty_and_older_mappings_are_gone() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.map(0, part(memory, 0, 0x8000)), OK);
    // Four pages end the region, the fifth is beyond it.
    let overlong = part(memory, (16 << 20) - 0x4000, 0x5000);
    assert_eq!(bench.map(0x2000, overlong), failed(Errno::EINVAL));
    let left: Vec<u64> = (0..8).filter(|page| bench.tce(page << 12).is_some()).collect();
    assert_eq!(left, [0, 1, 6, 7]);
    assert_eq!(bench.mapped(memory), 4);
}

#[test]
fn a_range_crosses_regions_on_page_borders_only() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let (low, high) = (part(memory, 0, 0x3000), part(memory, 0x3000, 0x3000));
    assert_eq!((bench.register(low), bench.register(high)), (OK, OK));
    assert_eq!(bench.map(0, part(memory, 0, 0x6000)), OK);
    assert_eq!((bench.mapped(low), bench.mapped(high)), (3, 3));
    // A hole behind the second region: page 6 fails, the rest is rolled back.
    assert_eq!(bench.map(0, part(memory, 0, 0x7000)), failed(Errno::EINVAL));
    assert_eq!((bench.mapped(low), bench.mapped(high), bench.machine.live_tces()), (0, 0, 0));
}

#[test]
fn a_tce_page_must_lie_in_one_region() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::mib(4), Backing::Hugetlb(tce_engine::addr::PageShift::M2));
    let (low, high) = (part(memory, 0, 1 << 20), part(memory, 1 << 20, 1 << 20));
    assert_eq!((bench.register(low), bench.register(high)), (OK, OK));
    assert_eq!(bench.create(Bytes::gib(8), 21, 1).out.raw(), HIGH);
    assert_eq!(bench.map(HIGH, part(memory, 0, 2 << 20)), failed(Errno::EINVAL));
}

#[test]
fn pages_larger_than_the_backing_are_refused_by_the_region() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.create(Bytes::gib(4), 16, 1).raw, OK);
    assert_eq!(bench.map(HIGH, part(memory, 0, 0x1_0000)), failed(Errno::EINVAL));
    let (mut bench, memory) = Bench::with_memory("powernv9-64k");
    assert_eq!(bench.create(Bytes::gib(4), 16, 1).raw, OK);
    assert_eq!(bench.map(HIGH, part(memory, 0, 0x1_0000)), OK);
}

#[test]
fn small_pages_at_the_end_of_a_hugetlb_region_are_not_contained() {
    use tce_engine::{addr::PageShift, kernel::MemoryRange, machine::MemoryRequest};
    let mut bench = Bench::named("powernv9");
    let huge = bench.allocated(Bytes::mib(4), Backing::Hugetlb(PageShift::M2));
    let request =
        MemoryRequest { size: Bytes::mib(2), backing: Backing::Anonymous, align: PageShift::K4 };
    bench.machine.allocate_behind(&request).expect("there is room");
    let both = MemoryRange { size: Bytes::mib(6), ..huge };
    assert_eq!(bench.register(both), OK);
    assert_eq!(bench.machine.regions()[0].page_shift, 21, "the kernel does not see them");
    assert_eq!(bench.create(Bytes::gib(8), 21, 1).raw, OK);
    assert_eq!(bench.map(HIGH, huge), OK);
    assert_eq!(bench.map(HIGH, both), failed(Errno::EPERM));
    assert_eq!(bench.machine.live_tces(), 0);
}

#[test]
fn a_small_tce_page_keeps_its_offset_in_a_large_system_page() {
    let (mut bench, memory) = Bench::with_memory("powernv9-64k");
    assert_eq!(bench.map(0x5000, part(memory, 0x3000, 0x2000)), OK);
    assert_eq!(bench.tce(0x6abc), Some(part(memory, 0x4000, 0).address));
}

#[test]
fn only_the_first_page_is_checked_against_the_windows_end() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.map(0x7fff_f000, part(memory, 0, 0x2000)), OK, "as the kernel says");
    let corrupted = bench.machine.host_corruption().expect("but a real one is broken");
    assert!(corrupted.what.contains("behind the end"), "{}", corrupted.what);
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (1, 2));
}

#[test]
fn an_overrun_that_fails_later_gives_its_counts_back() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let overlong = part(memory, (16 << 20) - 0x2000, 0x4000);
    assert_eq!(bench.map(0x7fff_f000, overlong), failed(Errno::EINVAL));
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (0, 0));
    assert!(bench.machine.host_corruption().is_some());
}

#[test]
fn the_hypervisor_refuses_an_overrun_with_a_number_that_reads_as_eintr() {
    let (mut bench, memory) = Bench::with_memory("pseries");
    assert_eq!(bench.map(0x3fff_f000, part(memory, 0, 0x2000)), failed(Errno::EINTR));
    assert!(bench.machine.host_corruption().is_some(), "the mirror was overrun");
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (0, 1));
}

#[test]
fn no_bytes_are_mapped_with_success() {
    for name in ["powernv9", "powernv10", "pseries"] {
        let (mut bench, memory) = Bench::with_memory(name);
        assert_eq!(bench.map(0, part(memory, 0, 0)), OK);
        assert_eq!(bench.map(1, part(memory, 0, 0)), ONE);
        assert_eq!(bench.machine.host_corruption(), None);
    }
}

#[test]
fn no_bytes_at_nothing_hang_a_power8() {
    let (mut bench, memory) = Bench::with_memory("powernv8");
    assert_eq!(bench.machine.profile().empty_map, EmptyMap::HangsHost);
    assert_eq!(bench.map(0x1000, part(memory, 0, 0)), OK);
    assert_eq!(bench.machine.host_corruption(), None);
    bench.map(0, part(memory, 0, 0));
    assert!(bench.machine.host_corruption().is_some());
}

#[test]
fn the_window_accepts_what_its_rounded_table_holds() {
    let profile = Profile::named("powernv9-64k").expect("it is known");
    let mut bench = Bench::new(profile.with_kernel(KernelVersion::new(7, 2, 12)));
    let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.create(Bytes::mib(1), 16, 1).raw, OK);
    assert_eq!(bench.map(HIGH + (511 << 20), memory), OK);
    assert_eq!(bench.map(HIGH + (512 << 20), memory), failed(Errno::ENXIO));
    assert_eq!(bench.machine.host_corruption(), None);
    assert_eq!(bench.kernel.close(bench.container.fd()), Ok(()));
}
