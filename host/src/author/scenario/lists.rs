//! Lists of keys and values, which people write as a table.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::policy::wit::{Hint, Setting};

/// An entry of such a list.
pub(super) trait Entry {
    fn new(key: String, value: String) -> Self;
}

impl Entry for Hint {
    fn new(key: String, value: String) -> Self {
        Self { key, value }
    }
}

impl Entry for Setting {
    fn new(key: String, value: String) -> Self {
        Self { key, value }
    }
}

/// As the WIT has it, `[{ key = "share", value = "50" }]`, or as a table, `{ share = "50" }`.
pub(super) fn entries<'de, D, E>(from: D) -> Result<Vec<E>, D::Error>
where
    D: Deserializer<'de>,
    E: Entry + Deserialize<'de>,
{
    from.deserialize_any(Entries(PhantomData))
}

struct Entries<E>(PhantomData<E>);

impl<'de, E: Entry + Deserialize<'de>> Visitor<'de> for Entries<E> {
    type Value = Vec<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of texts, such as { share = \"50\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<E>, A::Error> {
        let mut list = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            list.push(E::new(key, value));
        }
        Ok(list)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<E>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// A text that stands for a whole table.
pub(super) trait Named: Sized {
    /// What it is called, for errors.
    const WHAT: &'static str;
    /// The table that the name stands for.
    fn named(name: &str) -> Self;
}

/// Reads a table, or the name of one.
pub(super) fn named<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Named + Deserialize<'de>,
{
    from.deserialize_any(NamedVisitor(PhantomData))
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Named + Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E>(self, name: &str) -> Result<T, E> {
        Ok(T::named(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
