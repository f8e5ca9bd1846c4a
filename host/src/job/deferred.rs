//! `deferred` of a lease: unmaps that are put off.

use serde::Deserialize;
use tce_engine::lingering::{Deferral, LINGERING_TCES_MAX};

/// How much may linger, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct DeferredEntry(pub Deferral);

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tces: u64,
    delay: u64,
}

impl TryFrom<Written> for DeferredEntry {
    type Error = String;

    fn try_from(Written { tces, delay }: Written) -> Result<Self, String> {
        Deferral::new(tces, delay).map(Self).ok_or_else(|| {
            format!(
                "unmaps of {tces} TCEs cannot be put off for {delay} ms: `tces` is 1 to \
                 {LINGERING_TCES_MAX} and `delay` 1 at least; without `deferred` nothing is put off"
            )
        })
    }
}
