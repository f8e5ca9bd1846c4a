//! Sizes for people.

use std::fmt;

use crate::types::{Bytes, PageShift};

/// Shows a number of bytes exactly, in the largest unit that leaves no fraction: `2 GiB`, `16512 KiB`, `17 bytes`.
///
/// ```
/// # use tce_policy_sdk::Size;
/// assert_eq!(format!("needs {}", Size(3 << 20)), "needs 3 MiB");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub Bytes);

impl Size {
    /// Shows the page with this shift.
    #[must_use]
    pub fn of_page(page: PageShift) -> Self {
        Self(page_bytes(page))
    }

    /// The page that a setting means: by its shift (`16`) or by its size (`64K`).
    #[must_use]
    pub fn page_of(text: &str) -> Option<PageShift> {
        let is_page = |shift: &PageShift| *shift < 64;
        if let Ok(shift) = text.trim().parse() {
            return Some(shift).filter(is_page);
        }
        let size: Self = text.parse().ok()?;
        let log = size.0.checked_ilog2().filter(|_| size.0.is_power_of_two())?;
        PageShift::try_from(log).ok()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 6] =
            [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let zeros = if self.0 == 0 { 0 } else { self.0.trailing_zeros() };
        match UNITS.iter().find(|(shift, _)| *shift <= zeros) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// The bytes of a page: 1 << `page`. Zero for a shift of 64 or more, which no page has.
#[must_use]
pub fn page_bytes(page: PageShift) -> Bytes {
    1u64.checked_shl(page.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Size, page_bytes};

    #[test]
    fn a_size_is_shown_exactly() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (17, "17 bytes"),
            (4096, "4 KiB"),
            (16_512 << 10, "16512 KiB"),
            (1 << 31, "2 GiB"),
            (1 << 63, "8 EiB"),
            (u64::MAX, "18446744073709551615 bytes"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_page_is_said_by_its_shift_or_its_size() {
        for (text, page) in
            [("16", Some(16)), ("64K", Some(16)), ("2 MiB", Some(21)), ("64", None), ("3K", None)]
        {
            assert_eq!(Size::page_of(text), page, "{text}");
        }
    }

    #[test]
    fn a_page_no_shift_can_have_has_no_bytes() {
        assert_eq!(page_bytes(16), 65536);
        assert_eq!(page_bytes(64), 0);
    }
}
