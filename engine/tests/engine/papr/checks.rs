//! What a guest's registers may be, and the return code for what they may not be.

use std::collections::BTreeMap;

use tce_engine::{
    access::Access,
    addr::{GuestAddress, PageShift},
    papr::{Failure, GuestTce, Hypercall, HypercallRefusal, ReturnCode},
};

use crate::bench::HIGH;

use super::guest::{Guest, LIOBN, LIST, MEMORY_END, SEAM, Setup};

const NOTHING: GuestTce = GuestTce::new(0);

/// One call of each kind.
fn calls(liobn: u64, ioba: u64) -> [Hypercall; 4] {
    [
        Hypercall::GetTce { liobn, ioba },
        Hypercall::PutTce { liobn, ioba, tce: NOTHING },
        Hypercall::PutTceIndirect { liobn, ioba, list: LIST, count: 1 },
        Hypercall::StuffTce { liobn, ioba, tce: NOTHING, count: 1 },
    ]
}

/// The refusal of a call, for which no kernel call may be made and no TCE changed.
#[track_caller]
fn refused(guest: &mut Guest, call: &Hypercall) -> (ReturnCode, HypercallRefusal) {
    let calls = guest.bench.calls();
    let failure = guest.serve(call).expect_err("it is wrong");
    assert_eq!(guest.bench.calls(), calls, "{call:?}");
    let code = failure.code();
    let Failure::Refused(refusal) = failure else { panic!("{call:?}: {failure}") };
    (code, refusal)
}

#[track_caller]
fn assert_parameter(guest: &mut Guest, call: &Hypercall) -> HypercallRefusal {
    let (code, refusal) = refused(guest, call);
    assert_eq!(code, ReturnCode::Parameter, "{call:?}: {refusal}");
    refusal
}

#[test]
fn a_bus_that_is_not_there_is_a_wrong_parameter() {
    let mut guest = Guest::new(Setup::ALL[0]);
    // The last is a bus of the guest, but for its upper bits.
    for liobn in [0, LIOBN + 1, LIOBN | 1 << 32] {
        for call in calls(liobn, HIGH) {
            let refusal = assert_parameter(&mut guest, &call);
            assert_eq!(refusal, HypercallRefusal::NoBus(liobn));
        }
    }
}

#[test]
fn a_list_for_several_tables_is_a_function_that_is_not_offered() {
    let mut guest = Guest::new(Setup::ALL[0]);
    for liobn in [u64::MAX, 1 << 63] {
        for call in calls(liobn, HIGH) {
            let (code, _) = refused(&mut guest, &call);
            let is_list = matches!(call, Hypercall::PutTceIndirect { .. });
            let expected = if is_list { ReturnCode::Function } else { ReturnCode::Parameter };
            assert_eq!(code, expected, "{call:?}");
        }
    }
}

#[test]
fn a_bus_address_inside_a_page_or_outside_the_bus_is_a_wrong_parameter() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(Setup { tces: Some(16), ..setup });
        let page = guest.page_bytes();
        for inside in [1, page / 2, page - 1] {
            for call in calls(LIOBN, HIGH + inside) {
                let refusal = assert_parameter(&mut guest, &call);
                assert!(matches!(refusal, HypercallRefusal::Misaligned { .. }), "{refusal}");
            }
        }
        for outside in [0, HIGH - page, HIGH + 16 * page, HIGH << 1, u64::MAX - page + 1] {
            for call in calls(LIOBN, outside) {
                let refusal = assert_parameter(&mut guest, &call);
                assert!(matches!(refusal, HypercallRefusal::Outside { .. }), "{refusal}");
            }
        }
    }
}

#[test]
fn registers_full_of_ones_are_wrong_parameters() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let max = u64::MAX;
    let tce = GuestTce::new(max);
    for call in [
        Hypercall::GetTce { liobn: LIOBN, ioba: max },
        Hypercall::PutTce { liobn: LIOBN, ioba: max, tce },
        Hypercall::PutTce { liobn: LIOBN, ioba: HIGH, tce },
        Hypercall::PutTce { liobn: LIOBN, ioba: HIGH, tce: GuestTce::new(max << 12 | 3) },
        Hypercall::PutTceIndirect { liobn: LIOBN, ioba: HIGH, list: max, count: 1 },
        Hypercall::PutTceIndirect { liobn: LIOBN, ioba: HIGH, list: max << 12, count: 512 },
        Hypercall::PutTceIndirect { liobn: LIOBN, ioba: HIGH, list: LIST, count: max },
        Hypercall::PutTceIndirect { liobn: LIOBN, ioba: max << 12, list: LIST, count: 512 },
        Hypercall::StuffTce { liobn: LIOBN, ioba: HIGH, tce, count: 1 },
        Hypercall::StuffTce { liobn: LIOBN, ioba: HIGH, tce: NOTHING, count: max },
        Hypercall::StuffTce { liobn: LIOBN, ioba: HIGH, tce: NOTHING, count: 1 << 52 },
        Hypercall::StuffTce { liobn: LIOBN, ioba: max << 12, tce: NOTHING, count: max },
    ] {
        assert_parameter(&mut guest, &call);
    }
}

#[test]
fn the_last_tce_of_a_bus_is_usable_and_the_one_behind_it_is_not() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let last = guest.bus().tces().raw() - 1;
        let tce = guest.tce(3);
        assert_eq!(guest.put(last, tce), ReturnCode::Success);
        assert_eq!(guest.get(last), (ReturnCode::Success, Some(tce)));
        assert_eq!(guest.put_list(last - 1, &[tce, tce]), ReturnCode::Success);
        assert_eq!(guest.put_list(last, &[0, 0]), ReturnCode::Parameter);
        assert_eq!(guest.stuff(last, 2), ReturnCode::Parameter);
        let page = guest.page_bytes();
        let mapped = (GuestAddress::new(3 * page), Access::ReadWrite);
        guest.assert_hardware(&BTreeMap::from([(last - 1, mapped), (last, mapped)]));
        assert_eq!(guest.stuff(last, 1), ReturnCode::Success);
        guest.assert_hardware(&BTreeMap::from([(last - 1, mapped)]));
    }
}

#[test]
fn a_list_is_at_most_512_tces_on_a_border_of_4_kib_of_guest_memory() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let call = |list, count| Hypercall::PutTceIndirect { liobn: LIOBN, ioba: HIGH, list, count };
    let refusal = assert_parameter(&mut guest, &call(LIST, 513));
    assert_eq!(refusal, HypercallRefusal::ListTooLong(513));
    for list in [LIST + 8, LIST + 2048, LIST + 4088, 1] {
        let refusal = assert_parameter(&mut guest, &call(list, 1));
        assert_eq!(refusal, HypercallRefusal::ListMisaligned(GuestAddress::new(list)));
    }
    for list in [MEMORY_END, MEMORY_END + 4096, 1 << 60] {
        let refusal = assert_parameter(&mut guest, &call(list, 1));
        assert!(matches!(refusal, HypercallRefusal::NoList(_)), "{refusal}");
    }
    for list in [0, LIST, SEAM - 4096, SEAM, MEMORY_END - 4096] {
        assert_eq!(guest.code(&call(list, 512)), ReturnCode::Success, "{list:#x}");
    }
}

#[test]
fn no_tces_at_all_are_nothing_to_do_if_all_else_is_right() {
    let mut guest = Guest::new(Setup { tces: Some(8), ..Setup::ALL[0] });
    let list = |ioba, list| Hypercall::PutTceIndirect { liobn: LIOBN, ioba, list, count: 0 };
    let stuff = |ioba| Hypercall::StuffTce { liobn: LIOBN, ioba, tce: NOTHING, count: 0 };
    let tce = guest.tce(1);
    guest.put(0, tce);
    let (codes, calls) = guest.calls_of(|guest| {
        // Nobody reads a list of nothing, so it may be anywhere.
        let right = [list(HIGH, LIST), list(HIGH, 1 << 60), stuff(HIGH)];
        right.map(|call| guest.code(&call))
    });
    assert_eq!((codes, calls), ([ReturnCode::Success; 3], (0, 0)));
    assert_eq!(guest.memory.reads.get(), 0);
    for call in [list(HIGH, 8), list(HIGH + 8 * 4096, LIST), stuff(HIGH + 8 * 4096), stuff(0)] {
        assert_parameter(&mut guest, &call);
    }
}

#[test]
fn a_tce_points_to_a_whole_page_of_guest_memory() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let page = guest.page_bytes();
        let last = MEMORY_END / page - 1;
        for wrong in [MEMORY_END, MEMORY_END + page, 1 << 60, !(page - 1)] {
            assert_eq!(guest.put(0, wrong | 1), ReturnCode::Parameter, "{wrong:#x}");
            let tces = [guest.tce(last), wrong | 1];
            let call = guest.list_call(0, &tces);
            let refusal = assert_parameter(&mut guest, &call);
            let is_named = matches!(refusal, HypercallRefusal::NoMemory { number: 1, .. });
            assert!(is_named, "{refusal}");
        }
        // Inside a page, and the reserved bits.
        for wrong in [4, 0x800, page / 2] {
            let tces = [0, 0, (page + wrong) | 3];
            let call = guest.list_call(0, &tces);
            let refusal = assert_parameter(&mut guest, &call);
            let is_named = matches!(refusal, HypercallRefusal::MalformedTce { number: 2, .. });
            assert!(is_named, "{refusal}");
        }
        guest.assert_hardware(&BTreeMap::new());
        let tce = guest.tce(last);
        assert_eq!(guest.put(0, tce), ReturnCode::Success);
    }
}

#[test]
fn a_guest_page_that_only_begins_in_guest_memory_is_a_wrong_parameter() {
    let mut guest = Guest::new(Setup::new("powernv9", PageShift::K4, PageShift::K64));
    // Memory that ends 4 KiB into a page of the guest.
    let (region, host) = guest.bench.region(tce_engine::addr::Bytes::kib(68));
    guest.memory.slices.push(super::guest::Slice { start: 16 << 20, host, region });
    assert_eq!(guest.put(0, 16 << 20 | 3), ReturnCode::Success);
    assert_eq!(guest.put(1, ((16 << 20) + (64 << 10)) | 3), ReturnCode::Parameter);
    let mapped = (GuestAddress::new(16 << 20), Access::ReadWrite);
    guest.assert_hardware(&BTreeMap::from([(0, mapped)]));
}

#[test]
fn the_lowest_two_bits_say_what_devices_may_do() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let page = guest.page_bytes();
        let accesses = [Access::Read, Access::Write, Access::ReadWrite];
        let mut expected = BTreeMap::new();
        for ((index, bits), access) in (0..).zip([1, 2, 3]).zip(accesses) {
            assert_eq!(guest.put(index, page | bits), ReturnCode::Success);
            expected.insert(index, (GuestAddress::new(page), access));
        }
        guest.assert_hardware(&expected);
        // Without them a TCE maps nothing, whatever else it says: "poison" is none of the hardware's business.
        assert_eq!(guest.put(0, 0xdead_beef_dead_bee0), ReturnCode::Success);
        assert_eq!(guest.put_list(1, &[1 << 60]), ReturnCode::Success);
        expected.retain(|index, _| *index == 2);
        guest.assert_hardware(&expected);
        let (liobn, ioba) = (LIOBN, guest.ioba(2));
        let tce = GuestTce::new(0xdead_beef_dead_bee0);
        let poison = Hypercall::StuffTce { liobn, ioba, tce, count: 1 };
        assert_eq!(guest.code(&poison), ReturnCode::Success);
        guest.assert_hardware(&BTreeMap::new());
    }
}

#[test]
fn what_maps_a_page_cannot_be_stuffed() {
    let mut guest = Guest::new(Setup::ALL[0]);
    for bits in 1..=3 {
        let tce = GuestTce::new(0x1000 | bits);
        let call = Hypercall::StuffTce { liobn: LIOBN, ioba: HIGH, tce, count: 2 };
        assert_eq!(assert_parameter(&mut guest, &call), HypercallRefusal::StuffedMapping(tce));
    }
}
