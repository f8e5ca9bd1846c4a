use std::ops::Range;

use proptest::prelude::*;

use super::*;

mod cost;
mod model;

use model::Model;

const PAGE: Alignment = Alignment::PAGE;

fn pages(count: u64) -> Pages {
    Pages::new(count)
}

fn aligned(count: u64) -> Alignment {
    Alignment::of(pages(count)).expect("a power of two")
}

fn allocator(range: Range<u64>) -> IovaAllocator {
    IovaAllocator::new(range, &[]).expect("a range")
}

#[test]
fn the_tightest_of_the_lowest_holes_is_taken() {
    let mut iova = allocator(100..200);
    assert_eq!(iova.take(pages(10), PAGE), Ok(100));
    assert_eq!(iova.take(pages(20), PAGE), Ok(110));
    assert_eq!(iova.give_back(100, pages(10)), Ok(()));
    assert_eq!(iova.take(pages(11), PAGE), Ok(130), "10 are too few");
    assert_eq!(iova.take(pages(10), PAGE), Ok(100), "they are used again at once");
    assert_eq!((iova.free(), iova.largest_free()), (pages(59), pages(59)));
    for (first, count) in [(101, 5), (107, 4), (112, 4)] {
        iova.give_back(first, pages(count)).expect("it is taken");
    }
    assert_eq!(iova.take(pages(3), PAGE), Ok(107), "a hole of 4, and not of 5");
    assert_eq!(iova.take(pages(4), PAGE), Ok(112));
    assert_eq!(iova.take(pages(1), PAGE), Ok(110), "what is left of the first 4");
    assert_eq!(iova.take(pages(1), PAGE), Ok(101));
}

/// Only a few holes are tried, so that long ones far up are not broken for a tighter fit nobody needs to look for.
#[test]
fn a_tighter_hole_far_above_is_not_looked_for() {
    let mut iova = allocator(0..1000);
    iova.take_at(0, pages(1000)).expect("all is free");
    for hole in 0..8 {
        iova.give_back(hole * 10, pages(5)).expect("it is taken");
    }
    iova.give_back(500, pages(2)).expect("it is taken");
    assert_eq!(iova.take(pages(2), PAGE), Ok(0));
    assert_eq!(iova.take(pages(2), PAGE), Ok(2));
    assert_eq!(iova.take(pages(2), PAGE), Ok(500), "it is one of the eight now");
}

#[test]
fn indexes_are_aligned_not_places_in_the_range() {
    let mut iova = allocator(100..2000);
    assert_eq!(iova.take(pages(3), aligned(512)), Ok(512));
    assert_eq!(iova.take(pages(512), aligned(512)), Ok(1024));
    assert_eq!(iova.take(pages(1), PAGE), Ok(100));
    let refused = iova.take(pages(512), aligned(512)).expect_err("only 464 lie behind 1536");
    assert_eq!(
        refused.to_string(),
        "no room for 512 pages aligned to 512 pages: 1384 are free, 509 of them in one piece; give \
         some back or take fewer at once"
    );
}

#[test]
fn an_alignment_is_a_power_of_two() {
    for count in [0, 3, 511, u64::MAX, INDEX_END_MAX * 2] {
        assert_eq!(Alignment::of(pages(count)), None, "{count}");
    }
    assert_eq!(Alignment::of(pages(1)), Some(PAGE));
    assert_eq!(aligned(INDEX_END_MAX).pages(), pages(INDEX_END_MAX));
}

/// A naturally aligned block between holes that are longer and do not have one.
#[test]
fn the_only_aligned_block_is_found_behind_many_longer_holes() {
    let mut iova = allocator(0..1 << 20);
    iova.take_at(0, pages(1 << 20)).expect("all is free");
    for hole in 0..100 {
        // 1022 pages around a multiple of 1024, and none of 512 before or behind it.
        iova.give_back(hole * 2048 + 513, pages(1022)).expect("it is taken");
    }
    assert_eq!(iova.largest_free(), pages(1022));
    iova.take(pages(512), aligned(512)).expect_err("each hole is one page short on each side");
    iova.give_back(512 * 1025, pages(512)).expect("it is taken");
    assert_eq!(iova.take(pages(512), aligned(512)), Ok(512 * 1025));
}

#[test]
fn places_that_are_aligned_by_luck_are_found_among_the_lowest_holes() {
    let mut iova = allocator(0..1 << 16);
    iova.take_at(0, pages(1 << 16)).expect("all is free");
    for probe in 0..8 {
        iova.give_back(probe * 4096 + 1, pages(1535)).expect("it is taken");
    }
    // As many pages as asked for and neither longer nor a power of two.
    iova.give_back(512, pages(1)).expect_err("it is free");
    assert_eq!(iova.take(pages(1024), aligned(512)), Ok(512));
    assert_eq!(iova.take(pages(1024), aligned(512)), Ok(4096 + 512));
}

#[test]
fn parts_of_pieces_and_neighbours_together_may_be_given_back() {
    let mut iova = allocator(0..64);
    assert_eq!(iova.take(pages(16), PAGE), Ok(0));
    assert_eq!(iova.take(pages(16), PAGE), Ok(16));
    assert_eq!(iova.give_back(4, pages(4)), Ok(()));
    assert_eq!(iova.give_back(12, pages(8)), Ok(()));
    assert_eq!(iova.holes(), 3);
    assert_eq!(iova.free(), pages(32 + 12));
}

#[test]
fn what_is_not_taken_is_not_given_back() {
    let mut iova = IovaAllocator::new(10..100, &[40..50, 0..12]).expect("a range");
    iova.take_at(20, pages(20)).expect("it is free");
    iova.take_at(50, pages(10)).expect("it is free");
    let before = iova.free();
    let end = u64::MAX;
    for (first, count) in [
        (20, 0),
        (19, 2),
        (39, 2),
        (20, 40),
        (40, 1),
        (45, 10),
        (5, 1),
        (10, 1),
        (99, 2),
        (100, 1),
        (59, 2),
        (end, 1),
        (end, end),
    ] {
        let refused = GiveBackRefusal::NotTaken { first, pages: pages(count) };
        assert_eq!(iova.give_back(first, pages(count)), Err(refused));
    }
    assert_eq!(iova.free(), before);
    assert_eq!(iova.give_back(20, pages(20)), Ok(()));
    assert_eq!(
        iova.give_back(20, pages(20)).expect_err("it is given back already").to_string(),
        "the 20 pages from page 20 are not all taken"
    );
}

#[test]
fn reserved_ranges_are_never_handed_out() {
    let reserved = [90..200, 30..40, 35..50, 0..5, 60..60];
    let mut iova = IovaAllocator::new(0..100, &reserved).expect("a range");
    assert_eq!((iova.free(), iova.largest_free()), (pages(65), pages(40)));
    assert!(iova.take_at(29, pages(2)).is_err() && iova.take_at(90, pages(1)).is_err());
    let taken: Vec<u64> = std::iter::from_fn(|| iova.take(pages(1), PAGE).ok()).collect();
    assert!(taken.iter().copied().eq((5..30).chain(50..90)));
}

#[test]
fn a_range_that_cannot_be_is_refused_with_its_reason() {
    let made = |range: Range<u64>, reserved: &[Range<u64>]| {
        IovaAllocator::new(range, reserved).map(|iova| iova.free()).map_err(|no| no.to_string())
    };
    assert_eq!(made(5..5, &[]), Err("the range from page 5 to page 5 is empty".to_owned()));
    assert!(made(0..INDEX_END_MAX + 1, &[]).is_err_and(|no| no.contains("64 bits of bus address")));
    assert!(made(0..9, &vec![1..2; RESERVED_MAX + 1]).is_err_and(|no| no.contains("65 reserved")));
    assert_eq!(made(0..INDEX_END_MAX, &[]), Ok(pages(INDEX_END_MAX)));
    assert_eq!(made(0..4, &[0..9, 3..3]), Ok(pages(0)), "all of it is reserved");
}

#[test]
fn the_largest_range_there_is_can_be_used_to_its_last_page() {
    let mut iova = allocator(0..INDEX_END_MAX);
    assert_eq!(iova.take(pages(1), aligned(INDEX_END_MAX)), Ok(0));
    assert!(iova.take(pages(1), aligned(INDEX_END_MAX)).is_err());
    assert_eq!(iova.take_at(INDEX_END_MAX - 1, pages(1)), Ok(()));
    assert_eq!(iova.take(pages(INDEX_END_MAX - 2), PAGE), Ok(1));
    assert_eq!(iova.free(), pages(0));
    for count in [0, 1, INDEX_END_MAX, u64::MAX] {
        assert!(iova.take(pages(count), aligned(512)).is_err());
        assert!(iova.take_at(0, pages(count)).is_err());
        assert!(iova.take_at(u64::MAX, pages(count)).is_err());
    }
    assert!(iova.bytes() < 4096, "{} bytes for 2^52 pages", iova.bytes());
}

#[test]
fn holes_are_limited_and_the_refusal_changes_nothing() {
    const HOLES: u64 = 65;
    let mut iova = allocator(0..1000).with_holes_max(1);
    iova.take_at(0, pages(1000)).expect("all is free");
    for hole in 0..HOLES {
        assert_eq!(iova.give_back(hole * 4, pages(3)), Ok(()), "limited to {HOLES} at least");
    }
    let refused = iova.give_back(500, pages(2)).expect_err("one hole too many");
    assert!(refused.to_string().contains("stay taken"), "{refused}");
    assert_eq!(
        iova.take_at(1, pages(1)),
        Err(TakeRefusal::TooManyHoles { holes_max: 65 }),
        "this would split a hole"
    );
    assert_eq!(iova.free(), pages(HOLES * 3));
    assert_eq!(iova.give_back(3, pages(1)), Ok(()), "two holes become one");
    assert_eq!(iova.give_back(500, pages(2)), Ok(()), "now there is one to spare");
}

/// One request of a holder.
#[derive(Clone, Debug)]
enum Request {
    Take(u64, u32),
    TakeAt(u64, u64),
    GiveBack(u64, u64),
}

fn any_request(end: u64) -> impl Strategy<Value = Request> {
    let count = prop_oneof![4 => 1u64..4, 2 => 0u64..40, 1 => Just(16u64), 1 => Just(64u64)];
    prop_oneof![
        3 => (count.clone(), 0u32..8).prop_map(|(count, order)| Request::Take(count, order)),
        3 => (count.clone(), Just(0)).prop_map(|(count, order)| Request::Take(count, order)),
        2 => (0..end, count.clone()).prop_map(|(at, count)| Request::TakeAt(at, count)),
        6 => (0..end, count).prop_map(|(at, count)| Request::GiveBack(at, count)),
    ]
}

proptest! {
    #[test]
    fn an_allocator_is_what_it_is_page_by_page(
        start in 0u64..70,
        length in 1u64..700,
        reserved in proptest::collection::vec((0u64..700, 0u64..20), 0..4),
        is_full in any::<bool>(),
        requests in proptest::collection::vec(any_request(720), 1..200),
    ) {
        let reserved: Vec<_> = reserved.iter().map(|(at, count)| *at..at + count).collect();
        let mut model = Model::new(start..start + length, &reserved);
        if is_full {
            model.take_all();
        }
        for request in &requests {
            match *request {
                Request::Take(count, order) => model.take(count, 1 << order),
                Request::TakeAt(at, count) => model.take_at(at, count),
                Request::GiveBack(at, count) => model.give_back(at, count),
            }
            model.compare();
        }
        model.give_all_back();
    }
}

/// Enough holes for a tree of several levels, which grows and shrinks again and again.
#[test]
fn a_high_tree_is_what_it_is_page_by_page() {
    const PAGES: u64 = 6_000;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut model = Model::new(0..PAGES, &[]);
    model.take_all();
    let mut levels = Vec::new();
    for step in 0..80_000 {
        // Mostly holes come for 20,000 steps, then mostly they go for 20,000.
        let is_back = (step / 20_000 % 2 == 0) == (rng.u8(..40) > 0);
        let (at, count) = (rng.u64(..PAGES), if rng.u8(..50) == 0 { rng.u64(1..50) } else { 1 });
        match (rng.u8(..100), is_back) {
            (0, _) => model.take(count, 1),
            (1, _) => model.take(count, 1 << rng.u8(..10)),
            (_, true) => model.give_back(at, count),
            (_, false) => model.take_at(at, count),
        }
        if step % 2_000 == 0 {
            model.compare();
            levels.push(model.levels());
        }
    }
    let (first, rest) = levels.split_at(10);
    assert_eq!((first.iter().max(), rest.iter().min()), (Some(&3), Some(&2)), "{levels:?}");
    model.give_all_back();
    assert_eq!(model.levels(), 1);
}
