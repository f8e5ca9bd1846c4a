//! What only the embedder knows of its platform.

use crate::addr::Pages;

use super::reserved::{self, ReservedRange, ReservedRefusal};

/// Limits of the platform that neither the kernel nor the firmware tells beforehand. The default knows none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformLimits {
    dynamic_tces_max: Option<Pages>,
    reserved: Vec<ReservedRange>,
}

impl PlatformLimits {
    /// With the most TCEs that the firmware gives a dynamic window of a logical partition, whatever their page: the
    /// hypervisor's administrator knows it, or `ibm,query-pe-dma-window` (`largest_available_block`). A window beyond
    /// it is refused before the kernel is asked, which would keep the charge of the attempt. Elsewhere it has no
    /// effect: powernv has no dynamic windows in this sense.
    #[must_use]
    pub const fn with_dynamic_tces_max(mut self, tces_max: Pages) -> Self {
        self.dynamic_tces_max = Some(tces_max);
        self
    }

    /// With bus addresses to keep clear of besides those that the platform reserves, such as a device's own MSI range.
    ///
    /// # Errors
    /// [`ReservedRefusal`] for a range that is empty or ends beyond 64 bits, and for too many.
    pub fn with_reserved(mut self, ranges: Vec<ReservedRange>) -> Result<Self, ReservedRefusal> {
        reserved::check(&ranges)?;
        self.reserved = ranges;
        Ok(self)
    }

    /// The most TCEs of a dynamic window, if that is known.
    #[must_use]
    pub const fn dynamic_tces_max(&self) -> Option<Pages> {
        self.dynamic_tces_max
    }

    /// The ranges to keep clear of.
    #[must_use]
    pub fn reserved(&self) -> &[ReservedRange] {
        &self.reserved
    }
}
