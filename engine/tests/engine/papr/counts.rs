//! How many kernel calls a hypercall takes.

use std::collections::BTreeMap;

use tce_engine::{
    access::Access,
    addr::{Bytes, GuestAddress},
    papr::ReturnCode,
    plan::CALL_TCES_MAX,
};

use super::guest::{Guest, Setup};

const DONE: ReturnCode = ReturnCode::Success;

/// 80 pages of 64 KiB are in the guest's memory, so longer lists come back to pages they had.
const LONGEST_CONTIGUOUS: u64 = 64;

#[test]
fn a_list_of_contiguous_pages_is_one_call() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let pages = if guest.page_bytes() == 4096 { 512 } else { LONGEST_CONTIGUOUS };
        let tces: Vec<u64> = (0..pages).map(|page| guest.tce(page)).collect();
        let set = guest.bench.machine.tces_set();
        assert_eq!(guest.calls_of(|guest| guest.put_list(1, &tces)), (DONE, (1, 0)));
        let subpages = guest.page_bytes() / setup.window_page.bytes().raw();
        assert_eq!(guest.bench.machine.tces_set() - set, pages * subpages);
        // Once more, and each alone: nothing changes, so nothing is called.
        assert_eq!(guest.calls_of(|guest| guest.put_list(1, &tces)), (DONE, (0, 0)));
        assert_eq!(guest.calls_of(|guest| guest.put(1, tces[0])), (DONE, (0, 0)));
        assert_eq!(guest.calls_of(|guest| guest.put_list(1, &vec![0; tces.len()])), (DONE, (0, 1)));
        assert_eq!(guest.calls_of(|guest| guest.stuff(1, pages)), (DONE, (0, 0)));
    }
}

#[test]
fn a_list_of_pages_apart_is_a_call_for_each_run_of_them() {
    let mut guest = Guest::new(Setup::ALL[0]);
    // Pairs: 0 1, 3 4, 6 7, …
    let pairs: Vec<u64> = (0..512).map(|n| guest.tce(n / 2 * 3 + n % 2)).collect();
    assert_eq!(guest.calls_of(|guest| guest.put_list(0, &pairs)), (DONE, (256, 0)));
    // Downwards no page follows the one before.
    let down: Vec<u64> = (0..512).map(|n| guest.tce(600 - n)).collect();
    assert_eq!(guest.calls_of(|guest| guest.put_list(600, &down)), (DONE, (512, 0)));
    // The same page again and again.
    let same = vec![guest.tce(9); 100];
    assert_eq!(guest.calls_of(|guest| guest.put_list(1200, &same)), (DONE, (100, 0)));
}

#[test]
fn what_a_list_leaves_as_it_is_takes_no_call() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let old: Vec<u64> = (0..64).map(|page| guest.tce(page)).collect();
    guest.put_list(0, &old);
    let mut new = old.clone();
    new[10] = guest.tce(100);
    new[11] = guest.tce(101);
    new[40] = guest.tce(200);
    assert_eq!(guest.calls_of(|guest| guest.put_list(0, &new)), (DONE, (2, 0)));
    let access_changed: Vec<u64> = new.iter().map(|tce| tce & !2).collect();
    // Five runs, for three pages lie elsewhere.
    assert_eq!(guest.calls_of(|guest| guest.put_list(0, &access_changed)), (DONE, (5, 0)));
    let mut holes = access_changed.clone();
    (20..30).for_each(|index| holes[index] = 0);
    holes[63] = 0;
    assert_eq!(guest.calls_of(|guest| guest.put_list(0, &holes)), (DONE, (0, 2)));
}

#[test]
fn a_whole_window_is_cleared_by_one_call() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let tces = guest.bus().tces().raw();
        for index in [0, 1, 5, tces / 2, tces - 1] {
            let tce = guest.tce(index % 7);
            assert_eq!(guest.put(index, tce), DONE);
        }
        assert_eq!(guest.calls_of(|guest| guest.stuff(0, tces)), (DONE, (0, 1)));
        guest.assert_hardware(&BTreeMap::new());
        assert_eq!(guest.calls_of(|guest| guest.stuff(0, tces)), (DONE, (0, 0)));
    }
}

#[test]
fn a_window_of_more_tces_than_a_call_takes_is_cleared_in_as_few_as_there_can_be() {
    let setup = Setup { window_size: Bytes::gib(8), ..Setup::ALL[0] };
    let mut guest = Guest::new(setup);
    let tces = guest.bus().tces().raw();
    assert_eq!(tces, 2 * CALL_TCES_MAX);
    let tce = guest.tce(1);
    for (indices, calls) in [
        (vec![0, CALL_TCES_MAX - 1], 1),
        (vec![0, CALL_TCES_MAX - 1, CALL_TCES_MAX, tces - 1], 2),
        (vec![CALL_TCES_MAX / 2, CALL_TCES_MAX + 7], 1),
    ] {
        indices.iter().for_each(|index| assert_eq!(guest.put(*index, tce), DONE));
        assert_eq!(guest.calls_of(|guest| guest.stuff(0, tces)), (DONE, (0, calls)));
        guest.assert_hardware(&BTreeMap::new());
    }
}

#[test]
fn a_guest_page_of_several_tces_is_one_call() {
    let mut guest = Guest::new(Setup::ALL[1]);
    let tce = guest.tce(2);
    let set = guest.bench.machine.tces_set();
    assert_eq!(guest.calls_of(|guest| guest.put(3, tce)), (DONE, (1, 0)));
    assert_eq!(guest.bench.machine.tces_set() - set, 16);
    let mapped = (GuestAddress::new(0x2_0000), Access::ReadWrite);
    guest.assert_hardware(&BTreeMap::from([(3, mapped)]));
    assert_eq!(guest.calls_of(|guest| guest.put(3, 0)), (DONE, (0, 1)));
    assert_eq!(guest.bench.machine.live_tces(), 0);
}
