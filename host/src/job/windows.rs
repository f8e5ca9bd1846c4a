//! `[windows]`: what becomes of windows where policies have no say.

use serde::{Deserialize, Deserializer, de::Error as _};
use tce_engine::{
    addr::{Bytes, PageShift},
    layout::UnusedDefault,
};

use tce_policy_sdk::text::Written;

use super::size::Size;

/// The table as it stands in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WindowsEntry {
    /// What a window may come as if the firmware has less.
    pub fallback: Fallback,
    /// What becomes of the default window if nothing uses it.
    pub unused_default: UnusedDefaultEntry,
}

/// What a partition's window may come as if the firmware turns out to have less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing else: the run ends.
    #[default]
    None,
    /// The smallest window that holds what it has to.
    Smallest,
    /// A window of this size: a power of two, whole pages.
    Size(Bytes),
}

impl Fallback {
    fn of_size(size: Bytes) -> Result<Self, String> {
        if size.raw().is_power_of_two() && size >= PageShift::K4.bytes() {
            return Ok(Self::Size(size));
        }
        Err(format!("no window has {size}: sizes of windows are powers of two, such as \"256M\""))
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "smallest" => Ok(Self::Smallest),
            _ => match Size::parse(text) {
                Ok(size) => Self::of_size(size.bytes()),
                Err(_) => Err(format!(
                    "`{text}` is no fallback: write \"none\", \"smallest\" or a size such as \"256M\""
                )),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Fallback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fallback = match Written::deserialize(deserializer)? {
            Written::Number(size) => Self::of_size(Bytes::new(size)),
            Written::Text(text) => Self::parse(&text),
        };
        fallback.map_err(D::Error::custom)
    }
}

/// What becomes of a default window that nothing uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnusedDefaultEntry {
    /// It stays.
    #[default]
    Keep,
    /// It goes, and its charge with it.
    Remove,
}

impl From<UnusedDefaultEntry> for UnusedDefault {
    fn from(entry: UnusedDefaultEntry) -> Self {
        match entry {
            UnusedDefaultEntry::Keep => Self::Keep,
            UnusedDefaultEntry::Remove => Self::Remove,
        }
    }
}
