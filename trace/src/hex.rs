//! How numbers stand in a trace: addresses and sizes as hexadecimal strings, since JSON numbers lose precision above
//! 2^53; descriptors as plain numbers.

use std::fmt;

use serde::{Deserializer, Serializer, de};
use tce_engine::addr::{Bytes, HostAddr, Iova};

/// A 64-bit quantity that is written in hexadecimal.
pub(crate) trait Quantity: Sized {
    /// From its number.
    fn from_raw(raw: u64) -> Self;
    /// Its number.
    fn to_raw(&self) -> u64;
}

macro_rules! quantities {
    ($($name:ident)*) => {
        $(impl Quantity for $name {
            fn from_raw(raw: u64) -> Self {
                Self::new(raw)
            }
            fn to_raw(&self) -> u64 {
                self.raw()
            }
        })*
    };
}

quantities! { Bytes HostAddr Iova }

impl Quantity for u64 {
    fn from_raw(raw: u64) -> Self {
        raw
    }
    fn to_raw(&self) -> u64 {
        *self
    }
}

pub(crate) fn serialize<Q: Quantity, S: Serializer>(
    quantity: &Q,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:#x}", quantity.to_raw()))
}

pub(crate) fn deserialize<'de, Q: Quantity, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Q, D::Error> {
    deserializer.deserialize_any(Visitor).map(Q::from_raw)
}

/// Takes `"0x…"`, and a plain number where somebody wrote one by hand.
struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hexadecimal number in a string, such as \"0x200000\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }
}

/// The same for a quantity that may be absent.
pub(crate) mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Quantity;

    pub(crate) fn serialize<Q: Quantity, S: Serializer>(
        quantity: &Option<Q>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match quantity {
            Some(quantity) => super::serialize(quantity, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, Q: Quantity, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Q>, D::Error> {
        #[derive(Deserialize)]
        struct Present(#[serde(with = "super")] u64);
        let present = Option::<Present>::deserialize(deserializer)?;
        Ok(present.map(|Present(raw)| Q::from_raw(raw)))
    }
}

/// A descriptor's number.
pub(crate) mod fd {
    use serde::{Deserialize, Deserializer, Serializer};
    use tce_engine::kernel::Fd;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(fd: &Fd, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(fd.raw())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fd, D::Error> {
        i32::deserialize(deserializer).map(Fd::new)
    }
}
