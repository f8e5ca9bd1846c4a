//! What a guest's hold on a window keeps alive, and what ends it.

use tce_engine::{
    addr::GuestAddress,
    errno::Errno,
    kernel::{GroupStatus, Kernel},
    machine::Machine,
};
use tce_sim::Unbind;

use crate::{
    bench::{OK, failed, part},
    guest::{Guest, HypercallAnswer, LIOBN, bench_with_window, guest_tce, table_at_zero},
};

#[test]
fn kvm_keeps_the_group_open_and_its_container_alive() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let number = bench.machine.groups()[0];
    let (guest, _) = Guest::leasing(&mut bench, memory, 16);
    bench.kernel.close(bench.group.fd()).expect("it is open");
    assert_eq!(bench.map(0, memory), OK, "the backend is there");
    assert_eq!(bench.kernel.open_group(number), Err(Errno::EBUSY));
    bench.kernel.close(guest.link.fd()).expect("it is open");
    assert_eq!(bench.map(0, memory), failed(Errno::EINVAL), "and went with the link");
    assert!(bench.kernel.open_group(number).is_ok());
}

#[test]
fn a_lease_does_not_keep_the_window_but_the_table() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let before = bench.locked_kib();
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(bench.remove(0), OK, "KVM does not block it");
    assert_eq!(bench.machine.windows(bench.container), []);
    assert_eq!(bench.locked_kib(), before - 8192 + 8, "its charge is given back");
    assert_eq!(guest.put(&bench, 0x3000, 0x5003), HypercallAnswer::Success);
    assert_eq!((bench.mapped(memory), bench.machine.live_tces()), (1, 0), "in no window");
    assert_eq!(bench.kernel.delete_group(guest.link, bench.group), OK);
    assert_eq!(guest.put(&bench, 0x4000, 0x5003), HypercallAnswer::Success);
    assert_eq!(bench.mapped(memory), 2, "GROUP_DEL does not find the lease");
    bench.kernel.close(table.fd()).expect("it is open");
    assert_eq!(guest.put(&bench, 0x4000, 0), HypercallAnswer::TooHard);
    assert_eq!(bench.mapped(memory), 2, "what was set there is never counted down");
    assert_eq!(bench.unregister(memory), OK);
    assert!(bench.machine.regions()[0].has_leaked());
}

#[test]
fn a_detach_succeeds_and_leaves_kvm_with_the_table() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, _table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(bench.kernel.unset_container(bench.group), OK);
    assert_eq!(bench.kernel.info(bench.container).raw, failed(Errno::EINVAL), "no backend");
    assert_eq!(guest.put(&bench, 0, 0x1003), HypercallAnswer::TooHard, "no registered memory");
    assert_eq!(guest.put(&bench, 0, 0), HypercallAnswer::Success, "but a table");
    let status = bench.kernel.group_status(bench.group).out;
    assert_eq!(status, GroupStatus { viable: true, in_container: false });
}

#[test]
fn group_del_ends_the_leases_of_all_windows() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.put(&bench, 0, 0x1003), HypercallAnswer::Success);
    assert_eq!(bench.machine.live_tces(), 1);
    assert_eq!(bench.kernel.delete_group(guest.link, bench.group), OK);
    assert_eq!(guest.put(&bench, 0x1000, 0x1003), HypercallAnswer::Success);
    assert_eq!(bench.machine.live_tces(), 1, "the guest's table alone was written");
    assert_eq!(guest_tce(&mut bench, table, 1), Some(0x1003));
    assert_eq!(bench.machine.host_warnings(), []);
}

#[test]
fn a_lease_taken_twice_survives_one_group_del() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.attach(&mut bench, table), OK);
    assert_eq!(bench.kernel.delete_group(guest.link, bench.group), OK);
    assert_eq!(guest.put(&bench, 0, 0x1003), HypercallAnswer::Success);
    assert_eq!(bench.machine.live_tces(), 1, "it still follows");
    bench.kernel.close(table.fd()).expect("it is open");
    assert_eq!(guest.put(&bench, 0, 0), HypercallAnswer::TooHard);
    assert_eq!(bench.tce(0), Some(memory.address).map(|_| part(memory, 0x1000, 0).address));
}

#[test]
fn the_group_that_leaves_takes_its_window_from_the_links_sight() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (second, _) = bench.join(bench.second_group());
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(bench.kernel.add_group(guest.link, second), OK);
    assert_eq!(guest.attach_of(&mut bench, second, table), OK);
    assert_eq!(bench.kernel.unset_container(second), OK);
    assert_eq!(bench.kernel.delete_group(guest.link, second), OK, "it finds nothing");
    assert_eq!(bench.kernel.delete_group(guest.link, bench.group), OK, "one of two holds");
    assert_eq!(guest.put(&bench, 0, 0x1003), HypercallAnswer::Success);
    assert_eq!(bench.machine.live_tces(), 1);
}

#[test]
fn an_unbound_group_is_gone_for_the_link_as_well() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let number = bench.machine.groups()[0];
    let guest = Guest::new(&mut bench);
    bench
        .machine
        .set_guest_memory(guest.vm, GuestAddress::new(0), memory)
        .expect("it is whole pages");
    let table = guest.table(&mut bench, table_at_zero(LIOBN, 12, 16));
    assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
    assert_eq!(bench.machine.unbind(number), Unbind::Done);
    assert_eq!(guest.attach(&mut bench, table), failed(Errno::EIO));
    bench.machine.rebind(number);
    assert!(bench.kernel.open_group(number).is_ok(), "it is another object");
}

#[test]
fn nothing_is_left_when_all_is_closed() {
    let (mut bench, memory) = bench_with_window("powernv9");
    let (guest, table) = Guest::leasing(&mut bench, memory, 16);
    assert_eq!(guest.put(&bench, 0, 0x1003), HypercallAnswer::Success);
    for fd in [table.fd(), guest.link.fd(), guest.vm.fd(), bench.group.fd(), bench.container.fd()] {
        bench.kernel.close(fd).expect("it is open");
    }
    bench.machine.free(memory).expect("it is ours");
    assert!(bench.machine.left_behind().is_nothing(), "{:?}", bench.machine.left_behind());
}
