//! Sizes as people write them: `4096`, `0x1000`, `64K`, `64KiB`, `2 MiB`, `1G`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};
use tce_engine::addr::{Bytes, Iova, PageShift};

/// A size or an address in a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// As a size.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes::new(self.0)
    }

    /// As a bus address.
    #[must_use]
    pub const fn iova(self) -> Iova {
        Iova::new(self.0)
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let explain = || format!("`{text}` is no size: write 4096, 0x1000, 64K, 2MiB or 1G");
        if let Some(digits) = text.strip_prefix("0x") {
            return u64::from_str_radix(&digits.replace('_', ""), 16)
                .map(Self)
                .map_err(|_| explain());
        }
        let split = text.find(|it: char| !it.is_ascii_digit() && it != '_').unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let value: u64 = digits.replace('_', "").parse().map_err(|_| explain())?;
        let unit = unit.trim();
        let factor = match unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit) {
            "" => 1,
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            "T" => 1 << 40,
            "P" => 1 << 50,
            _ => return Err(explain()),
        };
        value.checked_mul(factor).map(Self).ok_or_else(|| format!("`{text}` does not fit 64 bits"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(Self(value)),
            Written::Text(text) => Self::parse(&text).map_err(D::Error::custom),
        }
    }
}

/// A size as it is written.
pub(super) enum Written {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor)
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

/// A page size in a job, such as `4K` or `2M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(pub PageShift);

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = Size::deserialize(deserializer)?.bytes();
        PageShift::of_size(size)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("{size} is no page size: 4K to 16G there are")))
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
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_so() {
        for text in ["", "K", "-1", "1.5G", "64Q", "0xzz", "18446744073709551616"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        assert!(Size::parse("99999999999G").unwrap_err().contains("64 bits"));
    }
}
