//! Reserved ranges that the embedder adds are kept clear of, from layouts to edits.

use tce_engine::{
    Error,
    addr::{Bytes, Iova},
    edit::Edit,
    error::EditRefusal,
    facts::{PlatformLimits, ReservedRange, Slot},
    layout::{LayoutRefusal, Need, WindowChoice},
    lease::LeaseRefusal,
    window::ClaimRefusal,
};
use tce_sim::Profile;

use crate::{
    bench::{Bench, HIGH, K4, K64, NOW, choice, request},
    truth::assert_agreement,
};

const MSI: ReservedRange =
    ReservedRange { start: Iova::new(HIGH + 0x1000), size: Bytes::kib(4), what: "msi" };

fn bench() -> Bench {
    let limits = PlatformLimits::default().with_reserved(vec![MSI]).expect("it is a good range");
    Bench::with_limits(Profile::powernv9(), limits)
}

#[test]
fn a_range_of_the_embedders_takes_no_need_no_lease_and_no_edit() {
    let mut bench = bench();
    assert!(bench.engine.facts().expect("a group").reserved.contains(&MSI));
    let need = Need { size: Bytes::mib(1), backing: K64, at: None };
    let full = WindowChoice { needs: vec![need], ..choice(Slot::One, K64, Bytes::mib(1)) };
    let refused = bench.try_windows(&[full]);
    assert!(matches!(refused, Err(Error::Layout(LayoutRefusal::NoRoom { .. }))), "{refused:?}");
    let window = bench.window(Slot::One, K4, Bytes::mib(1));
    let at_start =
        tce_engine::LeaseRequest { at: Some(Iova::new(HIGH)), ..request(window, Bytes::mib(1)) };
    let refused = bench.try_lease(at_start);
    let is_reserved = matches!(
        refused,
        Err(Error::Lease(LeaseRefusal::Claim(ClaimRefusal::Reserved { what: "msi", .. })))
    );
    assert!(is_reserved, "{refused:?}");
    let tenant = bench.tenant(window, Bytes::kib(1016));
    assert_eq!(tenant.claim.start, Iova::new(HIGH + 0x2000), "behind it");
    let below = Edit::Map {
        iova: MSI.start,
        region: tenant.region,
        offset: Bytes::ZERO,
        size: Bytes::kib(4),
        access: tce_engine::access::Access::ReadWrite,
    };
    let refused = bench.engine.apply(tenant.lease, &[below], NOW);
    let is_reserved = matches!(
        refused,
        Err(Error::Edit(EditRefusal::Claim { refusal: ClaimRefusal::Reserved { .. }, .. }))
    );
    assert!(is_reserved, "{refused:?}");
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_page_that_is_reserved_in_part_is_no_room_for_leases() {
    let mut bench = bench();
    let window = bench.window(Slot::One, K64, Bytes::mib(1));
    let whole_pages = Bytes::kib(960);
    assert_eq!(bench.engine.unleased(window), whole_pages, "not 1020 KiB");
    bench.try_lease(request(window, whole_pages)).expect("what is told to be free is");
    assert_eq!(bench.engine.unleased(window), Bytes::ZERO);
    bench.close();
}

#[test]
fn a_reserved_range_across_a_page_border_takes_both_pages() {
    let across = ReservedRange { start: Iova::new(HIGH + 0x1_f000), size: Bytes::kib(8), ..MSI };
    let limits = PlatformLimits::default().with_reserved(vec![across]).expect("a good range");
    let mut bench = Bench::with_limits(Profile::powernv9(), limits);
    let window = bench.window(Slot::One, K64, Bytes::mib(1));
    assert_eq!(bench.engine.unleased(window), Bytes::kib(896));
    for size in [64, 832] {
        bench.try_lease(request(window, Bytes::kib(size))).expect("both sides have room");
    }
    assert_eq!(bench.engine.unleased(window), Bytes::ZERO);
    bench.close();
}
