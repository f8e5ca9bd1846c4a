//! DMA: from a device's transfer through the TCEs of its container to the process's memory.

use tce_engine::{
    addr::{Iova, PageShift},
    kernel::{GroupNumber, Platform},
};

use super::World;
use crate::{
    descriptor::DeviceFile,
    device::{Direction, Transfer},
    eeh::PeState,
    group::GroupId,
    process::MmId,
    profile::{BehindTable, DmaError, MmioHole},
    window::{Entry, Window},
};

/// On powernv, the address bit that chooses the window (`pnv_pci_ioda2_setup_dma_pe`: "TVE #1 is selected by PCI
/// address bit 59").
const TVE_BIT: u32 = 59;
/// Bits of an address that is DMA; with higher ones it is a message or an error (PHB4: "TVE select").
const DMA_BITS: u32 = 60;
/// End of the 32-bit address space.
const END_OF_32_BITS: u64 = 1 << 32;

/// Bytes behind one TCE, as far as a transfer needs them.
struct Translated {
    mm: MmId,
    address: u64,
    bytes: u64,
}

impl World {
    /// Moves the bytes of a transfer, TCE by TCE. Where one is missing or forbids it, the emulation reads zeros, drops what
    /// is written, and goes on behind it; where that freezes the PE, nothing more is moved.
    pub(super) fn dma(&mut self, file: DeviceFile, transfer: &Transfer) {
        let id = file.group;
        let Some(number) = self.groups.get(&id).map(|group| group.number) else { return };
        let passes = self.endpoints.get(number).is_some_and(|pe| pe.state.dma_passes());
        let Ok(source) = self.device_mut(file) else { return };
        if !passes || !source.is_bus_master() {
            return;
        }
        // The device's buffer is taken out for the time of the transfer, so that memory and device are apart.
        let Some(mut bytes) = source.buffer(transfer).map(|buffer| buffer.to_vec()) else { return };
        self.moves(id, number, transfer, &mut bytes);
        let target = self.device_mut(file).ok().and_then(|device| device.buffer(transfer));
        if let Some(buffer) = target {
            buffer.copy_from_slice(&bytes);
        }
    }

    fn moves(&mut self, id: GroupId, number: GroupNumber, transfer: &Transfer, bytes: &mut [u8]) {
        let mut left = bytes;
        let mut iova = transfer.iova;
        while !left.is_empty() {
            let translated = self.translate(id, iova, transfer.direction);
            let room = translated.as_ref().map_or_else(|| to_page_end(iova), |it| it.bytes);
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(left.len());
            let (chunk, rest) = left.split_at_mut(room);
            if translated.and_then(|it| self.move_chunk(&it, transfer.direction, chunk)).is_none() {
                self.dma_error(number);
                if self.profile.dma_error == DmaError::FreezesPe {
                    return;
                }
                if transfer.direction == Direction::FromMemory {
                    chunk.fill(0);
                }
            }
            iova = iova.wrapping_add(u64::try_from(room).unwrap_or(u64::MAX));
            left = rest;
        }
    }

    fn move_chunk(
        &mut self,
        translated: &Translated,
        direction: Direction,
        chunk: &mut [u8],
    ) -> Option<()> {
        let mm = self.mms.get_mut(translated.mm);
        if !mm.regions.overlaps(translated.address, translated.address + 1) {
            self.log.corrupt("DMA through a TCE to memory that is no longer pinned".to_owned());
        }
        match direction {
            Direction::FromMemory => mm.memory.read(translated.address, chunk),
            Direction::ToMemory => mm.memory.write(translated.address, chunk),
        }
    }

    fn translate(&self, id: GroupId, iova: u64, direction: Direction) -> Option<Translated> {
        if self.is_swallowed(iova) {
            return None;
        }
        let container = self.groups.get(&id)?.container?;
        let backend = self.containers.get(&container)?.backend.as_ref()?;
        let (window, index) = backend.windows().find_map(|(slot, window)| {
            let index = self.index(window, Iova::new(iova)).filter(|_| self.selects(slot, iova))?;
            Some((window, index))
        })?;
        let entry = window.table.get(index)?;
        allows(entry, direction).then(|| behind(window, entry, iova))
    }

    /// Which TCE of a window the hardware takes for an address.
    fn index(&self, window: &Window, iova: Iova) -> Option<u64> {
        match (self.profile.platform, self.profile.behind_table) {
            (Platform::Powernv, BehindTable::WrapsAround) => {
                (iova.raw() >> DMA_BITS == 0).then(|| window.wrapped_index_of(iova))
            }
            (Platform::Powernv, BehindTable::Nowhere) | (Platform::Pseries, _) => {
                window.index_of(iova)
            }
        }
    }

    /// Whether the hardware looks at this slot for this address. A partition's firmware goes by ranges.
    const fn selects(&self, slot: usize, iova: u64) -> bool {
        match self.profile.platform {
            Platform::Powernv => (iova >> TVE_BIT & 1 == 1) == (slot == 1),
            Platform::Pseries => true,
        }
    }

    /// Whether the address is 32-bit MMIO and the host bridge keeps it.
    fn is_swallowed(&self, iova: u64) -> bool {
        self.profile.mmio_hole == MmioHole::Swallowed
            && self.profile.platform == Platform::Powernv
            && (self.profile.default_window.raw()..END_OF_32_BITS).contains(&iova)
    }

    fn dma_error(&mut self, number: GroupNumber) {
        if self.profile.dma_error == DmaError::FreezesPe
            && let Some(endpoint) = self.endpoints.get_mut(number)
        {
            endpoint.state = PeState::Stopped;
        }
    }
}

/// Bytes to the end of the smallest page there is.
const fn to_page_end(iova: u64) -> u64 {
    let page = PageShift::K4.bytes().raw();
    page - (iova & (page - 1))
}

const fn allows(entry: Entry, direction: Direction) -> bool {
    match direction {
        Direction::FromMemory => entry.access.reads(),
        Direction::ToMemory => entry.access.writes(),
    }
}

fn behind(window: &Window, entry: Entry, iova: u64) -> Translated {
    let page = window.page_shift.bytes().raw();
    let offset = iova & (page - 1);
    let address = entry.address.raw() + offset;
    Translated { mm: entry.mm, address, bytes: page - offset }
}
