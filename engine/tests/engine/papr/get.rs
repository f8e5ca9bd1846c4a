//! `H_GET_TCE`: the guest's own view of what is mapped.

use tce_engine::{
    access::Access,
    addr::Iova,
    edit::Edit,
    papr::{Hypercall, ReturnCode},
};

use crate::bench::{HIGH, NOW};

use super::guest::{Guest, LIOBN, MEMORY_END, SEAM, Setup};

#[test]
fn a_tce_reads_as_it_was_written() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let page = guest.page_bytes();
        let addresses = [0, page, SEAM - page, SEAM, MEMORY_END - page];
        for (index, address) in (0..).zip(addresses) {
            for bits in 1..=3 {
                assert_eq!(guest.put(index, address | bits), ReturnCode::Success);
                assert_eq!(guest.get(index), (ReturnCode::Success, Some(address | bits)));
            }
        }
        assert_eq!(guest.stuff(1, 1), ReturnCode::Success);
        assert_eq!(guest.get(1), (ReturnCode::Success, Some(0)));
        assert_eq!(guest.get(0), (ReturnCode::Success, Some(3)), "address 0 is a page as others");
    }
}

#[test]
fn reading_takes_no_kernel_call() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let tce = guest.tce(4);
    guest.put(0, tce);
    let calls = guest.bench.calls();
    assert_eq!(guest.get(0), (ReturnCode::Success, Some(tce)));
    assert_eq!(guest.get(1), (ReturnCode::Success, Some(0)));
    assert_eq!(guest.bench.calls(), calls);
}

#[test]
fn a_tce_in_the_middle_of_a_run_reads_as_its_own_page() {
    let mut guest = Guest::new(Setup::ALL[1]);
    let tces: Vec<u64> = (3..20).map(|page| guest.tce(page)).collect();
    guest.put_list(0, &tces);
    for (index, tce) in (0..).zip(tces) {
        assert_eq!(guest.get(index), (ReturnCode::Success, Some(tce)));
    }
}

#[test]
fn memory_that_is_not_the_guests_reads_as_partial() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let (region, memory) = guest.bench.region(tce_engine::addr::Bytes::mib(1));
    let edit = Edit::Map {
        iova: Iova::new(HIGH),
        region,
        offset: tce_engine::addr::Bytes::ZERO,
        size: memory.size,
        access: Access::Read,
    };
    let lease = guest.lease;
    guest.engine().apply(lease, &[edit], NOW).expect("the VMM's own mapping");
    let answer = guest.serve(&Hypercall::GetTce { liobn: LIOBN, ioba: HIGH + 0x1000 });
    let answer = answer.expect("it can be read");
    assert_eq!(answer.code(), ReturnCode::Partial);
    assert_eq!(answer.value(), Some(0xffff_ffff_ffff_f001));
}
