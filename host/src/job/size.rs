//! Sizes as people write them in a job.

use serde::{Deserialize, Deserializer, de::Error};
use tce_engine::addr::{Bytes, Iova, PageShift};
use tce_policy_sdk::text;

/// A size or an address in a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Size(#[serde(deserialize_with = "text::number")] pub u64);

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
    pub fn parse(text: &str) -> Result<Self, text::NotASize> {
        text.parse::<tce_policy_sdk::Size>().map(|size| Self(size.0))
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
