//! Numbers as people write them in files: `4096`, `0x1000`, `64K`, `64KiB`, `2 MiB`, `1G`.

use std::{fmt, str::FromStr};

use crate::{Size, types::Bytes};

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotASize {
    /// It is written in no way that is known.
    Unreadable(String),
    /// It is larger than 64 bits can say.
    TooLarge(String),
}

impl fmt::Display for NotASize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => {
                write!(f, "`{text}` is no size: write 4096, 0x1000, 64K, 2MiB or 1G")
            }
            Self::TooLarge(text) => write!(f, "`{text}` does not fit 64 bits"),
        }
    }
}

impl std::error::Error for NotASize {}

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let text = text.trim();
        let unreadable = || NotASize::Unreadable(text.to_owned());
        if let Some(digits) = text.strip_prefix("0x") {
            let value = u64::from_str_radix(&digits.replace('_', ""), 16);
            return value.map(Size).map_err(|_| unreadable());
        }
        let split = text.find(|it: char| !it.is_ascii_digit() && it != '_').unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let value: Bytes = digits.replace('_', "").parse().map_err(|_| unreadable())?;
        let unit = unit.trim();
        let factor = match unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit) {
            "" => 1,
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            "T" => 1 << 40,
            "P" => 1 << 50,
            _ => return Err(unreadable()),
        };
        let bytes = value.checked_mul(factor).map(Size);
        bytes.ok_or_else(|| NotASize::TooLarge(text.to_owned()))
    }
}

#[cfg(feature = "serde")]
pub use reading::{Written, maybe_number, number, page, pages};

#[cfg(feature = "serde")]
mod reading {
    use std::fmt;

    use serde::{
        Deserialize, Deserializer,
        de::{Error, Unexpected, Visitor},
    };

    use crate::{Size, types::PageShift};

    /// A number as it stands in a file.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Written {
        /// As a number.
        Number(u64),
        /// As a text.
        Text(String),
    }

    impl Written {
        /// The number, whichever way it is written.
        fn size<E: Error>(self) -> Result<u64, E> {
            match self {
                Self::Number(value) => Ok(value),
                Self::Text(text) => text.parse::<Size>().map(|size| size.0).map_err(E::custom),
            }
        }

        /// A page: a number is its shift, a text its size.
        fn page<E: Error>(self) -> Result<PageShift, E> {
            let none = |what: &dyn fmt::Display| E::custom(format!("{what} is no page"));
            match self {
                Self::Number(shift) => PageShift::try_from(shift).map_err(|_| none(&shift)),
                Self::Text(text) => Size::page_of(&text).ok_or_else(|| none(&text)),
            }
        }
    }

    impl<'de> Deserialize<'de> for Written {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(WrittenVisitor)
        }
    }

    struct WrittenVisitor;

    impl Visitor<'_> for WrittenVisitor {
        type Value = Written;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size: a number or a text such as \"64KiB\"")
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Written, E> {
            Ok(Written::Number(value))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Written, E> {
            let number = u64::try_from(value).map(Written::Number);
            number.map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
            Ok(Written::Text(text.to_owned()))
        }
    }

    /// Reads a number of bytes, a bus address or a count.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        Written::deserialize(from)?.size()
    }

    /// Reads one that may be absent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn maybe_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Option::<Written>::deserialize(from)?.map(Written::size).transpose()
    }

    /// Reads a page: as a number its shift (`16`), as a text its size (`"64K"`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn page<'de, D: Deserializer<'de>>(from: D) -> Result<PageShift, D::Error> {
        Written::deserialize(from)?.page()
    }

    /// Reads a list of pages.
    ///
    /// # Errors
    /// What is wrong with one.
    pub fn pages<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PageShift>, D::Error> {
        Vec::<Written>::deserialize(from)?.into_iter().map(Written::page).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_sizes_in_many_ways() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("0x0800_0000_0000_0000", 1 << 59),
            ("64K", 1 << 16),
            ("64KiB", 1 << 16),
            ("2 MiB", 1 << 21),
            ("1G", 1 << 30),
            ("3T", 3 << 40),
            ("512B", 512),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_so() {
        for text in ["", "K", "-1", "1.5G", "64Q", "0xzz", "18446744073709551616"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        let error = "99999999999G".parse::<Size>().unwrap_err();
        assert!(error.to_string().contains("64 bits"));
    }
}
