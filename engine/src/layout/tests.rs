mod partitions;

use super::*;
use crate::kernel::{Platform, SpaprInfo, SystemFacts};

const HIGH: Iova = Iova::new(1 << 59);
const K4: PageShift = PageShift::K4;
const K64: PageShift = PageShift::K64;

fn facts(platform: Platform) -> ContainerFacts {
    let (default, page_sizes, levels_max) = match platform {
        Platform::Powernv => (0x8000_0000, 0x4021_1000, 5),
        Platform::Pseries => (0x4000_0000, 0x0121_1000, 1),
    };
    let info = SpaprInfo {
        flags: 1,
        dma32_window_start: 0,
        dma32_window_size: default,
        page_sizes,
        windows_max: 2,
        levels_max,
    };
    let system = SystemFacts { platform, page_shift: K4, locked_limit: None };
    ContainerFacts::new(&info, &system, true).expect("dynamic windows")
}

const fn layouts(facts: &ContainerFacts, slots: [SlotUse; 2]) -> Layouts<'_> {
    Layouts { facts, slots, default_made: false, dynamic_made: false }
}

const FRESH: [SlotUse; 2] = [SlotUse::DefaultWindow, SlotUse::Free];

const fn choice(slot: Slot, page: PageShift, size: Bytes) -> WindowChoice {
    WindowChoice { slot, page, size, fallback: None, levels: 1, needs: Vec::new() }
}

fn with_needs(needs: &[Need]) -> WindowChoice {
    WindowChoice { needs: needs.to_vec(), ..choice(Slot::Zero, K64, Bytes::gib(8)) }
}

const fn need(size: Bytes, at: Option<u64>) -> Need {
    let at = match at {
        Some(at) => Some(Iova::new(at)),
        None => None,
    };
    Need { size, backing: K64, at }
}

fn query(size_min: Bytes, size_max: Bytes, device_mask: u64) -> CandidateQuery {
    CandidateQuery { size_min, size_max, device_mask: Iova::new(device_mask) }
}

#[test]
fn candidates_come_by_slot_page_size_and_levels_the_default_window_first() {
    let facts = facts(Platform::Powernv);
    let found =
        layouts(&facts, FRESH).candidates(&query(Bytes::gib(1), Bytes::new(0xffff_ffff), u64::MAX));
    assert_eq!(found[0].origin, Origin::DefaultWindow);
    let order = |it: &Candidate| (it.slot, it.page, it.size, it.table.levels);
    assert!(found[1..].is_sorted_by_key(order));
    assert!(found[1..].iter().all(|it| it.origin == Origin::Created));
    let sizes: Vec<Bytes> =
        found.iter().filter(|it| order(it).1 == PageShift::G1).map(|it| it.size).collect();
    let each = [Bytes::gib(1), Bytes::gib(2), Bytes::gib(4)];
    let one_slot = each.map(|size| [size, size]).concat();
    assert_eq!(sizes, [one_slot.clone(), one_slot].concat(), "two levels for each size");
}

#[test]
fn candidates_end_where_the_device_mask_does() {
    let facts = facts(Platform::Powernv);
    let query = |mask| query(Bytes::ZERO, Bytes::gib(64), mask);
    let within = |mask: u64| layouts(&facts, FRESH).candidates(&query(mask));
    let last = |it: &Candidate| it.start.raw() + it.size.raw() - 1;
    assert!(within(0xffff_ffff).iter().all(|it| it.slot == Slot::Zero && last(it) <= 0xffff_ffff));
    assert!(within(0xffff_ffff).iter().any(|it| last(it) == 0xffff_ffff));
    assert!(within(u64::MAX).iter().any(|it| it.slot == Slot::One));
    assert!(within(0xfff).iter().all(|it| it.size == Bytes::kib(4)));
    assert!(within(0).is_empty());
}

#[test]
fn candidates_are_bounded_whatever_is_asked() {
    let facts = facts(Platform::Powernv);
    for (min, max) in [(0, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 0), (1 << 63, u64::MAX)] {
        let query = query(Bytes::new(min), Bytes::new(max), u64::MAX);
        let found = layouts(&facts, FRESH).candidates(&query);
        let most = 2 * facts.page_shifts.len() * CANDIDATE_SIZES_MAX * 5 + 1;
        assert!(found.len() <= most, "{min:#x} to {max:#x}: {}", found.len());
    }
}

#[test]
fn the_second_window_pays_for_the_default_one_until_that_is_made() {
    let facts = facts(Platform::Powernv);
    let charge = |default_made, slots| {
        let layouts = Layouts { default_made, ..layouts(&facts, slots) };
        let window = layouts.check(&[choice(Slot::One, K64, Bytes::gib(4))]);
        window.expect("it can be made")[0].table.charge
    };
    let own = charge(true, FRESH);
    assert_eq!(charge(false, FRESH), own.saturating_add(Bytes::mib(8)));
    assert_eq!(charge(false, [SlotUse::Taken, SlotUse::Free]), own);
}

#[test]
fn slots_are_filled_in_order_and_once() {
    let facts = facts(Platform::Powernv);
    let (zero, one) =
        (choice(Slot::Zero, K64, Bytes::gib(4)), choice(Slot::One, K4, Bytes::gib(4)));
    let check = |slots, choices: &[WindowChoice]| {
        layouts(&facts, slots).check(choices).map(|windows| windows.len())
    };
    let (free, taken) = (SlotUse::Free, SlotUse::Taken);
    assert_eq!(check(FRESH, &[]), Err(LayoutRefusal::WindowCount(0)));
    let three = [zero.clone(), one.clone(), zero.clone()];
    assert_eq!(check(FRESH, &three), Err(LayoutRefusal::WindowCount(3)));
    assert_eq!(check(FRESH, &[one.clone(), one.clone()]), Err(LayoutRefusal::SlotTaken(1)));
    let out_of_order = Err(LayoutRefusal::FirstSlotEmpty);
    assert_eq!(check([free, free], std::slice::from_ref(&one)), out_of_order);
    assert_eq!(check([free, free], &[one.clone(), zero.clone()]), Ok(2));
    assert_eq!(check(FRESH, std::slice::from_ref(&one)), Ok(1));
    assert_eq!(check([taken, free], std::slice::from_ref(&zero)), Err(LayoutRefusal::SlotTaken(0)));
    assert_eq!(check([taken, taken], &[one]), Err(LayoutRefusal::SlotTaken(1)));
    let single = ContainerFacts { windows_max: 1, ..facts.clone() };
    let one = choice(Slot::One, K64, Bytes::gib(4));
    let no_slot = Err(LayoutRefusal::NoSuchSlot { slot: 1, windows_max: 1 });
    assert_eq!(layouts(&single, FRESH).check(&[one]), no_slot);
}

#[test]
fn a_window_the_kernel_cannot_make_is_no_candidate() {
    let facts = facts(Platform::Powernv);
    let sizes = [0, 1, 0x8000, 3 << 30, 1 << 55, 1 << 63, u64::MAX];
    let odd_sizes = sizes.map(|size| choice(Slot::One, K64, Bytes::new(size)));
    let odd_page = choice(Slot::One, PageShift::M16, Bytes::gib(4));
    let odd_levels =
        [0, 6, 255].map(|levels| WindowChoice { levels, ..choice(Slot::One, K64, Bytes::gib(4)) });
    for choice in odd_sizes.iter().chain(&odd_levels).chain([&odd_page]) {
        let refusal = layouts(&facts, FRESH).check(std::slice::from_ref(choice));
        assert_eq!(refusal, Err(no_candidate(choice)));
    }
}

#[test]
fn a_low_window_never_reaches_into_the_high_one() {
    let facts = facts(Platform::Powernv);
    assert_eq!(facts.size_max_at(Iova::new(0)), Bytes::new(1 << 59));
    assert_eq!(facts.size_max_at(HIGH), Bytes::new(u64::MAX - (1 << 59)));
}

#[test]
fn memory_in_pages_smaller_than_the_windows_is_refused() {
    let facts = facts(Platform::Powernv);
    let small = Need { backing: K4, ..need(Bytes::mib(1), None) };
    let refusal = layouts(&facts, FRESH).check(&[with_needs(&[small])]);
    assert_eq!(refusal, Err(LayoutRefusal::PageTooLarge { backing: K4, page: K64 }));
}

#[test]
fn memory_has_to_fit_what_is_not_reserved() {
    let facts = facts(Platform::Powernv);
    let check = |needs: &[Need]| layouts(&facts, FRESH).check(&[with_needs(needs)]).map(|_| ());
    let no_room = |needed| {
        let (size, usable) = (Bytes::gib(8), Bytes::gib(6));
        Err(LayoutRefusal::NoRoom { needed, size, usable })
    };
    assert_eq!(check(&[need(Bytes::gib(4), None), need(Bytes::gib(2), None)]), Ok(()));
    let too_much =
        [need(Bytes::gib(4), None), need(Bytes::gib(2), None), need(Bytes::kib(1), None)];
    assert_eq!(check(&too_much), no_room(Bytes::new((6 << 30) + 0x10000)));
    let endless = [need(Bytes::new(u64::MAX), None), need(Bytes::new(u64::MAX), None)];
    assert_eq!(check(&endless), no_room(Bytes::new(u64::MAX)));
}

#[test]
fn memory_with_an_address_has_to_lie_in_the_window_and_not_in_a_reserved_range() {
    let facts = facts(Platform::Powernv);
    let gib = 1u64 << 30;
    for (at, size, is_good) in [
        (0, Bytes::gib(2), true),
        (4 * gib, Bytes::gib(4), true),
        (2 * gib - 0x10000, Bytes::kib(64), true),
        (2 * gib - 0x10000, Bytes::kib(65), false),
        (3 * gib, Bytes::kib(64), false),
        (gib, Bytes::gib(4), false),
        (8 * gib - 0x10000, Bytes::kib(65), false),
        (8 * gib, Bytes::kib(64), false),
        (0x1000, Bytes::kib(64), false),
        (u64::MAX - 0xffff, Bytes::kib(64), false),
        (0, Bytes::new(u64::MAX), false),
    ] {
        let checked = layouts(&facts, FRESH).check(&[with_needs(&[need(size, Some(at))])]);
        assert_eq!(checked.is_ok(), is_good, "{size} at {at:#x}: {checked:?}");
    }
}

#[test]
fn a_range_reserved_within_a_page_takes_the_page() {
    let msi =
        crate::facts::ReservedRange { start: Iova::new(0x1000), size: Bytes::kib(4), what: "msi" };
    let facts = ContainerFacts { reserved: vec![msi], ..facts(Platform::Powernv) };
    let window = |size| WindowChoice {
        needs: vec![need(size, None)],
        ..choice(Slot::Zero, K64, Bytes::mib(1))
    };
    let check = |size| layouts(&facts, FRESH).check(&[window(size)]).map(|_| ());
    assert_eq!(check(Bytes::kib(960)), Ok(()));
    let (size, usable) = (Bytes::mib(1), Bytes::kib(960));
    let needed = Bytes::kib(1024);
    assert_eq!(check(Bytes::kib(961)), Err(LayoutRefusal::NoRoom { needed, size, usable }));
}
