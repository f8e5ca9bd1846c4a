//! How numbers are written in files: addresses and sizes in hexadecimal, errnos by name.

use serde::{Deserialize as _, Deserializer, Serializer};
use tce_engine::errno::Errno;

/// For `#[serde(with = "…")]`: a number as `0x…`, since JSON's numbers lose bits beyond 53.
pub(crate) mod hex {
    use super::{Deserializer, Serializer, parse_hex, text_of};

    pub(crate) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:#x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse_hex(&text_of(from)?)
    }
}

/// The same for an errno.
pub(crate) mod errno {
    use super::{Deserializer, Errno, Serializer, parse_errno, text_of};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(value: &Errno, to: S) -> Result<S::Ok, S::Error> {
        match value.name() {
            Some(name) => to.serialize_str(name),
            None => to.collect_str(&value.0),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Errno, D::Error> {
        parse_errno(&text_of(from)?)
    }
}

fn text_of<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from)
}

fn parse_hex<E: serde::de::Error>(text: &str) -> Result<u64, E> {
    let digits = text.strip_prefix("0x");
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| E::custom(format!("`{text}` is no hexadecimal number, such as 0x1000")))
}

fn parse_errno<E: serde::de::Error>(text: &str) -> Result<Errno, E> {
    let numbered = || text.parse().ok().map(Errno);
    Errno::from_name(text)
        .or_else(numbered)
        .ok_or_else(|| E::custom(format!("`{text}` is no errno, such as EINVAL or 22")))
}
