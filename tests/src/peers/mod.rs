//! What other programs do with the backend, written again as far as it matters: for benchmarks beside the engine, and
//! for their mistakes.
//!
//! Each is faithful in its calls, their order and what it makes of their results, and in nothing else.

mod dpdk;
mod qemu;
mod spdk;
mod virtio;

use anyhow::{Result, anyhow, ensure};
use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::{
        ContainerFd, CreateCall, Extension, GroupFd, GroupNumber, Kernel, MAP_READ, MAP_WRITE,
        MapCall, MemoryRange, Raw, Reply, UnmapCall,
    },
};

pub use dpdk::Dpdk;
pub use qemu::Qemu;
pub use spdk::Spdk;
pub use virtio::VirtioIommu;

/// A container with one group, and calls that nobody checks. Closed when dropped.
pub struct Bare<K: Kernel> {
    kernel: K,
    container: ContainerFd,
    group: GroupFd,
    /// Calls that were made to map and unmap.
    pub calls: u64,
    /// Calls that were made to register and unregister memory.
    pub registrations: u64,
}

impl<K: Kernel> Bare<K> {
    /// Opens a container for a group.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn open(mut kernel: K, group: GroupNumber) -> Result<Self> {
        let container =
            kernel.open_container().map_err(|errno| anyhow!("opening a container: {errno}"))?;
        let group =
            kernel.open_group(group).map_err(|errno| anyhow!("opening group {group}: {errno}"))?;
        let joined = kernel.set_container(group, container);
        ensure!(joined == Raw::OK, "SET_CONTAINER: {joined:?}");
        let chosen = kernel.set_iommu(container, Extension::SpaprTceV2);
        ensure!(chosen == Raw::OK, "SET_IOMMU: {chosen:?}");
        Ok(Self { kernel, container, group, calls: 0, registrations: 0 })
    }

    /// The container.
    pub const fn container(&self) -> ContainerFd {
        self.container
    }

    /// The group.
    pub const fn group(&self) -> GroupFd {
        self.group
    }

    /// `TCE_CREATE`.
    pub fn create(&mut self, page_shift: u32, size: Bytes, levels: u32) -> Reply<Iova> {
        self.kernel.create(self.container, CreateCall { page_shift, size, levels })
    }

    /// `TCE_REMOVE` of the default window.
    pub fn remove_default(&mut self) -> Raw {
        self.kernel.remove(self.container, Iova::new(0))
    }

    /// `REGISTER_MEMORY`.
    pub fn register(&mut self, memory: MemoryRange) -> Raw {
        self.registrations += 1;
        self.kernel.register(self.container, memory)
    }

    /// `UNREGISTER_MEMORY`.
    pub fn unregister(&mut self, memory: MemoryRange) -> Raw {
        self.registrations += 1;
        self.kernel.unregister(self.container, memory)
    }

    /// `MAP_DMA` for reading and writing.
    pub fn map(&mut self, iova: Iova, address: HostAddr, size: Bytes) -> Raw {
        self.calls += 1;
        let flags = MAP_READ | MAP_WRITE;
        self.kernel.map(self.container, MapCall { flags, address, iova, size })
    }

    /// `UNMAP_DMA`.
    pub fn unmap(&mut self, iova: Iova, size: Bytes) -> Raw {
        self.calls += 1;
        self.kernel.unmap(self.container, UnmapCall { iova, size })
    }
}

impl<K: Kernel> Drop for Bare<K> {
    fn drop(&mut self) {
        let _ = self.kernel.close(self.group.fd());
        let _ = self.kernel.close(self.container.fd());
    }
}

/// What these programs take for success: that it was not -1.
const fn is_not_minus_one(result: Raw) -> bool {
    matches!(result, Raw::Returned(_))
}
