//! SPDK: `lib/env_dpdk/memory.c`.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::Kernel,
};

use super::{Bare, is_not_minus_one};

/// Its own record of what is mapped.
pub struct Spdk<K: Kernel> {
    /// The container.
    pub bare: Bare<K>,
    /// What it believes: memory by bus address.
    pub believed: BTreeMap<u64, HostAddr>,
}

impl<K: Kernel> Spdk<K> {
    /// Nothing mapped yet.
    pub const fn new(bare: Bare<K>) -> Self {
        Self { bare, believed: BTreeMap::new() }
    }

    /// `vtophys_iommu_map_dma`: memory that it did not register; a failure is "ignored", and the map noted as live.
    pub fn map(&mut self, iova: Iova, address: HostAddr, size: Bytes) {
        let _ = self.bare.map(iova, address, size);
        self.believed.insert(iova.raw(), address);
    }

    /// `vtophys_iommu_unmap_dma`: anything but -1 is success.
    pub fn unmap(&mut self, iova: Iova, size: Bytes) -> bool {
        let unmapped = is_not_minus_one(self.bare.unmap(iova, size));
        if unmapped {
            self.believed.remove(&iova.raw());
        }
        unmapped
    }
}
