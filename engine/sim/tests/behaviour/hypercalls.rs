//! A guest's hypercalls.

use tce_engine::{
    addr::{Bytes, GuestAddress, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{GuestTableFd, Kernel, MemoryRange, VmFd},
    machine::{Backing, HypercallExit, HypercallRegisters, Machine, MemoryRequest},
};
use tce_sim::{Profile, TceAccess, profile::KernelVersion};

use crate::{
    bench::{Bench, HIGH, OK, part},
    guest::{
        Guest, HypercallAnswer, LIOBN, bench_with_window, guest_tce, hypercall, refusal,
        table_at_zero,
    },
};

const SUCCESS: HypercallAnswer = HypercallAnswer::Success;
const PARAMETER: HypercallAnswer = HypercallAnswer::Parameter;
const TOO_HARD: HypercallAnswer = HypercallAnswer::TooHard;

#[test]
fn a_put_tce_sets_and_clears_what_the_device_sees() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.put(&bench, 0x3000, 0x5002), SUCCESS);
    let tce = bench.machine.tce(bench.container, Iova::new(0x3000)).expect("it is set");
    assert_eq!(tce.address, part(memory, 0x5000, 0).address);
    assert_eq!(tce.access, TceAccess::ReadWrite, "WRITE implies READ on powernv");
    assert_eq!((bench.mapped(memory), guest_tce(&mut bench, table, 3)), (1, Some(0x5002)));
    assert_eq!(guest.put(&bench, 0x3000, 0x6001), SUCCESS, "exchanged");
    assert_eq!(bench.mapped(memory), 1);
    assert_eq!(guest.put(&bench, 0x3000, 0xabc0), SUCCESS, "no permission: poison");
    assert_eq!((bench.mapped(memory), bench.machine.live_tces()), (0, 0));
    assert_eq!(guest_tce(&mut bench, table, 3), Some(0xabc0));
    assert_eq!(guest_tce(&mut bench, table, 16), None, "outside");
}

#[test]
fn a_get_tce_reads_what_the_guest_set() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.put(&bench, 0x3000, 0x5002), SUCCESS);
    let mut read = |ioba| {
        let call = HypercallRegisters::get_tce(LIOBN, ioba);
        bench.machine.hypercall(guest.vm, call).expect("it is a virtual machine")
    };
    let answered = |code, value| HypercallExit::Answered { code, value };
    assert_eq!(read(0x3000), answered(0, 0x5002));
    assert_eq!(read(0x4000), answered(0, 0));
    assert_eq!(read(0x1_0000), answered(0_u64.wrapping_sub(4), 0), "H_PARAMETER");
    let mut all = [7; 16];
    assert_eq!(bench.kernel.read_guest_table(table, 0, &mut all), Ok(()));
    assert_eq!(all.map(|tce| tce != 0), std::array::from_fn(|index| index == 3));
}

#[test]
fn a_guests_table_is_read_inside_and_through_its_own_descriptor() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (_guest, table) = Guest::leasing(&mut bench, memory, 16);
    let mut read = |table, first, count| {
        bench.kernel.read_guest_table(GuestTableFd::new(table), first, &mut vec![0; count])
    };
    assert_eq!(read(table.fd(), 15, 1), Ok(()));
    assert_eq!(read(table.fd(), 15, 2), Err(Errno::EINVAL), "beyond");
    assert_eq!(read(table.fd(), u64::MAX, 1), Err(Errno::EINVAL), "beyond");
    assert_eq!(read(bench.group.fd(), 0, 1), Err(Errno::ENODEV));
    assert_eq!(read(tce_engine::kernel::Fd::new(99), 0, 1), Err(Errno::EBADF));
}

#[test]
fn an_unknown_name_goes_to_user_space() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
    let call = HypercallRegisters::put_tce(LIOBN + 1, 1, 0);
    assert_eq!(hypercall(&bench.machine, guest.vm, call), TOO_HARD);
    let other = HypercallRegisters { token: 0xf00c, arguments: [LIOBN, 0, 0, 0] };
    assert_eq!(hypercall(&bench.machine, guest.vm, other), TOO_HARD, "it is about no TCE");
    let none = VmFd::new(bench.group.fd());
    assert_eq!(refusal(bench.machine.hypercall(none, call)), Some(Errno::ENOTTY));
}

#[test]
fn addresses_outside_the_table_are_the_guests_fault() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.put(&bench, 0x10, 0x5003), PARAMETER, "crooked");
    assert_eq!(guest.put(&bench, 0x1_0000, 0x5003), PARAMETER, "beyond");
    assert_eq!(guest.stuff(&bench, 0x8000, 0, 9), PARAMETER, "beyond");
    assert_eq!(guest.stuff(&bench, 0x8000, 0, 8), SUCCESS);
    assert_eq!(guest.stuff(&bench, 0, 3, 1), PARAMETER, "permissions");
    assert_eq!(guest.put_list(&bench, 0, 0, 513), PARAMETER, "longer than a list");
    assert_eq!(guest.put_list(&bench, 0, 0x800, 1), PARAMETER, "a crooked list");
    assert_eq!(guest.put_list(&bench, 0x8000, 0, 9), PARAMETER, "beyond");
}

#[test]
fn a_table_above_zero_is_addressed_from_zero() {
    let (mut bench, memory) = Bench::with_memory("powernv9");
    assert_eq!(bench.create(Bytes::gib(4), 16, 1).out.raw(), HIGH);
    let huge = bench.registered(Bytes::mib(4), Backing::Hugetlb(PageShift::M2));
    assert_eq!(bench.map(HIGH, part(huge, 0, 0x1_0000)), OK);
    let guest = Guest::new(&mut bench);
    bench.machine.enable_multi_tce(guest.vm).expect("it is ours");
    bench
        .machine
        .set_guest_memory(guest.vm, GuestAddress::new(0), huge)
        .expect("it is whole pages");
    let call = tce_engine::kernel::GuestTableCall {
        offset: HIGH >> 21,
        ..table_at_zero(LIOBN, 21, (4 << 30) >> 21)
    };
    let table = guest.table(&mut bench, call);
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(guest.attach(&mut bench, table), OK);
    assert_eq!(guest.put(&bench, 0x20_0000, 3), PARAMETER, "below");
    assert_eq!(guest.put(&bench, HIGH + 0x20_0000, 0x20_0003), SUCCESS);
    // One page of the guest's is 32 of the hardware's.
    assert_eq!(bench.mapped(huge), 33);
    let second = bench.tce(HIGH + 0x21_0000);
    assert_eq!(second, Some(part(huge, 0x21_0000, 0).address));
    assert_eq!(guest_tce(&mut bench, table, 1), Some(0x20_0003));
    assert_eq!(guest.stuff(&bench, HIGH, 0, 2), SUCCESS);
    assert_eq!((bench.mapped(huge), bench.mapped(memory)), (0, 0));
}

#[test]
fn what_the_kernel_cannot_look_up_goes_to_user_space() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    let stranger = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    bench
        .machine
        .set_guest_memory(guest.vm, GuestAddress::new(1 << 30), stranger)
        .expect("it is whole pages");
    assert_eq!(guest.put(&bench, 0, 0x5003), SUCCESS);
    assert_eq!(guest.put(&bench, 0, 0x5803), TOO_HARD, "a crooked page");
    assert_eq!(guest.put(&bench, 0, (2 << 30) | 3), TOO_HARD, "no memory");
    assert_eq!(guest.put(&bench, 0, (1 << 30) | 3), TOO_HARD, "not registered");
    write_list(&mut bench, memory, 0x2000, &[0x6003, (1 << 30) | 3]);
    assert_eq!(guest.put_list(&bench, 0, 0x2000, 2), TOO_HARD, "not registered");
    assert_eq!(guest_tce(&mut bench, table, 0), Some(0x5003), "validation touches nothing");
    assert_eq!(bench.tce(0), Some(part(memory, 0x5000, 0).address));
    assert_eq!(bench.mapped(memory), 1);
    assert_eq!(guest.put_list(&bench, 0, 2 << 30, 1), TOO_HARD, "no list");
}

#[test]
fn a_window_follows_from_the_moment_it_is_made() {
    // Seen on 6.12.107, with one level and with two: no map through the container is needed.
    for levels in [1, 2] {
        let mut bench = Bench::named("powernv9");
        let memory = bench.registered(Bytes::mib(16), Backing::Anonymous);
        assert_eq!(bench.remove(0), OK);
        assert_eq!(bench.create(Bytes::gib(4), 12, levels).out.raw(), 0);
        let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
        assert_eq!(guest.put(&bench, 0, 0x1003), SUCCESS);
        assert_eq!(bench.mapped(memory), 1);
    }
}

#[test]
fn calls_for_many_tces_go_to_user_space_until_they_are_enabled() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let guest = Guest::new(&mut bench);
    bench
        .machine
        .set_guest_memory(guest.vm, GuestAddress::new(0), memory)
        .expect("it is whole pages");
    guest.table(&mut bench, table_at_zero(LIOBN, 12, 16));
    assert_eq!(guest.put(&bench, 0, 0), SUCCESS);
    assert_eq!(guest.stuff(&bench, 0, 0, 1), TOO_HARD);
    assert_eq!(guest.put_list(&bench, 0, 0, 513), TOO_HARD, "whatever it asks");
    assert_eq!(bench.machine.enable_multi_tce(guest.vm), Ok(()));
    assert_eq!(guest.stuff(&bench, 0, 0, 1), SUCCESS);
    assert_eq!(guest.put_list(&bench, 0, 0, 513), PARAMETER);
    let group = VmFd::new(bench.group.fd());
    assert_eq!(refusal(bench.machine.enable_multi_tce(group)), Some(Errno::ENOTTY));
}

#[test]
fn an_empty_tce_in_a_list_needs_memory_all_the_same() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
    write_list(&mut bench, memory, 0x2000, &[2 << 30]);
    assert_eq!(guest.put_list(&bench, 0, 0x2000, 1), PARAMETER);
    assert_eq!(guest.put(&bench, 0, 2 << 30), SUCCESS, "not so a single one");
}

/// Writes a list of TCEs into the guest's memory at an offset.
fn write_list(bench: &mut Bench, memory: MemoryRange, offset: u64, tces: &[u64]) {
    let bytes: Vec<u8> = tces.iter().flat_map(|tce| tce.to_be_bytes()).collect();
    let at = HostAddr::new(memory.address.raw() + offset);
    bench.machine.write_memory(at, &bytes).expect("it is ours");
}

#[test]
fn a_list_is_validated_whole_before_anything_is_set() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    write_list(&mut bench, memory, 0x2000, &[0x5003, 0x6001, 0x7002]);
    assert_eq!(guest.put_list(&bench, 0x4000, 0x2000, 3), SUCCESS);
    assert_eq!((bench.mapped(memory), guest_tce(&mut bench, table, 5)), (3, Some(0x6001)));
    write_list(&mut bench, memory, 0x2000, &[0x8003, (2 << 30) | 3]);
    assert_eq!(guest.put_list(&bench, 0x4000, 0x2000, 2), TOO_HARD);
    assert_eq!(bench.tce(0x4000), Some(part(memory, 0x5000, 0).address), "as before");
}

#[test]
fn an_empty_tce_in_a_list_counts_a_page_for_good() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.put(&bench, 0, 0x5003), SUCCESS);
    write_list(&mut bench, memory, 0x2000, &[0x6000]);
    assert_eq!(guest.put_list(&bench, 0, 0x2000, 1), SUCCESS);
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (0, 1));
    assert_eq!(bench.unregister(memory), OK);
    assert!(bench.machine.regions()[0].has_leaked());
}

#[test]
fn a_page_across_two_regions_fails_half_way_and_leaves_its_count() {
    let mut bench = Bench::named("powernv9");
    let memory = bench.allocated(Bytes::mib(2), Backing::Anonymous);
    let (low, high) = (part(memory, 0, 0x8000), part(memory, 0x8000, 0x8000));
    assert_eq!((bench.register(low), bench.map(0, low)), (OK, OK));
    let guest = Guest::new(&mut bench);
    bench
        .machine
        .set_guest_memory(guest.vm, GuestAddress::new(0), memory)
        .expect("it is whole pages");
    let table = guest.table(&mut bench, table_at_zero(LIOBN, 16, 16));
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(guest.attach(&mut bench, table), OK);
    // Sixteen hardware pages, of which the first eight are registered: validation looks at the first.
    assert_eq!(guest.put(&bench, 0, 3), TOO_HARD);
    assert_eq!(bench.machine.live_tces(), 0, "the whole entry is cleared");
    assert_eq!(bench.mapped(low), 8, "and nobody counts down");
    assert_eq!((bench.register(high), guest.put(&bench, 0, 3)), (OK, SUCCESS));
    assert_eq!((bench.mapped(low), bench.mapped(high)), (16, 8));
    assert_eq!(guest.put(&bench, 0, 0), SUCCESS);
    assert_eq!((bench.mapped(low), bench.mapped(high)), (8, 0));
    assert_eq!((bench.unregister(high), bench.unregister(low)), (OK, OK));
    assert!(bench.machine.regions()[0].has_leaked());
}

#[test]
fn tables_are_set_in_turn_and_earlier_ones_keep_the_new_value() {
    // Two containers of one process lend a window each to one table of the guest's.
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    let first = bench.container;
    let other = bench.kernel.open_container().expect("containers are free");
    let second = bench.kernel.open_group(bench.second_group()).expect("it is free");
    assert_eq!(bench.kernel.set_container(second, other), OK);
    let v2 = tce_engine::kernel::Extension::SpaprTceV2;
    assert_eq!(bench.kernel.set_iommu(other, v2), OK);
    bench.container = other;
    assert_eq!((bench.register(memory), bench.map(0, part(memory, 0, 4096))), (OK, OK));
    assert_eq!(bench.kernel.add_group(guest.link, second), OK);
    assert_eq!(guest.attach_of(&mut bench, second, table), OK);
    assert_eq!(guest.put(&bench, 0x2000, 0x5003), SUCCESS);
    let both = [first, other].map(|container| bench.machine.tce(container, Iova::new(0x2000)));
    assert_eq!(both.map(|tce| tce.is_some()), [true, true]);
    assert_eq!(bench.mapped(memory), 3);
}

#[test]
fn clearing_many_costs_what_is_set() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 1 << 19);
    for page in 0..4 {
        assert_eq!(guest.put(&bench, page << 28, 0x1003), SUCCESS);
    }
    assert_eq!(guest.stuff(&bench, 0, 0x5550, 1 << 19), SUCCESS, "npages has no limit");
    assert_eq!((bench.machine.live_tces(), bench.mapped(memory)), (0, 0));
    assert_eq!(guest_tce(&mut bench, table, (1 << 19) - 1), Some(0x5550));
}

#[test]
fn an_older_kernel_runs_over_the_guests_table() {
    let old = Profile::powernv9().with_kernel(KernelVersion::new(6, 12, 107));
    let mut bench = Bench::new(old);
    let memory = bench.registered(Bytes::mib(16), Backing::Anonymous);
    assert_eq!(bench.map(0, part(memory, 0, 4096)), OK);
    let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.stuff(&bench, 0x8000, 0, 9), SUCCESS);
    let corrupted = bench.machine.host_corruption().expect("a real kernel is broken");
    assert!(corrupted.what.contains("a hypercall of 1 TCEs behind"), "{}", corrupted.what);
}

#[test]
fn kvm_does_not_ask_whether_the_page_is_large_enough() {
    let mut bench = Bench::named("powernv9");
    let huge = bench.allocated(Bytes::mib(4), Backing::Hugetlb(PageShift::M2));
    let request =
        MemoryRequest { size: Bytes::mib(2), backing: Backing::Anonymous, align: PageShift::K4 };
    bench.machine.allocate_behind(&request).expect("there is room");
    let both = MemoryRange { size: Bytes::mib(6), ..huge };
    assert_eq!(bench.register(both), OK);
    assert_eq!(bench.remove(0), OK);
    assert_eq!(bench.create(Bytes::gib(8), 21, 1).out.raw(), 0);
    assert_eq!(bench.unmap(0, Bytes::mib(2)), OK);
    let guest = Guest::new(&mut bench);
    bench
        .machine
        .set_guest_memory(guest.vm, GuestAddress::new(0), both)
        .expect("it is whole pages");
    let table = guest.table(&mut bench, table_at_zero(LIOBN, 21, 16));
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(guest.attach(&mut bench, table), OK);
    assert_eq!(guest.put(&bench, 0, 3), SUCCESS);
    assert_eq!(bench.machine.host_corruption(), None);
    guest.put(&bench, 0, 0x40_0003);
    let corrupted = bench.machine.host_corruption().expect("the device sees more than its page");
    assert!(corrupted.what.contains("larger than the page"), "{}", corrupted.what);
}
