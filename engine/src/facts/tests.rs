use super::*;

fn system(platform: Platform) -> SystemFacts {
    SystemFacts { platform, page_shift: PageShift::K64, locked_limit: None }
}

fn info(page_sizes: u64) -> SpaprInfo {
    SpaprInfo {
        flags: 1,
        dma32_window_start: 0,
        dma32_window_size: 0x8000_0000,
        page_sizes,
        windows_max: 2,
        levels_max: 5,
    }
}

#[test]
fn powernv_reserves_the_32_bit_mmio_behind_the_default_window() {
    let facts = ContainerFacts::new(&info(0x4021_1000), &system(Platform::Powernv), true);
    let facts = facts.expect("dynamic windows");
    let usable = |start, gib| facts.usable_within(start, Bytes::gib(gib), PageShift::K64);
    assert_eq!(usable(Iova::new(0), 2), Bytes::gib(2));
    assert_eq!(usable(Iova::new(0), 8), Bytes::gib(6));
    assert_eq!(usable(facts.slot_start(Slot::One), 8), Bytes::gib(8));
    let shifts: Vec<u8> = facts.page_shifts.iter().map(|page| page.raw()).collect();
    assert_eq!(shifts, [12, 16, 21, 30]);
}

#[test]
fn pages_of_16_gib_are_never_offered_on_pseries() {
    let facts = ContainerFacts::new(&info(0x4_0121_1000), &system(Platform::Pseries), false);
    let facts = facts.expect("dynamic windows");
    assert!(facts.page_shifts.iter().all(|page| page.raw() < 31));
    assert!(facts.reserved.is_empty());
}

#[test]
fn a_backend_without_dynamic_windows_has_no_facts() {
    let plain = SpaprInfo { flags: 0, ..info(0x1000) };
    assert_eq!(ContainerFacts::new(&plain, &system(Platform::Powernv), true), None);
}

#[test]
fn a_partition_whose_firmware_has_no_dynamic_windows_has_the_default_ones_slot_alone() {
    let shy = SpaprInfo { windows_max: u32::MAX, levels_max: 1, ..info(0x1000) };
    let facts = |platform| ContainerFacts::new(&shy, &system(platform), false).expect("v2");
    let partition = facts(Platform::Pseries);
    assert_eq!((partition.windows_max, partition.creatable), (1, Creatable::DefaultLike));
    let host = facts(Platform::Powernv);
    assert_eq!((host.windows_max, host.creatable), (2, Creatable::Any), "more than two are none");
}

fn range(start: u64, size: u64) -> ReservedRange {
    ReservedRange { start: Iova::new(start), size: Bytes::new(size), what: "msi" }
}

fn powernv_with(ranges: Vec<ReservedRange>) -> ContainerFacts {
    let facts = ContainerFacts::new(&info(0x4021_1000), &system(Platform::Powernv), true);
    let limits = PlatformLimits::default().with_reserved(ranges).expect("they are good");
    facts.expect("dynamic windows").limited_by(&limits)
}

#[test]
fn ranges_of_the_embedders_are_reserved_beside_the_platforms_and_nothing_twice() {
    let facts = powernv_with(vec![
        range(0x1_0000_0000, 0x2_0000),
        range(0x7fff_0000, 0x2_0000),
        range(0x1_0001_0000, 0x2_0000),
        range(0x9000_0000, 0x1000),
    ]);
    let all: Vec<_> = facts.reserved.iter().map(|it| (it.start.raw(), it.size.raw())).collect();
    let gib = 1 << 30;
    let expected = [
        (0x7fff_0000, 0x1_0000),
        (2 * gib, 2 * gib),
        (4 * gib, 0x2_0000),
        (4 * gib + 0x2_0000, 0x1_0000),
    ];
    assert_eq!(all, expected);
    assert_eq!(facts.reserved[1].what, "mmio-32bit");
    let usable = |page| facts.usable_within(Iova::new(0), Bytes::gib(8), page).raw();
    assert_eq!(usable(PageShift::K4), 6 * gib - 0x4_0000);
    // Of 2M pages, the one below the 32-bit MMIO and the one behind it are touched.
    assert_eq!(usable(PageShift::M2), 6 * gib - 0x40_0000);
}

#[test]
fn reserved_ranges_are_bounded_not_empty_and_inside_64_bits() {
    let limits = |ranges| PlatformLimits::default().with_reserved(ranges).map(|_| ());
    let (empty, overrun) = (range(7, 0), range(u64::MAX - 0xfff, 0x1000));
    assert_eq!(limits(vec![range(0, 1), empty]), Err(ReservedRefusal::Empty(empty)));
    assert_eq!(limits(vec![overrun]), Err(ReservedRefusal::Overruns(overrun)));
    assert_eq!(limits(vec![range(u64::MAX - 0xfff, 0xfff)]), Ok(()));
    assert_eq!(limits(vec![range(0, 1); RESERVED_MAX]), Ok(()));
    let many = RESERVED_MAX + 1;
    assert_eq!(limits(vec![range(0, 1); many]), Err(ReservedRefusal::TooMany(many)));
}

#[test]
fn a_bound_on_dynamic_windows_only_ever_tightens() {
    let facts = ContainerFacts::new(&info(0x1000), &system(Platform::Pseries), false);
    let limits = PlatformLimits::default().with_dynamic_tces_max(Pages::new(64));
    let mut facts = facts.expect("dynamic windows").limited_by(&limits);
    facts.limit_dynamic(Pages::new(128));
    assert_eq!(facts.dynamic_tces_max, Some(Pages::new(64)));
    facts.limit_dynamic(Pages::new(32));
    assert_eq!(facts.dynamic_tces_max, Some(Pages::new(32)));
}
