//! Why an allocator does not do what it is asked.

use thiserror::Error;

use super::{Alignment, HOLES_MAX, INDEX_END_MAX, RESERVED_MAX};
use crate::addr::Pages;

/// Why no allocator is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RangeRefusal {
    /// The range has no pages.
    #[error("the range from page {start} to page {end} is empty")]
    Empty {
        /// Its first page.
        start: u64,
        /// The page behind it.
        end: u64,
    },
    /// The range ends behind the last bus address.
    #[error(
        "the range ends at page {end}, but there are {INDEX_END_MAX} pages in 64 bits of bus address"
    )]
    TooFar {
        /// The page behind it.
        end: u64,
    },
    /// Too many reserved ranges.
    #[error("{count} reserved ranges are more than the {RESERVED_MAX} that an allocator keeps")]
    TooManyReserved {
        /// How many.
        count: usize,
    },
}

/// Why no pages are taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TakeRefusal {
    /// Of no pages at all.
    #[error("no pages were asked for")]
    Empty,
    /// No hole is long enough.
    #[error(
        "no room for {pages} pages aligned to {alignment}: {free} are free, {largest} of them in one \
         piece; give some back or take fewer at once"
    )]
    NoRoom {
        /// How many pages were asked for.
        pages: Pages,
        /// How they were to be aligned.
        alignment: Alignment,
        /// How many are free.
        free: Pages,
        /// How many of these are in the longest piece.
        largest: Pages,
    },
    /// Some of the pages at the place asked for are taken, reserved or outside.
    #[error("the {pages} pages from page {first} are not all free")]
    NotFree {
        /// The first page.
        first: u64,
        /// How many.
        pages: Pages,
    },
    /// The free pages lie in too many pieces already, and this would make one more.
    #[error("the free pages would lie in more than {holes_max} pieces (at most {HOLES_MAX})")]
    TooManyHoles {
        /// How many pieces there may be.
        holes_max: usize,
    },
}

/// Why pages are not given back. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GiveBackRefusal {
    /// Some of the pages are free, reserved or outside, or there are none.
    #[error("the {pages} pages from page {first} are not all taken")]
    NotTaken {
        /// The first page.
        first: u64,
        /// How many.
        pages: Pages,
    },
    /// The free pages lie in too many pieces already, and these would be one more. They stay taken, and can be given
    /// back once a neighbour is free.
    #[error(
        "the {pages} pages from page {first} stay taken: the free pages would lie in more than \
         {holes_max} pieces; give back pages next to free ones first"
    )]
    TooManyHoles {
        /// The first page.
        first: u64,
        /// How many.
        pages: Pages,
        /// How many pieces there may be.
        holes_max: usize,
    },
}
