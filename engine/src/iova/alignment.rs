//! What a piece begins at a multiple of.

use std::fmt;

use super::{INDEX_END_MAX, hole::floor_log2};
use crate::addr::Pages;

/// What the first page of a piece is a multiple of: a power of two, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alignment {
    order: u8,
}

impl Alignment {
    /// Any page will do.
    pub const PAGE: Self = Self { order: 0 };

    /// Multiples of this many pages, if that is a power of two, and not more than [`INDEX_END_MAX`].
    #[must_use]
    pub const fn of(pages: Pages) -> Option<Self> {
        if pages.raw().is_power_of_two() && pages.raw() <= INDEX_END_MAX {
            return Some(Self { order: floor_log2(pages.raw()) });
        }
        None
    }

    /// The pages between two aligned ones.
    #[must_use]
    pub const fn pages(self) -> Pages {
        Pages::new(1 << self.order)
    }

    /// The base-2 logarithm of these pages.
    pub(super) const fn order(self) -> u8 {
        self.order
    }
}

impl fmt::Display for Alignment {
    /// As in `512 pages`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.order {
            0 => f.write_str("1 page"),
            _ => write!(f, "{} pages", self.pages()),
        }
    }
}
