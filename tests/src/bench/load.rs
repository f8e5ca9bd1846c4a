//! The loads: what shall be mapped, replaced and unmapped, and in which pieces it is asked for.

use tce_engine::{papr::LIST_TCES_MAX, plan::CALL_TCES_MAX};

/// TCEs of a huge page of 2 MiB.
pub const HUGE_PAGE_TCES: u64 = 512;
/// One TCE of this many is replaced.
pub const REPLACED_OF: u64 = 4;

/// A step of a load, in the order of [`Phase::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// All that the load has is mapped.
    Map,
    /// A quarter of it is pointed to other memory.
    Replace,
    /// All of it is unmapped.
    Unmap,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Map, Self::Replace, Self::Unmap];
}

/// Something for each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByPhase<T> {
    /// Of [`Phase::Map`].
    pub map: T,
    /// Of [`Phase::Replace`].
    pub replace: T,
    /// Of [`Phase::Unmap`].
    pub unmap: T,
}

impl<T: Copy> ByPhase<T> {
    /// Of a phase.
    pub const fn of(&self, phase: Phase) -> T {
        match phase {
            Phase::Map => self.map,
            Phase::Replace => self.replace,
            Phase::Unmap => self.unmap,
        }
    }

    /// The place of a phase.
    pub const fn at(&mut self, phase: Phase) -> &mut T {
        match phase {
            Phase::Map => &mut self.map,
            Phase::Replace => &mut self.replace,
            Phase::Unmap => &mut self.unmap,
        }
    }
}

/// What is asked for in one piece. TCEs count from the start of the window, pages from the start of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// These TCEs shall point to these pages, which are in a row.
    Map {
        /// The first TCE.
        first: u64,
        /// How many.
        tces: u64,
        /// The page that the first shall point to.
        page: u64,
    },
    /// These TCEs shall point to nothing.
    Unmap {
        /// The first TCE.
        first: u64,
        /// How many.
        tces: u64,
    },
}

impl Request {
    /// The first TCE.
    #[must_use]
    pub const fn first(&self) -> u64 {
        match *self {
            Self::Map { first, .. } | Self::Unmap { first, .. } => first,
        }
    }

    /// How many TCEs.
    #[must_use]
    pub const fn tces(&self) -> u64 {
        match *self {
            Self::Map { tces, .. } | Self::Unmap { tces, .. } => tces,
        }
    }
}

/// How the requests reach a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of a phase at once.
    Together,
    /// As a guest asks: `H_PUT_TCE_INDIRECT` of 512 each, and one `H_STUFF_TCE` to unmap.
    Lists,
}

/// When the memory is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Before, and its time does not count.
    Before,
    /// With the first phase, unregistered with the last one, and it counts.
    Counted,
}

/// Where the piece of a number goes, of so many pieces.
type Order = fn(pieces: u64, number: u64) -> u64;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Load {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// How the requests come.
    pub form: Form,
    /// When the memory is registered.
    pub registration: Registration,
    /// TCEs of a piece.
    piece: u64,
    /// In which places of the window the pieces are.
    place: Order,
    /// Which pieces of the memory they point to.
    memory: Order,
    is_replaced: fn(pieces: u64, number: u64) -> bool,
    /// The fewest `MAP_DMA` and `UNMAP_DMA` calls there can be for so many TCEs, by formula.
    minimal: fn(tces: u64) -> ByPhase<u64>,
}

impl Load {
    /// The requests of a phase for so many TCEs.
    #[must_use]
    pub fn requests(&self, phase: Phase, tces: u64) -> Vec<Request> {
        let pieces = tces / self.piece;
        let map = |number: u64, shift: u64| Request::Map {
            first: (self.place)(pieces, number) * self.piece,
            tces: self.piece,
            page: ((self.memory)(pieces, number) + shift) % pieces * self.piece,
        };
        match phase {
            Phase::Map => (0..pieces).map(|number| map(number, 0)).collect(),
            Phase::Replace => {
                let replaced = (0..pieces).filter(|number| (self.is_replaced)(pieces, *number));
                replaced.map(|number| map(number, pieces / 2)).collect()
            }
            Phase::Unmap if self.form == Form::Lists => vec![Request::Unmap { first: 0, tces }],
            Phase::Unmap => {
                let first = |number| (self.place)(pieces, number) * self.piece;
                let unmap = |number| Request::Unmap { first: first(number), tces: self.piece };
                (0..pieces).map(unmap).collect()
            }
        }
    }

    /// TCEs that each phase is about.
    #[must_use]
    pub const fn tces(&self, tces: u64) -> ByPhase<u64> {
        ByPhase { map: tces, replace: tces / REPLACED_OF, unmap: tces }
    }

    /// The fewest calls to map and unmap, by formula.
    #[must_use]
    pub fn minimal(&self, tces: u64) -> ByPhase<u64> {
        (self.minimal)(tces)
    }

    /// Whether it consists of whole huge pages.
    #[must_use]
    pub const fn is_of_huge_pages(&self) -> bool {
        self.piece == HUGE_PAGE_TCES
    }
}

/// All loads.
pub const LOADS: [Load; 8] = [
    Load {
        name: "contiguous",
        what: "TCE by TCE, each pointing behind the one before",
        form: Form::Together,
        registration: Registration::Before,
        piece: 1,
        place: in_order,
        memory: in_order,
        is_replaced: second_quarter,
        minimal: |tces| ByPhase { map: calls(tces), replace: calls(tces / 4), unmap: calls(tces) },
    },
    Load {
        name: "huge pages",
        what: "512 TCEs a request, anywhere in memory; registering it is part of the work",
        form: Form::Together,
        registration: Registration::Counted,
        piece: HUGE_PAGE_TCES,
        place: in_order,
        memory: scattered,
        is_replaced: every_fourth,
        minimal: |tces| {
            let pages = tces / HUGE_PAGE_TCES;
            ByPhase { map: pages, replace: pages / 4, unmap: calls(tces) }
        },
    },
    Load {
        name: "strided",
        what: "every second TCE",
        form: Form::Together,
        registration: Registration::Before,
        piece: 1,
        place: |_, number| 2 * number,
        memory: in_order,
        is_replaced: every_fourth,
        // One unmap spans what is not set.
        minimal: |tces| ByPhase { map: tces, replace: tces / 4, unmap: calls(2 * tces - 1) },
    },
    Load {
        name: "half-contiguous",
        what: "pairs of TCEs that go together",
        form: Form::Together,
        registration: Registration::Before,
        piece: 1,
        place: in_order,
        memory: pairs,
        is_replaced: every_fourth_pair,
        minimal: |tces| ByPhase { map: tces / 2, replace: tces / 8, unmap: calls(tces) },
    },
    Load {
        name: "random",
        what: "TCE by TCE in no order, no two going together",
        form: Form::Together,
        registration: Registration::Before,
        piece: 1,
        place: shuffled,
        memory: scattered,
        is_replaced: every_fourth,
        minimal: |tces| ByPhase { map: tces, replace: tces / 4, unmap: calls(tces) },
    },
    Load {
        name: "contiguous lists",
        what: "H_PUT_TCE_INDIRECT of 512 pages in a row; H_STUFF_TCE of the whole",
        minimal: |tces| {
            let lists = tces / LIST_TCES_MAX;
            ByPhase { map: lists, replace: lists / 4, unmap: calls(tces) }
        },
        ..LISTS
    },
    Load {
        name: "half-contiguous lists",
        what: "the same of pairs of pages",
        memory: pairs,
        minimal: |tces| ByPhase { map: tces / 2, replace: tces / 8, unmap: calls(tces) },
        ..LISTS
    },
    Load {
        name: "random lists",
        what: "the same of pages of which no two go together",
        memory: scattered,
        minimal: |tces| ByPhase { map: tces, replace: tces / 4, unmap: calls(tces) },
        ..LISTS
    },
];

/// What the loads of a guest have in common.
const LISTS: Load = Load {
    name: "",
    what: "",
    form: Form::Lists,
    registration: Registration::Before,
    piece: 1,
    place: in_order,
    memory: in_order,
    is_replaced: every_fourth_list,
    minimal: |_| ByPhase { map: 0, replace: 0, unmap: 0 },
};

/// Calls for contiguous TCEs.
const fn calls(tces: u64) -> u64 {
    tces.div_ceil(CALL_TCES_MAX)
}

const fn in_order(_: u64, number: u64) -> u64 {
    number
}

/// Of four pieces two stay together, and the two others are swapped with those of the block that mirrors theirs.
const fn pairs(pieces: u64, number: u64) -> u64 {
    let (block, place) = (number / 4, number % 4);
    if place < 2 { number } else { (pieces / 4 - 1 - block) * 4 + place }
}

/// A permutation: multiplication by an odd number, modulo a power of two. Its factor and that of [`shuffled`] differ in
/// their last two bits, so no two neighbours of either stay neighbours.
const fn scattered(pieces: u64, number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79bb) % pieces
}

/// Another permutation. It keeps every fourth piece a fourth one.
const fn shuffled(pieces: u64, number: u64) -> u64 {
    number.wrapping_mul(0x85eb_ca6d) % pieces
}

const fn second_quarter(pieces: u64, number: u64) -> bool {
    number >= pieces / 4 && number < pieces / 2
}

const fn every_fourth(_: u64, number: u64) -> bool {
    number.is_multiple_of(4)
}

const fn every_fourth_pair(_: u64, number: u64) -> bool {
    (number / 2).is_multiple_of(4)
}

const fn every_fourth_list(_: u64, number: u64) -> bool {
    (number / LIST_TCES_MAX).is_multiple_of(4)
}
