//! `[platform]`: what only the operator knows of the machine.

use serde::Deserialize;
use tce_engine::{
    addr::Pages,
    facts::{PlatformLimits, ReservedRange, ReservedRefusal},
};

use super::size::Size;

/// What reserved ranges of a job are called.
const WHAT: &str = "job";

/// The table as it stands in the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PlatformEntry {
    /// The most TCEs of a partition's dynamic window.
    pub dynamic_tces: Option<TceCount>,
    /// Bus addresses to keep clear of besides the kernel's.
    pub reserved: Vec<ReservedEntry>,
}

/// A number of TCEs that is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct TceCount(Pages);

impl TryFrom<u64> for TceCount {
    type Error = &'static str;

    fn try_from(tces: u64) -> Result<Self, Self::Error> {
        if tces == 0 {
            return Err(
                "a window has 1 TCE at least: say how many the largest dynamic window can \
                        have, or leave the key out if you do not know",
            );
        }
        Ok(Self(Pages::new(tces)))
    }
}

/// A range of bus addresses, neither empty nor beyond 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenRange")]
pub struct ReservedEntry(ReservedRange);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRange {
    at: Size,
    size: Size,
}

impl TryFrom<WrittenRange> for ReservedEntry {
    type Error = ReservedRefusal;

    fn try_from(written: WrittenRange) -> Result<Self, Self::Error> {
        let WrittenRange { at, size } = written;
        let range = ReservedRange { start: at.iova(), size: size.bytes(), what: WHAT };
        PlatformLimits::default().with_reserved(vec![range]).map(|_| Self(range))
    }
}

impl PlatformEntry {
    /// For the engine.
    ///
    /// # Errors
    /// [`ReservedRefusal::TooMany`].
    pub(super) fn limits(&self) -> Result<PlatformLimits, ReservedRefusal> {
        let limits = PlatformLimits::default();
        let limits = match self.dynamic_tces {
            Some(TceCount(tces_max)) => limits.with_dynamic_tces_max(tces_max),
            None => limits,
        };
        limits.with_reserved(self.reserved.iter().map(|entry| entry.0).collect())
    }
}
