//! What a job tells policies beside what has a field of its own.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The most hints of one thing.
const HINTS_MAX: usize = 32;
/// The most bytes of one hint's value.
const VALUE_BYTES_MAX: usize = 1_000;

/// Hints by key: lower-case words joined by hyphens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Hints(BTreeMap<String, String>);

impl Hints {
    /// Each key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Hints {
    type Error = String;

    fn try_from(hints: BTreeMap<String, String>) -> Result<Self, String> {
        if hints.len() > HINTS_MAX {
            return Err(format!("{} hints, and {HINTS_MAX} at most can be", hints.len()));
        }
        if let Some(key) = hints.keys().find(|key| !is_key(key)) {
            return Err(format!("`{key}` is no hint's key: lower-case words joined by hyphens"));
        }
        match hints.iter().find(|(_, value)| value.len() > VALUE_BYTES_MAX) {
            Some((key, _)) => Err(format!("hint {key} has more than {VALUE_BYTES_MAX} bytes")),
            None => Ok(Self(hints)),
        }
    }
}

fn is_key(key: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit())
    };
    key.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(key: &str, value: &str) -> Result<Hints, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())]).try_into()
    }

    #[test]
    fn a_key_is_lower_case_words_joined_by_hyphens() {
        for key in ["priority", "numa-node", "node-0"] {
            assert!(hints(key, "1").is_ok(), "{key}");
        }
        for key in ["", "-", "Priority", "numa_node", "numa--node", "a b"] {
            assert!(hints(key, "1").is_err(), "{key}");
        }
    }

    #[test]
    fn hints_are_few_and_short() {
        assert!(hints("what", &"x".repeat(VALUE_BYTES_MAX)).is_ok());
        assert!(hints("what", &"x".repeat(VALUE_BYTES_MAX + 1)).is_err());
        let many = |count: usize| (0..count).map(|at| (format!("key-{at}"), String::new()));
        assert!(Hints::try_from(many(HINTS_MAX).collect::<BTreeMap<_, _>>()).is_ok());
        assert!(Hints::try_from(many(HINTS_MAX + 1).collect::<BTreeMap<_, _>>()).is_err());
    }
}
