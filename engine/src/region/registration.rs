//! Memory on its way in.

use crate::addr::Bytes;

use super::RegionId;

/// A region that is being registered, piece by piece.
///
/// It ends with `Engine::advance` saying that it is complete, or with `Engine::abandon`. Whoever drops it without
/// either leaves its region where it was; `Engine::unregister` takes that back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "advance it until it is complete, or abandon it"]
pub struct Registration {
    region: RegionId,
}

impl Registration {
    pub(crate) const fn new(region: RegionId) -> Self {
        Self { region }
    }

    /// The region. Nothing can be mapped to it before it is complete.
    #[must_use]
    pub const fn region(&self) -> RegionId {
        self.region
    }
}

/// How far a registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    Registering {
        /// How much is registered.
        registered: Bytes,
        /// How much there is.
        size: Bytes,
    },
    /// The region can be used.
    Complete(RegionId),
}
