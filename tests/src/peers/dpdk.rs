//! DPDK: `lib/eal/linux/eal_vfio.c`.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    kernel::{Kernel, MemoryRange, Raw},
};

use super::{Bare, is_not_minus_one};

/// An application's memory, huge page by huge page.
pub struct Dpdk<K: Kernel> {
    /// The container.
    pub bare: Bare<K>,
    page: PageShift,
}

impl<K: Kernel> Dpdk<K> {
    /// With huge pages of this size.
    pub const fn new(bare: Bare<K>, page: PageShift) -> Self {
        Self { bare, page }
    }

    /// `vfio_spapr_create_dma_window`: one level, then more until it works.
    pub fn create_window(&mut self, size: Bytes, levels_max: u32) -> Option<Iova> {
        let _ = self.bare.remove_default();
        (1..=levels_max).find_map(|levels| {
            let reply = self.bare.create(u32::from(self.page.raw()), size, levels);
            (reply.raw == Raw::OK).then_some(reply.out)
        })
    }

    /// `vfio_spapr_dma_do_map`, to map: two calls for each huge page.
    pub fn map(&mut self, iova: Iova, address: HostAddr) -> bool {
        let size = self.page.bytes();
        let registered = self.bare.register(MemoryRange { address, size });
        is_not_minus_one(registered) && is_not_minus_one(self.bare.map(iova, address, size))
    }

    /// The same, to unmap. It fills in the structure of a map, so that the kernel reads 0 where the bus address should
    /// be and the bus address where the size should be.
    pub fn unmap(&mut self, iova: Iova, address: HostAddr) -> bool {
        let size = self.page.bytes();
        let unmapped = self.bare.unmap(Iova::new(0), Bytes::new(iova.raw()));
        let unregistered = self.bare.unregister(MemoryRange { address, size });
        is_not_minus_one(unmapped) && is_not_minus_one(unregistered)
    }
}
