//! A guest's memory: which of its addresses are which of the process's (`KVM_SET_USER_MEMORY_REGION`).

use tce_engine::{
    addr::{HostAddr, PageShift},
    errno::Errno,
    kernel::MemoryRange,
};

/// Slots of one virtual machine.
const SLOTS_MAX: usize = 512;

/// The slots of a virtual machine.
#[derive(Debug, Default)]
pub(crate) struct MemorySlots {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    guest: u64,
    host: MemoryRange,
}

impl Slot {
    fn end(&self) -> u64 {
        self.guest.saturating_add(self.host.size.raw())
    }
}

impl MemorySlots {
    /// One more slot: `EINVAL` for what is not whole pages, `EEXIST` where there is one.
    pub(crate) fn add(
        &mut self,
        guest: u64,
        host: MemoryRange,
        page: PageShift,
    ) -> Result<(), Errno> {
        let whole = |value: u64| value & (page.bytes().raw() - 1) == 0;
        let is_whole = whole(guest) && whole(host.address.raw()) && whole(host.size.raw());
        let fits = guest.checked_add(host.size.raw()).is_some();
        if !is_whole || !fits || host.size.is_zero() || self.slots.len() == SLOTS_MAX {
            return Err(Errno::EINVAL);
        }
        let slot = Slot { guest, host };
        if self.slots.iter().any(|other| slot.guest < other.end() && other.guest < slot.end()) {
            return Err(Errno::EEXIST);
        }
        self.slots.push(slot);
        Ok(())
    }

    /// The process's address of a guest's (`kvmppc_tce_to_ua`).
    pub(crate) fn host_address(&self, guest: u64) -> Option<HostAddr> {
        let slot = self.slots.iter().find(|slot| (slot.guest..slot.end()).contains(&guest))?;
        slot.host.address.raw().checked_add(guest - slot.guest).map(HostAddr::new)
    }
}

#[cfg(test)]
mod tests {
    use tce_engine::addr::Bytes;

    use super::*;

    #[test]
    fn slots_do_not_overlap_and_translate_within() {
        let mut slots = MemorySlots::default();
        let host = |address| MemoryRange { address: HostAddr::new(address), size: Bytes::kib(8) };
        assert_eq!(slots.add(0x1000, host(0x7000_0000), PageShift::K4), Ok(()));
        assert_eq!(slots.add(0x2000, host(0x8000_0000), PageShift::K4), Err(Errno::EEXIST));
        assert_eq!(slots.add(0x3000, host(0x8000_0000), PageShift::K4), Ok(()));
        assert_eq!(slots.add(0x9100, host(0x8000_0000), PageShift::K4), Err(Errno::EINVAL));
        let nothing = MemoryRange { size: Bytes::ZERO, ..host(0x9000_0000) };
        assert_eq!(slots.add(0x9000, nothing, PageShift::K4), Err(Errno::EINVAL));
        assert_eq!(slots.host_address(0x2fff), Some(HostAddr::new(0x7000_1fff)));
        assert_eq!(slots.host_address(0x3000), Some(HostAddr::new(0x8000_0000)));
        assert_eq!(slots.host_address(0x5000), None);
    }
}
