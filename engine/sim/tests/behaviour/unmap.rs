//! `VFIO_IOMMU_UNMAP_DMA`.

use tce_engine::{addr::Bytes, errno::Errno, machine::Backing};
use tce_sim::{Profile, profile::KernelVersion};

use crate::bench::{Bench, HIGH, OK, ONE, failed, part};

#[test]
fn tests_come_in_the_kernels_order() {
    let mut bench = Bench::named("powernv9");
    assert_eq!(bench.unmap(0, Bytes::kib(4)), failed(Errno::EPERM));
    let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.unmap(1 << 40, Bytes::new(1)), failed(Errno::ENXIO));
    assert_eq!(bench.locked_kib(), 1024 + 8192, "it makes the default window");
    assert_eq!(bench.unmap(1, Bytes::new(1)), failed(Errno::EINVAL));
    assert_eq!(bench.unmap(1, memory.size), ONE);
    assert_eq!(bench.unmap(0x7fff_f000, Bytes::kib(8)), ONE);
    assert_eq!(bench.unmap(0x7fff_f000, Bytes::kib(4)), OK);
    assert_eq!(bench.unmap(0, Bytes::gib(2)), OK);
    assert_eq!(bench.machine.host_corruption(), None);
}

#[test]
fn holes_are_passed_over() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.map(0x1000, part(memory, 0, 0x1000)), OK);
    assert_eq!(bench.map(0x9000, part(memory, 0, 0x2000)), OK);
    assert_eq!(bench.unmap(0, Bytes::new(0xa000)), OK);
    assert_eq!((bench.machine.live_tces(), bench.machine.tces_cleared()), (1, 2));
    assert_eq!(bench.mapped(memory), 1);
    assert_eq!(bench.unmap(0, Bytes::ZERO), OK);
    assert_eq!(bench.unmap(HIGH, Bytes::kib(4)), failed(Errno::ENXIO));
}

#[test]
fn an_older_kernel_runs_over_the_end() {
    let profile = Profile::powernv9().with_kernel(KernelVersion::new(6, 12, 107));
    let mut bench = Bench::new(profile);
    let memory = bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(bench.map(0x7fff_f000, part(memory, 0, 0x1000)), OK);
    assert_eq!(bench.unmap(0x7fff_f000, Bytes::gib(4)), OK);
    assert!(bench.machine.host_corruption().is_some());
    assert_eq!(bench.machine.live_tces(), 0);
}
