//! What is special in logical partitions.

use super::*;

#[test]
fn a_partition_has_one_dynamic_window_and_nothing_is_made_beside_it() {
    let facts = facts(Platform::Pseries);
    let fresh = layouts(&facts, FRESH);
    let dynamic = |slot| choice(slot, K64, Bytes::gib(4));
    let like_default = choice(Slot::Zero, K4, Bytes::mib(512));
    let both = [dynamic(Slot::Zero), dynamic(Slot::One)];
    assert_eq!(fresh.check(&both), Err(LayoutRefusal::TwoDynamicWindows));
    assert_eq!(fresh.check(&[dynamic(Slot::Zero)]).expect("alone")[0].start, HIGH);
    let beside = fresh.check(&[like_default.clone(), dynamic(Slot::One)]).expect("one of each");
    assert_eq!((beside[0].start, beside[1].start), (Iova::new(0), HIGH));
    let standing = Layouts { dynamic_made: true, ..layouts(&facts, FRESH) };
    assert_eq!(
        standing.check(std::slice::from_ref(&like_default)),
        Err(LayoutRefusal::BesideDynamic)
    );
    let all = query(Bytes::ZERO, Bytes::gib(64), u64::MAX);
    let origins: Vec<Origin> = standing.candidates(&all).iter().map(|it| it.origin).collect();
    assert_eq!(origins, [Origin::DefaultWindow], "the one that stands there already");
}

fn with_fallback(size: Bytes, fallback: Bytes) -> WindowChoice {
    WindowChoice { fallback: Some(fallback), ..choice(Slot::One, K64, size) }
}

#[test]
fn a_window_known_to_be_too_large_for_the_firmware_comes_as_its_fallback() {
    let tces_max = crate::addr::Pages::new(1 << 14);
    let facts = ContainerFacts { dynamic_tces_max: Some(tces_max), ..facts(Platform::Pseries) };
    let check = |choice: WindowChoice| {
        layouts(&facts, FRESH).check(&[choice]).map(|windows| windows[0].size)
    };
    let too_large = |size| Err(LayoutRefusal::DynamicTooLarge { size, page: K64, tces_max });
    assert_eq!(check(choice(Slot::One, K64, Bytes::gib(1))), Ok(Bytes::gib(1)));
    assert_eq!(check(choice(Slot::One, K64, Bytes::gib(2))), too_large(Bytes::gib(2)));
    assert_eq!(check(with_fallback(Bytes::gib(2), Bytes::mib(512))), Ok(Bytes::mib(512)));
    assert_eq!(check(with_fallback(Bytes::gib(1), Bytes::mib(512))), Ok(Bytes::gib(1)));
    assert_eq!(check(with_fallback(Bytes::gib(4), Bytes::gib(2))), too_large(Bytes::gib(2)));
    let like_default = choice(Slot::Zero, K4, Bytes::mib(512));
    assert_eq!(check(like_default), Ok(Bytes::mib(512)), "it is no dynamic one");
    let all = query(Bytes::ZERO, Bytes::gib(64), u64::MAX);
    let found = layouts(&facts, FRESH).candidates(&all);
    let dynamic = found.iter().filter(|it| it.start == HIGH);
    assert!(dynamic.clone().count() > 10);
    assert!(dynamic.clone().all(|it| it.size.pages_up(it.page) <= tces_max));
}

#[test]
fn a_fallback_is_smaller_and_does_as_well_as_the_window() {
    for platform in [Platform::Powernv, Platform::Pseries] {
        let facts = facts(platform);
        let check = |choice| layouts(&facts, FRESH).check(&[choice]).map(|windows| windows[0].size);
        let same = with_fallback(Bytes::gib(4), Bytes::gib(4));
        let (size, fallback) = (Bytes::gib(4), Bytes::gib(4));
        assert_eq!(check(same), Err(LayoutRefusal::FallbackTooLarge { size, fallback }));
        let odd = with_fallback(Bytes::gib(4), Bytes::gib(3));
        assert!(matches!(check(odd), Err(LayoutRefusal::NoCandidate { .. })));
        let needs = vec![need(Bytes::gib(3), None)];
        let tight = WindowChoice { needs, ..with_fallback(Bytes::gib(4), Bytes::gib(2)) };
        assert!(matches!(check(tight), Err(LayoutRefusal::NoRoom { .. })));
        assert_eq!(check(with_fallback(Bytes::gib(4), Bytes::gib(2))), Ok(Bytes::gib(4)));
    }
}

#[test]
fn a_partition_without_dynamic_windows_offers_the_default_one_and_its_like() {
    let facts = ContainerFacts {
        creatable: Creatable::DefaultLike,
        windows_max: 1,
        ..facts(Platform::Pseries)
    };
    let check =
        |slots, choice| layouts(&facts, slots).check(&[choice]).map(|windows| windows[0].origin);
    let default = choice(Slot::Zero, K4, Bytes::gib(1));
    let gone = [SlotUse::Free, SlotUse::Free];
    assert_eq!(check(FRESH, default.clone()), Ok(Origin::DefaultWindow));
    assert_eq!(check(gone, default), Ok(Origin::Created));
    let dynamic = choice(Slot::Zero, K64, Bytes::gib(4));
    assert_eq!(check(FRESH, dynamic), Err(LayoutRefusal::NoDynamicWindows));
    let all = query(Bytes::ZERO, Bytes::gib(64), u64::MAX);
    let found = layouts(&facts, FRESH).candidates(&all);
    assert!(!found.is_empty() && found.iter().all(|it| it.start == facts.default_start));
}

#[test]
fn where_the_kernel_has_given_up_only_a_default_window_that_is_made_is_left() {
    let facts = ContainerFacts { creatable: Creatable::Nothing, ..facts(Platform::Pseries) };
    let default = choice(Slot::Zero, K4, Bytes::gib(1));
    let made = Layouts { default_made: true, ..layouts(&facts, FRESH) };
    assert_eq!(made.check(std::slice::from_ref(&default)).map(|it| it.len()), Ok(1));
    assert_eq!(layouts(&facts, FRESH).check(&[default]), Err(LayoutRefusal::GivenUp));
    let dynamic = choice(Slot::One, K64, Bytes::gib(1));
    assert_eq!(made.check(&[dynamic]), Err(LayoutRefusal::GivenUp));
    let all = query(Bytes::ZERO, Bytes::gib(64), u64::MAX);
    assert_eq!(made.candidates(&all).len(), 1);
    assert!(layouts(&facts, FRESH).candidates(&all).is_empty());
}
