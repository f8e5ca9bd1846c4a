//! Which buses a guest can have.

use tce_engine::{
    Error,
    addr::{Bytes, Iova, PageShift},
    error::EditRefusal,
    facts::Slot,
    lease::LeaseRefusal,
    lingering::{Deferral, Unmapping},
    papr::{BUSES_MAX, Bus, BusRefusal, BusRequest, Buses, Hypercall, Liobn, ReturnCode},
    window::{Claim, ClaimRefusal},
};

use crate::bench::{HIGH, K4, K64, NOW, request};

use super::guest::{Guest, Setup, liobn};

const WINDOW: u64 = 64 << 20;

fn claim(start: u64, size: u64) -> Claim {
    Claim { start: Iova::new(start), size: Bytes::new(size) }
}

/// A guest without a bus, and one that it could have: 1 MiB at the window's start.
fn without_bus(page: PageShift) -> (Guest, BusRequest) {
    let mut guest = Guest::new(Setup::new("powernv9", page, page));
    let request = *guest.buses.remove(liobn()).expect("it was there").request();
    (guest, BusRequest { claim: claim(HIGH, 1 << 20), ..request })
}

fn add(guest: &mut Guest, request: BusRequest) -> Result<(), BusRefusal> {
    let calls = guest.bench.calls();
    let added = guest.buses.add(&guest.bench.engine, request, NOW);
    assert_eq!(guest.bench.calls(), calls, "nothing is mapped or unmapped");
    added
}

#[test]
fn a_guest_page_smaller_than_the_windows_is_refused() {
    let (mut guest, request) = without_bus(K64);
    let refusal = BusRefusal::PageTooSmall { guest: K4, window: K64 };
    assert_eq!(add(&mut guest, BusRequest { page: K4, ..request }), Err(refusal));
    for page in [K64, PageShift::M2, PageShift::M16] {
        let claim = claim(HIGH, WINDOW);
        assert_eq!(add(&mut guest, BusRequest { page, claim, ..request }), Ok(()));
        let removed = guest.buses.remove(liobn());
        let tces = removed.map(|bus| bus.tces().raw());
        assert_eq!(tces, Some(WINDOW >> page.raw()));
    }
}

#[test]
fn a_bus_is_whole_pages_of_one_window() {
    let (mut guest, request) = without_bus(K4);
    for (start, size) in [(HIGH, 0), (HIGH + 1, 0x1000), (HIGH, 0x1001), (HIGH + 0x800, 0x800)] {
        let claim = claim(start, size);
        let refusal = BusRefusal::Misaligned { claim, page: K4 };
        assert_eq!(add(&mut guest, BusRequest { claim, ..request }), Err(refusal));
    }
    for start in [0, HIGH - 0x1000, HIGH + WINDOW, u64::MAX - 0xfff] {
        let claim = claim(start, 0x1000);
        let refusal = BusRefusal::NoWindow(claim);
        assert_eq!(add(&mut guest, BusRequest { claim, ..request }), Err(refusal));
    }
    for size in [WINDOW + 0x1000, u64::MAX - 0xfff] {
        let refusal = add(&mut guest, BusRequest { claim: claim(HIGH, size), ..request });
        let refused = matches!(refusal, Err(BusRefusal::Claim(ClaimRefusal::Outside { .. })));
        assert!(refused, "{refusal:?}");
    }
    assert_eq!(add(&mut guest, BusRequest { claim: claim(HIGH, WINDOW), ..request }), Ok(()));
}

#[test]
fn a_bus_lies_in_a_lease_that_lives() {
    let (mut guest, bus) = without_bus(K4);
    guest.engine().revoke(bus.lease).expect("nothing fails");
    let refusal = add(&mut guest, bus);
    let ended = Err(BusRefusal::Engine(Error::Lease(LeaseRefusal::Ended {
        lease: bus.lease,
        cause: tce_engine::lease::EndCause::Revoked,
    })));
    assert_eq!(refusal, ended);
    let window = guest.bench.engine.windows().next().expect("there is one").window().id;
    let lease = guest.bench.try_lease(request(window, Bytes::mib(1))).expect("there is room");
    let bus = BusRequest { lease, ..bus };
    let refusal = add(&mut guest, BusRequest { claim: claim(HIGH, 2 << 20), ..bus });
    let outside = matches!(
        refusal,
        Err(BusRefusal::Engine(Error::Edit(EditRefusal::Lease {
            refusal: LeaseRefusal::Outside { .. },
            ..
        })))
    );
    assert!(outside, "{refusal:?}");
    assert_eq!(add(&mut guest, bus), Ok(()));
}

#[test]
fn buses_share_neither_numbers_nor_addresses() {
    let (mut guest, bus) = without_bus(K4);
    let other = Liobn(7);
    assert_eq!(add(&mut guest, BusRequest { claim: claim(HIGH + 0x4000, 0x4000), ..bus }), Ok(()));
    assert_eq!(add(&mut guest, bus), Err(BusRefusal::Taken(liobn())));
    for (start, size) in [(0, 0x5000), (0x7000, 0x1000), (0x4000, 0x4000), (0, 0x10000)] {
        let claim = claim(HIGH + start, size);
        let refusal = BusRefusal::Overlaps { claim, other: liobn() };
        assert_eq!(add(&mut guest, BusRequest { liobn: other, claim, ..bus }), Err(refusal));
    }
    for (number, start) in [(7, 0), (8, 0x8000)] {
        let (liobn, claim) = (Liobn(number), claim(HIGH + start, 0x4000));
        assert_eq!(add(&mut guest, BusRequest { liobn, claim, ..bus }), Ok(()));
    }
    assert_eq!(guest.buses.iter().count(), 3);
}

#[test]
fn each_bus_has_its_own_page_and_window() {
    let mut guest = Guest::new(Setup::new("powernv9-64k", K64, K64));
    let default = guest.bench.default_window();
    let lease = guest.bench.try_lease(request(default, Bytes::mib(1))).expect("there is room");
    let low = BusRequest { liobn: Liobn(1), lease, claim: claim(0, 1 << 20), page: K4 };
    assert_eq!(add(&mut guest, low), Ok(()));
    let slots = |guest: &Guest, liobn| guest.buses.get(liobn).map(|bus: &Bus| bus.window().slot);
    assert_eq!(slots(&guest, Liobn(1)), Some(Slot::Zero));
    assert_eq!(slots(&guest, liobn()), Some(Slot::One));
    let tce = tce_engine::papr::GuestTce::new(0x1003);
    let call = Hypercall::PutTce { liobn: 1, ioba: 0x2000, tce };
    assert_eq!(guest.code(&call), ReturnCode::Success);
    assert_eq!(guest.put(2, 0x2_0003), ReturnCode::Success);
    let container = guest.bench.container();
    let host = |at| guest.memory.host_of(tce_engine::addr::GuestAddress::new(at));
    let tce = |iova| guest.bench.machine.tce(container, Iova::new(iova)).map(|tce| tce.address);
    assert_eq!(tce(0x2000), host(0x1000));
    assert_eq!(tce(HIGH + 0x2_0000), host(0x2_0000));
    assert_eq!(guest.bench.machine.live_tces(), 2);
}

#[test]
fn there_is_a_limit() {
    let (mut guest, bus) = without_bus(K4);
    let nth = |n: u32| {
        let claim = claim(HIGH + u64::from(n) * 0x1000, 0x1000);
        BusRequest { liobn: Liobn(n), claim, ..bus }
    };
    let max = u32::try_from(BUSES_MAX).expect("it is small");
    (0..max).for_each(|n| assert_eq!(add(&mut guest, nth(n)), Ok(())));
    assert_eq!(add(&mut guest, nth(max)), Err(BusRefusal::TooMany));
    assert!(guest.buses.remove(Liobn(3)).is_some());
    assert_eq!(add(&mut guest, nth(max)), Ok(()));
}

#[test]
fn a_container_without_groups_has_no_window_for_a_bus() {
    let (mut guest, bus) = without_bus(K4);
    let group = guest.bench.group;
    guest.engine().detach(group).expect("nothing fails");
    let mut buses = Buses::default();
    let refusal = buses.add(&guest.bench.engine, bus, NOW);
    assert_eq!(refusal, Err(BusRefusal::NoWindow(bus.claim)));
}

#[test]
fn a_lease_that_unmaps_later_is_none_for_a_guest() {
    let (mut guest, bus) = without_bus(K4);
    let lease = guest.lease;
    guest.engine().revoke(lease).expect("nothing fails");
    let window = guest.bench.engine.windows().next().expect("there is one").window().id;
    let wanted = tce_engine::LeaseRequest {
        unmapping: Unmapping::Deferred(Deferral::new(64, 10).expect("within the limits")),
        ..request(window, Bytes::mib(1))
    };
    let lease = guest.bench.try_lease(wanted).expect("there is room");
    let refusal = add(&mut guest, BusRequest { lease, ..bus });
    assert_eq!(refusal, Err(BusRefusal::Deferred(lease)));
}
