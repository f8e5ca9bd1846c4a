//! Bus addresses that the engine chooses.

use tce_engine::{
    addr::{Bytes, PageShift},
    iova::{AddressRefusal, GiveBackRefusal, TakeRefusal},
    window::Claim,
};

use crate::{
    bench::{Bench, NOW, PROFILES},
    truth::assert_agreement,
};

#[test]
fn addresses_are_inside_the_lease_aligned_and_never_given_out_twice() {
    for name in PROFILES {
        let (mut bench, tenant) = Bench::with_tenant(name);
        bench.apply(&tenant, &[tenant.map(0, 4, 0), tenant.map(9, 1, 9)]);
        let mut addresses =
            bench.engine.lease_addresses(tenant.lease, tenant.window).expect("it has a range");
        let taken = Bytes::new(5 << tenant.page.raw());
        assert_eq!(addresses.free().saturating_add(taken), tenant.claim.size, "what is mapped");
        let first = addresses.take(Bytes::new(1), tenant.page).expect("there is room");
        assert_eq!(first, tenant.range(4, 1), "a page at least, behind what is mapped");
        let five = addresses.take(Bytes::new(5 << tenant.page.raw()), tenant.page);
        assert_eq!(five, Ok(tenant.range(10, 5)), "four are free between");
        let aligned = addresses.take(Bytes::mib(2), PageShift::M2).expect("there is room");
        assert!(aligned.start.is_aligned(PageShift::M2));
        let edit = tenant.map(4, 1, 20);
        bench.engine.apply(tenant.lease, &[edit], NOW).expect("it is inside the lease");
        assert_agreement(&bench.machine, &bench.engine);
        addresses.give_back(aligned).expect("it was given out");
        let pages = aligned.size.pages_up(tenant.page);
        let twice = addresses.give_back(aligned).expect_err("it is free");
        let index =
            aligned.start.offset_from(tenant.claim.start).expect("inside").pages_up(tenant.page);
        let not_taken = GiveBackRefusal::NotTaken { first: index.raw(), pages };
        assert_eq!(twice, AddressRefusal::GiveBack(not_taken));
        assert_eq!(addresses.take_at(aligned), Ok(()));
        let all = addresses.take(tenant.claim.size, tenant.page);
        assert!(matches!(all, Err(AddressRefusal::Take(TakeRefusal::NoRoom { .. }))), "{all:?}");
        let outside = Claim { start: tenant.claim.start, size: Bytes::gib(1) };
        assert!(matches!(addresses.give_back(outside), Err(AddressRefusal::Claim(_))));
        bench.close();
    }
}
