//! QEMU: `hw/vfio/spapr.c` and `hw/ppc/spapr_iommu.c`.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    kernel::{Kernel, Raw},
};

use super::Bare;

/// Bits that QEMU reckons a level of a table has beyond the system page's.
const LEVEL_BITS: u32 = 8;

/// A guest's TCEs, each passed on as it comes (`vfio_iommu_map_notify`).
pub struct Qemu<K: Kernel> {
    /// The container.
    pub bare: Bare<K>,
    page: PageShift,
}

impl<K: Kernel> Qemu<K> {
    /// With guest pages of this size.
    pub const fn new(bare: Bare<K>, page: PageShift) -> Self {
        Self { bare, page }
    }

    /// `vfio_spapr_create_window`: levels by a guess, then more of them until it works.
    pub fn create_window(&mut self, size: Bytes, system_page: PageShift) -> Option<Iova> {
        let entries = size.pages_up(self.page).raw();
        let total = (entries * 8).trailing_zeros();
        let per_level = u32::from(system_page.raw()) + LEVEL_BITS;
        let guess = total.div_ceil(per_level);
        let most = (64 - u32::from(self.page.raw())) / u32::from(system_page.raw());
        (guess..=most.max(guess)).find_map(|levels| {
            let reply = self.bare.create(u32::from(self.page.raw()), size, levels);
            (reply.raw == Raw::OK).then_some(reply.out)
        })
    }

    /// `H_PUT_TCE`. A failure is logged and forgotten: the guest is told that it worked.
    pub fn put(&mut self, iova: Iova, address: HostAddr) {
        let _ = self.bare.map(iova, address, self.page.bytes());
    }

    /// `H_PUT_TCE_INDIRECT`: one call for each TCE.
    pub fn put_list(&mut self, iova: Iova, addresses: &[HostAddr]) {
        for (place, address) in self.places(iova).zip(addresses) {
            self.put(place, *address);
        }
    }

    /// `H_STUFF_TCE` with zero, or the reset of a table: one call for each TCE, set or not.
    pub fn clear(&mut self, iova: Iova, tces: u64) {
        let size = self.page.bytes();
        let tces = usize::try_from(tces).unwrap_or(usize::MAX);
        for place in self.places(iova).take(tces).collect::<Vec<_>>() {
            let _ = self.bare.unmap(place, size);
        }
    }

    fn places(&self, iova: Iova) -> impl Iterator<Item = Iova> + use<K> {
        let step = self.page.bytes();
        std::iter::successors(Some(iova), move |at| at.checked_add(step))
    }
}
