//! What an operation costs, in nodes looked at: no clock, so the bounds are exact and hold on any machine.

use super::*;

/// The bound on any operation. The highest tree that holds [`HOLES_MAX`] has 6 levels: a request passes them once, goes
/// to the next hole [`PROBES_MAX`] times at most, and makes a change or two. Each may look at a node more than once.
const VISITS_MAX: usize = 250;
/// The numbers of holes that are compared: a thousandfold.
const HOLES: [u64; 2] = [300, 300_000];

/// Holes of one page each: `holes` of them below, and a long one above all.
fn behind_holes(holes: u64) -> IovaAllocator {
    let mut iova = allocator(0..1 << 40);
    iova.take_at(0, pages(holes * 4)).expect("all is free");
    for hole in 0..holes {
        iova.give_back(hole * 4 + 1, pages(1)).expect("it is taken");
    }
    iova
}

/// The most nodes that one of the operations looks at.
fn visits(iova: &mut IovaAllocator, mut operation: impl FnMut(&mut IovaAllocator, u64)) -> usize {
    let one = |round| {
        iova.holes.take_visits();
        operation(iova, round);
        iova.holes.take_visits()
    };
    (0..200).map(one).max().unwrap_or(0)
}

/// What each kind of operation costs at most among so many holes.
fn costs(holes: u64) -> [(&'static str, usize); 6] {
    let mut iova = behind_holes(holes);
    let somewhere = |round: u64| (round * 7919 % holes) * 4;
    let long = |iova: &mut IovaAllocator, _| {
        let first = iova.take(pages(2), PAGE).expect("above");
        assert!(first >= holes * 4, "no hole below is long enough");
    };
    let huge = |iova: &mut IovaAllocator, _| {
        assert!(iova.take(pages(512), aligned(512)).is_ok_and(|first| first >= holes * 4));
    };
    let hopeless = |iova: &mut IovaAllocator, _| {
        assert!(iova.take(pages(1 << 40), aligned(512)).is_err());
    };
    let fixed = |iova: &mut IovaAllocator, round| {
        iova.take_at(somewhere(round) + 1, pages(1)).expect("a hole");
    };
    let back = |iova: &mut IovaAllocator, round| {
        iova.give_back(somewhere(round) + 1, pages(1)).expect("it was taken");
    };
    let split = |iova: &mut IovaAllocator, round| {
        iova.give_back(somewhere(round) + 3, pages(1)).expect("it is taken");
    };
    [
        ("behind all", visits(&mut iova, long)),
        ("aligned", visits(&mut iova, huge)),
        ("hopeless", visits(&mut iova, hopeless)),
        ("fixed place", visits(&mut iova, fixed)),
        ("give back", visits(&mut iova, back)),
        ("new hole", visits(&mut iova, split)),
    ]
}

#[test]
fn no_operation_looks_at_more_nodes_than_a_constant_however_many_holes_there_are() {
    for holes in HOLES {
        for (what, cost) in costs(holes) {
            assert!(cost <= VISITS_MAX, "{what} among {holes} holes: {cost} nodes");
        }
    }
}

/// Long holes that are aligned badly, far from each other, below one that is not: as many probes as can be, and the
/// ways between them as long as can be.
#[test]
fn an_alignment_does_not_bring_the_search_back() {
    let cost = |holes: u64| {
        let mut iova = allocator(0..1 << 40);
        iova.take_at(0, pages(1 << 40)).expect("all is free");
        for hole in 0..holes {
            let length = if hole.is_multiple_of(holes / 20) { 1023 } else { 1 };
            iova.give_back(hole * 2048 + 1, pages(length)).expect("it is taken");
        }
        iova.give_back(1 << 39, pages(1024)).expect("it is taken");
        let found = visits(&mut iova, |iova, _| {
            assert_eq!(iova.take(pages(1000), aligned(1024)), Ok(1 << 39));
            iova.give_back(1 << 39, pages(1000)).expect("it was taken");
        });
        let none = visits(&mut iova, |iova, _| {
            assert!(iova.take(pages(1000), aligned(1 << 38)).is_err());
        });
        found.max(none)
    };
    for holes in HOLES {
        let cost = cost(holes);
        assert!(cost <= VISITS_MAX, "among {holes} holes: {cost} nodes");
    }
}

#[test]
fn memory_is_in_proportion_to_the_holes_not_to_the_pages() {
    let few = allocator(0..1 << 40).bytes();
    let many = behind_holes(100_000).bytes();
    assert!(few < 4096, "{few} bytes without holes");
    // Nodes of 24 bytes an entry are half full at least, and so are those above.
    assert!(many < 100_000 * 53, "{many} bytes for 100,000 holes");
    let mut taken = allocator(0..1 << 40);
    for round in 0..100_000 {
        assert_eq!(taken.take(pages(10), PAGE), Ok(round * 10));
    }
    assert_eq!(taken.bytes(), few, "pieces without holes between cost nothing");
}
