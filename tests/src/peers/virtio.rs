//! Rust's virtual machine monitors: virtio-iommu with an ordered map, one call for each request.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::{Kernel, Raw},
};

use super::Bare;

/// A domain and its mappings.
pub struct VirtioIommu<K: Kernel> {
    /// The container.
    pub bare: Bare<K>,
    /// Size and memory by bus address.
    mappings: BTreeMap<u64, (u64, HostAddr)>,
}

impl<K: Kernel> VirtioIommu<K> {
    /// An empty domain.
    pub const fn new(bare: Bare<K>) -> Self {
        Self { bare, mappings: BTreeMap::new() }
    }

    /// `VIRTIO_IOMMU_T_MAP`: refused where something is mapped.
    pub fn map(&mut self, iova: Iova, address: HostAddr, size: Bytes) -> bool {
        let (start, end) = (iova.raw(), iova.raw().saturating_add(size.raw()));
        let before = self.mappings.range(..end).next_back();
        if before.is_some_and(|(at, (bytes, _))| at + bytes > start) {
            return false;
        }
        self.mappings.insert(start, (size.raw(), address));
        let is_mapped = self.bare.map(iova, address, size) == Raw::OK;
        if !is_mapped {
            self.mappings.remove(&start);
        }
        is_mapped
    }

    /// `VIRTIO_IOMMU_T_UNMAP`: one call for each mapping that lies in the range.
    pub fn unmap(&mut self, iova: Iova, size: Bytes) -> bool {
        let end = iova.raw().saturating_add(size.raw());
        let inside: Vec<(u64, u64)> =
            self.mappings.range(iova.raw()..end).map(|(at, (bytes, _))| (*at, *bytes)).collect();
        inside.into_iter().all(|(at, bytes)| {
            self.mappings.remove(&at);
            self.bare.unmap(Iova::new(at), Bytes::new(bytes)) == Raw::OK
        })
    }
}
