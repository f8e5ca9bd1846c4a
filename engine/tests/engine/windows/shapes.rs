//! Invariant 6, in full: the formulas against the simulated kernel, whose own were written apart.

use tce_engine::{
    Engine,
    addr::{Bytes, PageShift},
    errno::Errno,
    geometry::{Geometry, TableShape},
    kernel::{ContainerFd, CreateCall, Kernel, Platform, Raw},
    machine::Machine,
};
use tce_sim::{Profile, SimMachine};

/// What a fresh machine made of one `TCE_CREATE` in its empty slot 0.
struct Outcome {
    result: Raw,
    charged: Bytes,
    /// The size of the window, if there is one.
    accepted: Option<Bytes>,
}

fn create(profile: &Profile, page: PageShift, size: Bytes, levels: u8) -> Outcome {
    let machine = SimMachine::new(profile.clone());
    let mut engine = Engine::open(machine.kernel()).expect("a fresh machine");
    engine.attach(machine.groups()[0]).expect("the group is free");
    engine.remove_default_window().expect("the promise of one");
    let container = ContainerFd::new(engine.descriptor());
    let call = CreateCall { page_shift: u32::from(page.raw()), size, levels: u32::from(levels) };
    let result = machine.kernel().create(container, call).raw;
    let accepted = machine.windows(container).first().map(|window| window.size);
    assert_eq!(machine.host_corruption(), None);
    Outcome { result, charged: machine.locked(), accepted }
}

/// What the kernel makes of a window beyond the size that was asked for: a powernv table fills a system page.
fn rounded_up(profile: &Profile, page: PageShift, size: Bytes) -> Bytes {
    match profile.platform {
        Platform::Powernv => {
            size.max(Bytes::new(page.bytes().raw() << (profile.page_shift.raw() - 3)))
        }
        Platform::Pseries => size,
    }
}

/// Whether only the firmware's largest block is in the way, which no formula knows.
fn is_beyond_firmware(profile: &Profile, page: PageShift, size: Bytes) -> bool {
    let is_default_like = page == PageShift::K4 && size <= profile.default_window;
    profile.platform == Platform::Pseries
        && !is_default_like
        && size.pages_up(page).raw() > profile.largest_window_tces
}

fn compare(profile: &Profile, page: PageShift, size: Bytes, levels: u8, shape: Option<TableShape>) {
    let what =
        format!("{}: {size} in {page} pages, {level} level(s)", profile.name, level = levels);
    let Outcome { result, charged, accepted } = create(profile, page, size, levels);
    match shape {
        Some(shape) if is_beyond_firmware(profile, page, size) => {
            assert_eq!(result, Raw::Failed(Errno::EINVAL), "{what}");
            assert_eq!(charged, shape.charge, "{what}: leaked");
        }
        Some(shape) => {
            assert_eq!((result, charged), (Raw::OK, shape.charge), "{what}");
            assert_eq!(accepted, Some(rounded_up(profile, page, size)), "{what}");
            assert_eq!(shape.levels, levels, "{what}");
        }
        None => assert_ne!(result, Raw::OK, "{what}"),
    }
}

/// What the engine refuses although the kernel may do it, because it is not what was asked for: a window smaller than
/// its page, whose table is the result of wrapped arithmetic, and a partition's table of no levels.
fn is_never_sent(profile: &Profile, page: PageShift, size: Bytes, levels: u8) -> bool {
    size < page.bytes() || (profile.platform == Platform::Pseries && levels == 0)
}

#[test]
fn a_table_has_a_shape_exactly_if_the_kernel_makes_it_and_costs_what_it_charges() {
    let powers = (0..64).map(|shift| 1u64 << shift);
    let odd = [0, 0x1800, 3 << 30, 5 << 40, u64::MAX];
    let sizes: Vec<Bytes> = powers.chain(odd).map(Bytes::new).collect();
    for profile in Profile::NAMES.map(|name| Profile::named(name).expect("a known name")) {
        let levels_max = u8::try_from(profile.levels_max).expect("a few");
        let geometry =
            Geometry { platform: profile.platform, system_page: profile.page_shift, levels_max };
        let pages = (0..64).filter(|bit| profile.page_sizes & (1 << bit) != 0);
        let mut made = 0;
        for page in pages.map(|bit| PageShift::new(bit).expect("a page of PAPR's")) {
            for (size, levels) in sizes.iter().flat_map(|size| (0..7).map(move |n| (*size, n))) {
                let shape = geometry.shape(page, size, levels);
                if is_never_sent(&profile, page, size, levels) {
                    assert_eq!(shape, None, "{}: {size} in {page} pages", profile.name);
                    continue;
                }
                compare(&profile, page, size, levels, shape);
                made += usize::from(shape.is_some());
            }
        }
        let least = if levels_max == 1 { 150 } else { 200 };
        assert!(made > least, "{}: {made} shapes", profile.name);
    }
}

#[test]
fn the_list_of_shapes_leaves_none_out() {
    for profile in Profile::NAMES.map(|name| Profile::named(name).expect("a known name")) {
        let levels_max = u8::try_from(profile.levels_max).expect("a few");
        let geometry =
            Geometry { platform: profile.platform, system_page: profile.page_shift, levels_max };
        for (page, shift) in [12, 16, 21, 24, 28, 30].iter().flat_map(|bit| {
            (0..64).map(move |shift| (PageShift::new(*bit).expect("a page of PAPR's"), shift))
        }) {
            let size = Bytes::new(1 << shift);
            let one_by_one: Vec<_> =
                (0..=u8::MAX).filter_map(|levels| geometry.shape(page, size, levels)).collect();
            assert_eq!(geometry.shapes(page, size), one_by_one, "{}: {size} {page}", profile.name);
        }
    }
}

#[test]
fn a_window_smaller_than_a_page_of_table_costs_whole_system_pages() {
    let charge = |platform, system_page, size| {
        let geometry = Geometry { platform, system_page, levels_max: 1 };
        geometry.shape(PageShift::K64, size, 1).expect("it can be made").charge
    };
    let (k4, k64) = (PageShift::K4, PageShift::K64);
    // The hardware's table and its copy.
    assert_eq!(charge(Platform::Powernv, k4, Bytes::kib(64)), Bytes::kib(8));
    assert_eq!(charge(Platform::Powernv, k64, Bytes::kib(64)), Bytes::kib(128));
    assert_eq!(charge(Platform::Powernv, k64, Bytes::mib(512)), Bytes::kib(128));
    assert_eq!(charge(Platform::Powernv, k64, Bytes::gib(1)), Bytes::kib(256));
    // The copy, in whole system pages: one of less than a page is free.
    assert_eq!(charge(Platform::Pseries, k64, Bytes::mib(256)), Bytes::ZERO);
    assert_eq!(charge(Platform::Pseries, k64, Bytes::mib(512)), Bytes::kib(64));
}
