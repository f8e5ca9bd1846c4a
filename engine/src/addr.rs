//! Addresses, sizes and page shifts as types of their own.
//!
//! Each has a private field and checked arithmetic only: a sum that does not fit is `None`, never a wrapped
//! number. There are no operators, so no address is added to another by accident.

use std::fmt;

/// The smallest TCE page: 4 KiB (PAPR, "I/O page sizes").
const PAGE_SHIFT_MIN: u8 = 12;
/// The largest TCE page that PAPR names: 16 GiB.
const PAGE_SHIFT_MAX: u8 = 34;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The address with this value.
            #[must_use]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The value.
            #[must_use]
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// The address `offset` bytes further on, if it still fits 64 bits.
            #[must_use]
            pub const fn checked_add(self, offset: Bytes) -> Option<Self> {
                match self.0.checked_add(offset.0) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// How far this address lies behind `start`; `None` if it lies before it.
            #[must_use]
            pub const fn offset_from(self, start: Self) -> Option<Bytes> {
                match self.0.checked_sub(start.0) {
                    Some(raw) => Some(Bytes(raw)),
                    None => None,
                }
            }

            /// Whether the address is a multiple of the page.
            #[must_use]
            pub const fn is_aligned(self, shift: PageShift) -> bool {
                self.0 & (shift.bytes().0 - 1) == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A PCI bus address, as a device puts it on the wire. Any 64-bit value.
    Iova
}

address! {
    /// An address in the memory of the process that owns the container. Never dereferenced here.
    HostAddr
}

address! {
    /// An address in a guest's memory, as the guest knows it. Any 64-bit value.
    GuestAddress
}

/// A size in bytes. Any 64-bit value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes at all.
    pub const ZERO: Self = Self(0);

    /// A size of `raw` bytes.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    #[expect(clippy::as_conversions, reason = "widening; u64::from is not const")]
    const fn shifted(count: u32, shift: u32) -> Self {
        Self((count as u64) << shift)
    }

    /// A size of `count` KiB.
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self::shifted(count, 10)
    }

    /// A size of `count` MiB.
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self::shifted(count, 20)
    }

    /// A size of `count` GiB.
    #[must_use]
    pub const fn gib(count: u32) -> Self {
        Self::shifted(count, 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, if it fits 64 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The difference, if it is not negative.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The sum, or the largest size there is.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether the size is a whole number of pages.
    #[must_use]
    pub const fn is_multiple_of(self, shift: PageShift) -> bool {
        self.0 & (shift.bytes().0 - 1) == 0
    }

    /// The pages needed to hold this size, the last one perhaps in part.
    #[must_use]
    pub const fn pages_up(self, shift: PageShift) -> Pages {
        Pages(self.0.div_ceil(shift.bytes().0))
    }

    /// The size rounded up to whole pages, if that fits 64 bits.
    #[must_use]
    pub const fn round_up(self, shift: PageShift) -> Option<Self> {
        match self.0.checked_next_multiple_of(shift.bytes().0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that divides it: `64 KiB`, `2 GiB`, `1000 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.0;
        let mut unit = 0;
        while value != 0 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
            value >>= 10;
            unit += 1;
        }
        write!(f, "{value} {}", UNITS[unit])
    }
}

/// The base-2 logarithm of a page size, from 12 (4 KiB) to 34 (16 GiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageShift(u8);

impl PageShift {
    /// 4 KiB.
    pub const K4: Self = Self(12);
    /// 64 KiB.
    pub const K64: Self = Self(16);
    /// 2 MiB.
    pub const M2: Self = Self(21);
    /// 16 MiB.
    pub const M16: Self = Self(24);
    /// 1 GiB.
    pub const G1: Self = Self(30);

    /// The shift, if a TCE page of that size exists in PAPR's range.
    #[must_use]
    pub const fn new(shift: u8) -> Option<Self> {
        if shift < PAGE_SHIFT_MIN || shift > PAGE_SHIFT_MAX {
            return None;
        }
        Some(Self(shift))
    }

    /// The shift of a page of exactly this size.
    #[must_use]
    pub fn of_size(size: Bytes) -> Option<Self> {
        if !size.0.is_power_of_two() {
            return None;
        }
        u8::try_from(size.0.trailing_zeros()).ok().and_then(Self::new)
    }

    /// The shift itself.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// The size of one page.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes(1 << self.0)
    }
}

impl fmt::Display for PageShift {
    /// As the size: `64K`, `2M`, `1G`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0 {
            30.. => ("G", 30),
            20..30 => ("M", 20),
            _ => ("K", 10),
        };
        write!(f, "{}{unit}", 1u64 << (self.0 - shift))
    }
}

/// A number of pages of a size that the context names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pages(u64);

impl Pages {
    /// A number of pages.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Their size in bytes, if it fits 64 bits.
    #[must_use]
    pub const fn bytes(self, shift: PageShift) -> Option<Bytes> {
        match self.0.checked_mul(shift.bytes().0) {
            Some(raw) => Some(Bytes(raw)),
            None => None,
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_do_not_fit_are_none() {
        assert_eq!(Iova::new(u64::MAX).checked_add(Bytes::new(1)), None);
        assert_eq!(Bytes::new(u64::MAX).checked_add(Bytes::new(1)), None);
        assert_eq!(Bytes::new(1).checked_sub(Bytes::new(2)), None);
        assert_eq!(Pages::new(1 << 60).bytes(PageShift::K64), None);
        assert_eq!(Bytes::new(u64::MAX).round_up(PageShift::K4), None);
    }

    #[test]
    fn offsets_run_forwards_only() {
        let (low, high) = (HostAddr::new(0x1000), HostAddr::new(0x3000));
        assert_eq!(high.offset_from(low), Some(Bytes::new(0x2000)));
        assert_eq!(low.offset_from(high), None);
    }

    #[test]
    fn only_page_sizes_of_papr_have_a_shift() {
        assert_eq!(PageShift::new(11), None);
        assert_eq!(PageShift::new(12), Some(PageShift::K4));
        assert_eq!(PageShift::new(35), None);
        assert_eq!(PageShift::of_size(Bytes::kib(64)), Some(PageShift::K64));
        assert_eq!(PageShift::of_size(Bytes::kib(65)), None);
        assert_eq!(PageShift::of_size(Bytes::ZERO), None);
    }

    #[test]
    fn alignment_looks_at_all_low_bits() {
        assert!(Iova::new(0x10000).is_aligned(PageShift::K64));
        assert!(!Iova::new(0x10010).is_aligned(PageShift::K64));
        assert!(!Bytes::new(0x1010).is_multiple_of(PageShift::K4));
        assert_eq!(Bytes::new(0x1001).pages_up(PageShift::K4), Pages::new(2));
    }

    #[test]
    fn sizes_read_in_the_largest_whole_unit() {
        assert_eq!(Bytes::gib(2).to_string(), "2 GiB");
        assert_eq!(Bytes::kib(96).to_string(), "96 KiB");
        assert_eq!(Bytes::new(1000).to_string(), "1000 B");
        assert_eq!(Bytes::ZERO.to_string(), "0 B");
        assert_eq!(PageShift::M2.to_string(), "2M");
        assert_eq!(PageShift::K64.to_string(), "64K");
    }
}
