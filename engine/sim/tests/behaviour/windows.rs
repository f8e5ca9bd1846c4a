//! `VFIO_IOMMU_SPAPR_TCE_CREATE`, `TCE_REMOVE`, `GET_INFO` and the default window.

use tce_engine::{
    addr::Bytes,
    errno::Errno,
    kernel::{Kernel, SpaprInfo},
};
use tce_sim::Profile;

use crate::bench::{Bench, HIGH, OK, failed, part};

#[test]
fn info_tells_properties_of_the_pe() {
    let info = |name: &str| {
        let mut bench = Bench::named(name);
        let reply = bench.kernel.info(bench.container);
        assert_eq!(reply.raw, OK);
        reply.out
    };
    let powernv9 = SpaprInfo {
        flags: 1,
        dma32_window_start: 0,
        dma32_window_size: 0x8000_0000,
        page_sizes: 0x4021_1000,
        windows_max: 2,
        levels_max: 5,
    };
    assert_eq!(info("powernv9"), powernv9);
    assert_eq!(info("powernv10-64k"), powernv9);
    assert_eq!(info("powernv8"), SpaprInfo { page_sizes: 0x1101_1000, ..powernv9 });
    let pseries = SpaprInfo {
        dma32_window_size: 0x4000_0000,
        page_sizes: 0x0121_1000,
        levels_max: 1,
        ..powernv9
    };
    assert_eq!(info("pseries"), pseries);
}

#[test]
fn the_default_window_comes_with_the_first_create() {
    let mut bench = Bench::named("powernv9-64k");
    assert_eq!(bench.machine.windows(bench.container), []);
    let reply = bench.create(Bytes::gib(64), 16, 2);
    assert_eq!((reply.raw, reply.out.raw()), (OK, HIGH));
    let windows = bench.machine.windows(bench.container);
    let seen: Vec<_> =
        windows.iter().map(|w| (w.slot, w.start.raw(), w.page_shift.raw())).collect();
    assert_eq!(seen, [(0, 0, 12), (1, HIGH, 16)]);
    assert_eq!(bench.locked_kib(), 8192 + 16_512);
    assert_eq!(bench.create(Bytes::gib(64), 16, 2).raw, failed(Errno::ENOSPC));
}

#[test]
fn removing_the_pending_default_window_frees_its_slot() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let before = bench.locked_kib();
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.locked_kib(), before, "it was never there");
    assert_eq!(bench.map(0, part(memory, 0, 4096)), failed(Errno::ENXIO));
    assert_eq!(bench.remove(0), failed(Errno::EINVAL), "there is none now");
    let reply = bench.create(Bytes::gib(4), 21, 1);
    assert_eq!((reply.raw, reply.out.raw()), (OK, 0));
    assert_eq!(bench.locked_kib() - before, 32);
}

#[test]
fn another_start_than_zero_does_not_touch_the_pending_window() {
    let mut bench = Bench::named("powernv9");
    assert_eq!(bench.remove(0x1000), failed(Errno::EINVAL));
    assert_eq!(bench.machine.windows(bench.container), []);
    assert_eq!(bench.create(Bytes::gib(4), 21, 1).out.raw(), HIGH, "it was still pending");
}

#[test]
fn any_inner_address_removes_a_window_and_all_in_it() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    let before = bench.locked_kib();
    assert_eq!(bench.map(0x10_0000, memory), OK);
    assert_eq!(bench.remove(0x7fff_ffff), OK);
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (0, 0));
    assert_eq!((bench.machine.tces_cleared(), bench.locked_kib()), (4096, before));
    assert_eq!(bench.remove(HIGH), failed(Errno::EINVAL));
}

#[test]
fn create_tests_come_in_the_kernels_order() {
    let mut bench = Bench::new(Profile::powernv9().with_locked_limit(Bytes::mib(64)));
    assert_eq!(bench.remove(0), OK);
    let odd = Bytes::new(3 << 20);
    assert_eq!(bench.create(odd, 24, 0).raw, failed(Errno::EINVAL), "page size");
    assert_eq!(bench.create(odd, 200, 1).raw, failed(Errno::EINVAL), "page size");
    assert_eq!(bench.locked_kib(), 0);
    for (size, levels) in [(odd, 1), (Bytes::ZERO, 1), (Bytes::gib(1), 0), (Bytes::gib(1), 6)] {
        assert_eq!(bench.create(size, 12, levels).raw, failed(Errno::EINVAL));
    }
    assert_eq!(bench.locked_kib(), 0, "so far nothing was charged");
    assert_eq!(bench.create(Bytes::gib(64), 12, 1).raw, failed(Errno::ENOMEM), "limit");
    assert_eq!(bench.locked_kib(), 0);
    assert_eq!(bench.create(Bytes::gib(8), 12, 1).raw, OK);
    assert_eq!(bench.create(Bytes::gib(2), 12, 1).out.raw(), HIGH);
    assert_eq!(bench.create(odd, 24, 0).raw, failed(Errno::ENOSPC), "slots come first");
}

#[test]
fn each_failed_table_leaves_its_charge_behind() {
    // kernel-facts 1.4, on 64K pages: 64K TCEs with levels 5, 4 and 3, then 2^40 of 4K with one.
    let mut bench = Bench::named("powernv9-64k");
    assert_eq!(bench.remove(0), OK);
    for levels in [5, 4, 3] {
        assert_eq!(bench.create(Bytes::gib(64), 16, levels).raw, failed(Errno::EINVAL));
    }
    let probed = bench.locked_kib();
    assert!(probed > 9 << 10, "{probed} KiB leaked");
    assert_eq!(bench.create(Bytes::new(1 << 40), 12, 1).raw, failed(Errno::ENOMEM));
    assert_eq!(bench.locked_kib(), probed + (4 << 20));
    assert_eq!(bench.create(Bytes::gib(64), 16, 2).raw, OK);
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.locked_kib(), probed + (4 << 20), "and nothing gives it back");
}

#[test]
fn dpdk_pays_for_its_probe() {
    // peers 8.1: 64 TiB of 2M pages on a 4K host.
    let mut bench = Bench::named("powernv9");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::new(1 << 46), 21, 1).raw, failed(Errno::ENOMEM));
    assert_eq!(bench.locked_kib(), 524_288);
    assert_eq!(bench.create(Bytes::new(1 << 46), 21, 2).raw, OK);
    assert_eq!(bench.locked_kib(), 1_048_704);
    // And on a 64K host, 128 TiB.
    let mut bench = Bench::named("powernv9-64k");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::new(1 << 47), 21, 1).raw, failed(Errno::ENOMEM));
    assert_eq!(bench.create(Bytes::new(1 << 47), 21, 2).raw, OK);
    assert_eq!(bench.locked_kib(), 2_097_280);
}

#[test]
fn a_huge_window_is_made_used_and_removed_at_the_cost_of_its_tces() {
    let (mut bench, memory) = Bench::with_memory("powernv9-64k");
    assert_eq!(bench.create(Bytes::new(1 << 47), 21, 2).raw, OK);
    assert_eq!(bench.unmap(HIGH, Bytes::new(1 << 47)), OK);
    assert_eq!(bench.remove(HIGH), OK);
    assert_eq!(bench.unregister(memory), OK);
}

#[test]
fn shifts_wrap_at_128_as_the_processor_shifts() {
    // Seen on 6.12.107: 140 passes for 12 and costs 4 MiB before it is refused.
    let mut bench = Bench::named("powernv9");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(1), 140, 1).raw, failed(Errno::EINVAL));
    assert_eq!(bench.locked_kib(), 4096);
    let mut bench = Bench::named("pseries");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(1), 140, 1).raw, failed(Errno::ENODEV));
    assert_eq!(bench.locked_kib(), 2048);
}

#[test]
fn windows_below_their_page_are_decided_by_wrapped_arithmetic() {
    // Each with its leak, as seen on 6.12.107 with 4K pages.
    let mut bench = Bench::named("powernv9");
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::kib(32), 16, 1).raw, OK);
    assert_eq!(bench.locked_kib(), 8);
    assert_eq!(bench.remove(0), OK);
    let table = [(4, 16, 1, 0), (4, 16, 2, 40), (64, 21, 2, 40), (64, 21, 3, 0)];
    for (kib, page_shift, levels, leak) in table {
        let before = bench.locked_kib();
        let reply = bench.create(Bytes::kib(kib), page_shift, levels);
        assert_eq!(reply.raw, failed(Errno::EINVAL));
        assert_eq!(bench.locked_kib() - before, leak, "{kib} KiB of {page_shift} in {levels}");
    }
    assert_eq!(bench.create(Bytes::new(1 << 48), 16, 2).raw, OK);
    assert_eq!(bench.locked_kib(), 80 + 67_109_888);
}
