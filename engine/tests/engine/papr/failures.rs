//! The engine's refusals and faults, as the guest sees them.

use std::collections::BTreeMap;

use tce_engine::{
    Error,
    access::Access,
    addr::{Bytes, GuestAddress, Iova, PageShift},
    errno::Errno,
    error::{EditRefusal, Undone},
    lease::{LeaseRefusal, Timestamp},
    papr::{BusRequest, Failure, GuestTce, Hypercall, Liobn, ReturnCode},
    region::RegionRefusal,
};
use tce_sim::{Fault, Operation};

use crate::bench::{HIGH, K4, K64, NOW};

use super::guest::{Guest, LIOBN, LIST, Setup};

/// One call of each kind that would change or read the first TCE.
fn calls(tce: u64) -> [Hypercall; 4] {
    let (liobn, ioba, nothing) = (LIOBN, HIGH, GuestTce::default());
    [
        Hypercall::GetTce { liobn, ioba },
        Hypercall::PutTce { liobn, ioba, tce: GuestTce::new(tce) },
        Hypercall::PutTceIndirect { liobn, ioba, list: LIST, count: 4 },
        Hypercall::StuffTce { liobn, ioba, tce: nothing, count: 4 },
    ]
}

#[track_caller]
fn assert_all(guest: &mut Guest, code: ReturnCode) {
    let before = guest.bench.calls();
    for call in calls(0x1_0003) {
        assert_eq!(guest.code(&call), code, "{call:?}");
    }
    assert_eq!(guest.bench.calls(), before);
}

#[test]
fn the_bus_of_a_lease_that_ended_was_rescinded() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let (lease, tce) = (guest.lease, guest.tce(1));
        guest.put(0, tce);
        guest.engine().revoke(lease).expect("nothing fails");
        assert_all(&mut guest, ReturnCode::Rescinded);
        guest.assert_hardware(&BTreeMap::new());
    }
}

#[test]
fn the_bus_of_a_lease_whose_time_is_over_was_rescinded() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let window = guest.bus().window();
    let lease = guest.lease;
    guest.engine().revoke(lease).expect("nothing fails");
    let wanted = tce_engine::LeaseRequest {
        expires: Some(Timestamp(NOW.0 + 1)),
        ..crate::bench::request(window, guest.setup.window_size)
    };
    let lease = guest.bench.try_lease(wanted).expect("there is room");
    let old = guest.buses.remove(super::guest::liobn()).expect("it was there");
    let bus = BusRequest { lease, ..*old.request() };
    guest.buses.add(&guest.bench.engine, bus, NOW).expect("it lives");
    let tce = guest.tce(1);
    assert_eq!(guest.put(0, tce), ReturnCode::Success);
    for call in calls(0) {
        let late = Timestamp(NOW.0 + 1);
        let Guest { buses, bench, memory, .. } = &mut guest;
        let failure = buses.serve(&mut bench.engine, memory, &call, late).expect_err("too late");
        assert_eq!(failure.code(), ReturnCode::Rescinded);
    }
}

#[test]
fn a_bus_without_its_container_was_rescinded() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let group = guest.bench.group;
    guest.engine().detach(group).expect("nothing fails");
    assert_all(&mut guest, ReturnCode::Rescinded);
}

#[test]
fn more_tces_than_the_lease_may_have_are_more_than_the_guest_is_entitled_to() {
    let mut guest = Guest::new(Setup { tces_max: 3, ..Setup::ALL[0] });
    let tces = [1, 3, 5, 7].map(|page| guest.tce(page));
    let call = guest.list_call(0, &tces);
    let failure = guest.serve(&call).expect_err("too many");
    assert_eq!(failure.code(), ReturnCode::NotEnoughResources);
    let is_quota = matches!(failure, Failure::Engine(Error::Lease(LeaseRefusal::Quota { .. })));
    assert!(is_quota, "{failure}");
    guest.assert_hardware(&BTreeMap::new());
    assert_eq!(guest.put_list(0, &tces[..3]), ReturnCode::Success);
    assert_eq!(guest.put(3, tces[3]), ReturnCode::NotEnoughResources);
    // Some go as others come: the sum counts.
    assert_eq!(guest.put_list(2, &[0, tces[3]]), ReturnCode::Success);
}

#[test]
fn more_access_than_the_lease_allows_is_a_wrong_parameter() {
    let mut guest = Guest::new(Setup { access: Access::Read, ..Setup::ALL[0] });
    for bits in [2, 3] {
        assert_eq!(guest.put(0, 0x1000 | bits), ReturnCode::Parameter);
        assert_eq!(guest.put_list(0, &[0x1001, 0x2000 | bits]), ReturnCode::Parameter);
    }
    guest.assert_hardware(&BTreeMap::new());
    assert_eq!(guest.put(0, 0x1001), ReturnCode::Success);
}

#[test]
fn what_the_kernel_fails_is_a_hardware_error_and_changes_nothing() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let old = guest.tce(1);
    guest.put(0, old);
    let mapped = BTreeMap::from([(0, (GuestAddress::new(0x1000), Access::ReadWrite))]);
    for fault in [Fault::Errno(Errno::ENOMEM), Fault::Errno(Errno::EINTR), Fault::Value(1)] {
        guest.bench.machine.fail_next(Operation::Map, fault);
        assert_eq!(guest.put(0, 0x2003), ReturnCode::Hardware);
        guest.bench.machine.fail_next(Operation::Unmap, fault);
        assert_eq!(guest.stuff(0, 4), ReturnCode::Hardware);
        guest.assert_hardware(&mapped);
        assert_eq!(guest.get(0), (ReturnCode::Success, Some(old)));
    }
}

#[test]
fn a_range_that_could_not_be_put_back_is_a_hardware_error_until_its_lease_ends() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let old = guest.tce(1);
    guest.put(0, old);
    for nth in [1, 2] {
        guest.bench.machine.fail_nth(Operation::Map, nth, Fault::Errno(Errno::ENOMEM));
    }
    let call = guest.list_call(0, &[0x2003]);
    let failure = guest.serve(&call).expect_err("the kernel fails it");
    assert_eq!(failure.code(), ReturnCode::Hardware);
    let Failure::Engine(Error::Batch(batch)) = failure else { panic!("{failure}") };
    assert!(matches!(batch.outcome, Undone::Quarantined { .. }), "{batch}");
    // Reading too: nobody knows what is there.
    assert_all(&mut guest, ReturnCode::Hardware);
    assert_eq!(guest.put(1, 0x2003), ReturnCode::Success, "its neighbour is open");
}

#[test]
fn guest_memory_that_is_not_registered_is_a_hardware_error() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let region = guest.memory.slices[1].region;
    guest.engine().unregister(region).expect("nothing points into it");
    let tces = [0x1003, super::guest::SEAM | 3];
    let call = guest.list_call(0, &tces);
    let failure = guest.serve(&call).expect_err("it is gone");
    assert_eq!(failure.code(), ReturnCode::Hardware);
    let refusal = RegionRefusal::Gone(region);
    let expected = Failure::Engine(Error::Edit(EditRefusal::Region { edit: 1, refusal }));
    assert_eq!(failure, expected);
    guest.assert_hardware(&BTreeMap::new());
}

#[test]
fn guest_memory_in_smaller_pages_than_the_windows_is_a_hardware_error() {
    let mut guest = Guest::new(Setup::new("powernv9", K64, PageShift::M2));
    assert_eq!(guest.put(0, 0x20_0003), ReturnCode::Hardware);
    guest.assert_hardware(&BTreeMap::new());
    let mut same = Guest::new(Setup::new("powernv9", K4, PageShift::M2));
    assert_eq!(same.put(0, 0x20_0003), ReturnCode::Success);
}

#[test]
fn a_guest_that_gives_one_of_two_windows_up_keeps_the_other() {
    let mut guest = Guest::new(Setup::new("powernv9-64k", K64, K64));
    let lease = guest.lease;
    let default = guest.bench.default_window();
    let size = Bytes::mib(1);
    let claim = guest.engine().extend_lease(lease, default, Some(Iova::new(0)), size);
    let claim = claim.expect("there is room");
    let low = BusRequest { liobn: Liobn(1), lease, claim, page: K4 };
    guest.buses.add(&guest.bench.engine, low, NOW).expect("the lease has both");
    let low_put = Hypercall::PutTce { liobn: 1, ioba: 0x2000, tce: GuestTce::new(0x1003) };
    assert_eq!(guest.code(&low_put), ReturnCode::Success);
    let tce = guest.tce(1);
    assert_eq!(guest.put(0, tce), ReturnCode::Success);
    assert_eq!(guest.bench.machine.live_tces(), 2);
    let high = guest.bus().window();
    guest.engine().give_up_part(lease, high).expect("it has another");
    assert_all(&mut guest, ReturnCode::Rescinded);
    let low_get = Hypercall::GetTce { liobn: 1, ioba: 0x2000 };
    let value = guest.serve(&low_get).expect("it is there").value();
    assert_eq!((value, guest.bench.machine.live_tces()), (Some(0x1003), 1));
}
