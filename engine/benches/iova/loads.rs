//! The loads. Each sets up a state, starts the clock, and goes on until it is told to end. All are seeded.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::driver::{Allocator, Piece};

/// A load.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&mut dyn Allocator),
    pub(crate) is_for_large_windows: bool,
}

pub(crate) const LOADS: [Load; 6] = [
    Load {
        name: "ring",
        what: "pieces of 2 pages, first in first out; every 64th stays for long",
        run: ring,
        is_for_large_windows: false,
    },
    Load {
        name: "small holes",
        what: "every second page of one half is free; requests of 16 pages",
        run: small_holes,
        is_for_large_windows: false,
    },
    Load {
        name: "alternating",
        what: "holes of 1 page between pieces of 3; requests of 2 and of 1 page in turn",
        run: alternating,
        is_for_large_windows: false,
    },
    Load {
        name: "single pages",
        what: "single pages of random lifetimes, 90 % taken",
        run: single_pages,
        is_for_large_windows: false,
    },
    Load {
        name: "mixed",
        what: "1 to 512 pages of random lifetimes, 90 % taken",
        run: mixed,
        is_for_large_windows: true,
    },
    Load {
        name: "huge pages",
        what: "512 and 1024 pages aligned to 512 among 1 to 64 pages, random lifetimes, 80 % taken",
        run: huge_pages,
        is_for_large_windows: true,
    },
];

fn ring(iova: &mut dyn Allocator) {
    let mut rng = Rng::with_seed(1);
    let mut ring: VecDeque<Piece> =
        (0..iova.pages() / 16).filter_map(|_| iova.take(2, 1)).collect();
    let mut stay: Vec<Piece> = Vec::new();
    iova.begin();
    let mut turn = 0u64;
    while iova.goes_on() {
        turn += 1;
        ring.extend(iova.take(2, 1));
        if turn.is_multiple_of(64) {
            stay.extend(iova.take(1, 1));
        }
        if let Some(oldest) = ring.pop_front() {
            iova.give_back(oldest);
        }
        if iova.taken() > iova.pages() / 2 {
            give_back_any(iova, &mut stay, &mut rng);
        }
    }
}

fn small_holes(iova: &mut dyn Allocator) {
    let mut rng = Rng::with_seed(2);
    let singles: Vec<Piece> = (0..iova.pages() / 2).filter_map(|_| iova.take(1, 1)).collect();
    singles.iter().step_by(2).for_each(|piece| iova.give_back(*piece));
    let mut live: Vec<Piece> = Vec::new();
    iova.begin();
    while iova.goes_on() {
        live.extend(iova.take(16, 1));
        if live.len() > 1024 {
            give_back_any(iova, &mut live, &mut rng);
        }
    }
}

fn alternating(iova: &mut dyn Allocator) {
    let mut small = Vec::new();
    while iova.taken() < iova.pages() / 10 * 9 {
        let (Some(one), Some(_)) = (iova.take(1, 1), iova.take(3, 1)) else { break };
        small.push(one);
    }
    small.drain(..).for_each(|piece| iova.give_back(piece));
    let mut live = VecDeque::new();
    iova.begin();
    while iova.goes_on() {
        live.extend(iova.take(2, 1));
        live.extend(iova.take(1, 1));
        while live.len() > 1024 {
            live.pop_front().into_iter().for_each(|piece| iova.give_back(piece));
        }
    }
}

fn single_pages(iova: &mut dyn Allocator) {
    random_lifetimes(iova, 90, |_| (1, 1));
}

fn mixed(iova: &mut dyn Allocator) {
    random_lifetimes(iova, 90, |rng| {
        let size_max = 1 << rng.u32(0..10);
        (rng.u64(1..=size_max), 1)
    });
}

fn huge_pages(iova: &mut dyn Allocator) {
    random_lifetimes(iova, 80, |rng| match rng.u8(..20) {
        0 => (512, 512),
        1 => (1024, 512),
        _ => (rng.u64(1..=64), 1),
    });
}

/// Fills the window to `per_cent`, or until a request fails, with requests as drawn. Then exchanges pieces at random.
fn random_lifetimes(
    iova: &mut dyn Allocator,
    per_cent: u64,
    draw: impl Fn(&mut Rng) -> (u64, u64),
) {
    let mut rng = Rng::with_seed(3);
    let full = iova.pages() / 100 * per_cent;
    let mut live = Vec::new();
    while iova.taken() < full {
        let (pages, alignment) = draw(&mut rng);
        let Some(piece) = iova.take(pages, alignment) else { break };
        live.push(piece);
    }
    iova.begin();
    while iova.goes_on() {
        let (pages, alignment) = draw(&mut rng);
        while iova.taken() + pages > full {
            give_back_any(iova, &mut live, &mut rng);
        }
        match iova.take(pages, alignment) {
            Some(piece) => live.push(piece),
            None => give_back_any(iova, &mut live, &mut rng),
        }
    }
}

fn give_back_any(iova: &mut dyn Allocator, live: &mut Vec<Piece>, rng: &mut Rng) {
    if !live.is_empty() {
        let piece = live.swap_remove(rng.usize(..live.len()));
        iova.give_back(piece);
    }
}
