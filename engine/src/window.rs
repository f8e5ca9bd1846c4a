//! Windows, and the ranges they admit.

use std::fmt;

use thiserror::Error;

use crate::{
    addr::{Bytes, Iova, PageShift, Pages},
    facts::{ReservedRange, Slot},
};

/// Counts the windows an engine has had. Never used twice, so a handle of an earlier window is told from a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The next one.
    ///
    /// # Panics
    /// After 2^64 windows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("fewer than 2^64 windows"))
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// Names one window for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId {
    /// Its place.
    pub slot: Slot,
    /// Which of the windows that have been there.
    pub generation: Generation,
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {} (generation {})", self.slot.number(), self.generation.raw())
    }
}

/// How a window comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By `TCE_CREATE`.
    Created,
    /// It is the kernel's default window.
    DefaultWindow,
}

/// A range that somebody alleges to be usable. Proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its first bus address.
    pub start: Iova,
    /// Its size.
    pub size: Bytes,
}

impl Claim {
    /// Whether it has an address in common with another one of the same window.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.has(other.start) || other.has(self.start)
    }

    /// Whether all addresses of another one are its own.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        let before = other.start.offset_from(self.start);
        let end = before.and_then(|before| before.checked_add(other.size));
        end.is_some_and(|end| end <= self.size)
    }

    fn has(self, address: Iova) -> bool {
        address.offset_from(self.start).is_some_and(|offset| offset < self.size)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.size, self.start)
    }
}

/// Why a window does not admit a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClaimRefusal {
    /// The size is zero. The kernel may hang on one (`pnv_pci_phb3_tce_invalidate`).
    #[error("the range at {0} is empty")]
    Empty(Iova),
    /// Start or size is not a multiple of the window's page.
    #[error("the range of {claim} is not aligned to the window's {page} pages")]
    Misaligned {
        /// The range.
        claim: Claim,
        /// The page.
        page: PageShift,
    },
    /// Some of it lies outside. The kernel would write past its table.
    #[error("the range of {claim} leaves the window of {size} at {start}")]
    Outside {
        /// The range.
        claim: Claim,
        /// Where the window starts.
        start: Iova,
        /// The window's size.
        size: Bytes,
    },
    /// Some of it is reserved.
    #[error("the range of {claim} touches the reserved {what} range from {start}")]
    Reserved {
        /// The range.
        claim: Claim,
        /// Where the reserved range starts.
        start: Iova,
        /// What lies there.
        what: &'static str,
    },
}

/// A range of a window's TCEs. Having one proves that when it was made
///
/// - it was not empty,
/// - all of it lay inside the window,
/// - none of it was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    first: u64,
    pages: Pages,
}

impl Run {
    /// The index of its first TCE.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The index behind its last TCE. Fits, because the window's last address does.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.first + self.pages.raw()
    }

    /// How many TCEs.
    #[must_use]
    pub const fn pages(self) -> Pages {
        self.pages
    }

    /// Whether `other` lies inside.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.end() <= self.end()
    }

    /// Whether the two share a TCE.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

/// A window of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its name.
    pub id: WindowId,
    /// Its first bus address, as the kernel chose it.
    pub start: Iova,
    /// Its size as asked for. The kernel may have rounded the table up; what lies behind is not used.
    pub size: Bytes,
    /// Its page.
    pub page: PageShift,
    /// Levels of its table.
    pub levels: u8,
    /// Where it comes from.
    pub origin: Origin,
}

impl Window {
    /// How many TCEs it has.
    #[must_use]
    pub const fn tces(&self) -> Pages {
        self.size.pages_up(self.page)
    }

    /// The only way to a [`Run`].
    ///
    /// # Errors
    /// Why the claim is refused.
    #[inline]
    pub fn admit(&self, claim: Claim, reserved: &[ReservedRange]) -> Result<Run, ClaimRefusal> {
        if claim.size.is_zero() {
            return Err(ClaimRefusal::Empty(claim.start));
        }
        if !claim.start.is_aligned(self.page) || !claim.size.is_multiple_of(self.page) {
            return Err(ClaimRefusal::Misaligned { claim, page: self.page });
        }
        let outside = || ClaimRefusal::Outside { claim, start: self.start, size: self.size };
        let offset = claim.start.offset_from(self.start).ok_or_else(outside)?;
        let end = offset.checked_add(claim.size).ok_or_else(outside)?;
        if end > self.size {
            return Err(outside());
        }
        if let Some(range) =
            reserved.iter().find(|range| !range.overlap(claim.start, claim.size).is_zero())
        {
            let (start, what) = (range.start, range.what);
            return Err(ClaimRefusal::Reserved { claim, start, what });
        }
        Ok(Run {
            first: offset.raw() >> self.page.raw(),
            pages: Pages::new(claim.size.raw() >> self.page.raw()),
        })
    }

    /// The bus address of a TCE of this window.
    ///
    /// # Panics
    /// If the index does not come from this window.
    #[must_use]
    pub fn iova_of(&self, index: u64) -> Iova {
        let iova =
            Pages::new(index).bytes(self.page).and_then(|offset| self.start.checked_add(offset));
        iova.expect("an index of this window")
    }

    /// The size of so many TCE pages of this window.
    ///
    /// # Panics
    /// If there are more than the window has.
    #[must_use]
    pub fn bytes_of(&self, pages: Pages) -> Bytes {
        pages.bytes(self.page).expect("no more pages than the window has")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVED: [ReservedRange; 1] =
        [ReservedRange { start: Iova::new(0x8000_0000), size: Bytes::gib(2), what: "mmio-32bit" }];

    fn window(start: u64, size: Bytes) -> Window {
        Window {
            id: WindowId { slot: Slot::Zero, generation: Generation::default() },
            start: Iova::new(start),
            size,
            page: PageShift::K64,
            levels: 1,
            origin: Origin::Created,
        }
    }

    fn claim(start: u64, size: u64) -> Claim {
        Claim { start: Iova::new(start), size: Bytes::new(size) }
    }

    #[test]
    fn a_claim_inside_becomes_a_run() {
        let run = window(1 << 59, Bytes::mib(1)).admit(claim((1 << 59) + 0x20000, 0x30000), &[]);
        let run = run.expect("inside");
        assert_eq!((run.first(), run.end()), (2, 5));
        let all =
            window(0, Bytes::mib(1)).admit(claim(0, 0x10_0000), &[]).expect("the whole window");
        assert_eq!(all.pages(), Pages::new(16));
    }

    #[test]
    fn a_claim_that_overruns_the_end_is_refused() {
        let window = window(0, Bytes::mib(1));
        for (start, size) in [(0xf_0000, 0x2_0000), (0x10_0000, 0x1_0000), (0, 0x11_0000)] {
            let refusal = window.admit(claim(start, size), &[]);
            assert!(matches!(refusal, Err(ClaimRefusal::Outside { .. })), "{start:#x} {size:#x}");
        }
    }

    #[test]
    fn a_claim_that_wraps_is_refused() {
        let low = window(0x10000, Bytes::mib(1));
        assert!(matches!(low.admit(claim(0, 0x10000), &[]), Err(ClaimRefusal::Outside { .. })));
        let huge = claim(0x10000, u64::MAX - 0xffff);
        assert!(matches!(low.admit(huge, &[]), Err(ClaimRefusal::Outside { .. })));
    }

    #[test]
    fn empty_and_misaligned_claims_are_refused() {
        let window = window(0, Bytes::mib(1));
        assert_eq!(window.admit(claim(0, 0), &[]), Err(ClaimRefusal::Empty(Iova::new(0))));
        for (start, size) in [(0x1000, 0x10000), (0, 0x1000), (0x10010, 0x10000)] {
            let refusal = window.admit(claim(start, size), &[]);
            assert!(matches!(refusal, Err(ClaimRefusal::Misaligned { .. })));
        }
    }

    #[test]
    fn reserved_ranges_are_never_admitted() {
        let window = window(0, Bytes::gib(8));
        assert!(window.admit(claim(0, 0x8000_0000), &RESERVED).is_ok());
        assert!(window.admit(claim(0x1_0000_0000, 0x10000), &RESERVED).is_ok());
        for (start, size) in [(0x7fff_0000, 0x2_0000), (0x8000_0000, 0x1_0000), (0, 0x2_0000_0000)]
        {
            let refusal = window.admit(claim(start, size), &RESERVED);
            assert!(matches!(refusal, Err(ClaimRefusal::Reserved { .. })), "{start:#x} {size:#x}");
        }
    }
}
