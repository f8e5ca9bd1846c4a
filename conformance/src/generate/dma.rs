//! Transfers of a device, and where addresses lead.

use tce_engine::{
    addr::Iova,
    kernel::{ContainerFd, MemoryRange},
};

use super::{
    Draft, Mapped,
    arguments::{any, one_in},
};
use crate::step::{File, Place, Step};

impl Draft {
    pub(super) fn transfer(&mut self) -> Step {
        let device = self.group();
        let is_edu = self.stage.seats().get(usize::from(device)).is_some_and(|seat| seat.is_edu);
        if !is_edu || !self.is_open(File::Device(device)) || self.maps.is_empty() {
            return Step::GroupStatus { file: File::Group(device) };
        }
        let (from, to) = (self.dma_address(), self.dma_address());
        let bytes = any(&mut self.rng, &[8, 8, 16, 64, 512, 4096]).unwrap_or(8);
        Step::Transfer { device, from, to, bytes, watch: self.behind(to) }
    }

    fn dma_address(&mut self) -> u64 {
        let mapped = self.rng.choice(self.maps.iter().rev().take(8).copied());
        let mapped = mapped.unwrap_or(Mapped { container: 0, iova: 0, size: 1 << 12 });
        let page = self.rng.u64(..(mapped.size >> 12).max(1)) << 12;
        // Now and then across the page's end.
        let within = if one_in(&mut self.rng, 6) { 0xff8 } else { 0 };
        mapped.iova.wrapping_add(page).wrapping_add(within)
    }

    /// Where in memory an address leads, in whichever container knows it.
    fn behind(&self, iova: u64) -> Place {
        let start = Place { block: Some(0), offset: 0 };
        let found = self.maps.iter().rev().find_map(|mapped| {
            let fd = self.stage.fd(File::Container(mapped.container))?;
            let container = ContainerFd::new(fd);
            let machine = self.stage.machine();
            let view = machine.tce(container, Iova::new(iova))?;
            let window = machine.windows(container).into_iter().find(|window| {
                let end = window.start.raw().saturating_add(window.size.raw());
                (window.start.raw()..end).contains(&iova)
            })?;
            let within = iova & (window.page_shift.bytes().raw() - 1);
            self.place_of(view.address.raw().wrapping_add(within))
        });
        found.unwrap_or(start)
    }

    pub(super) fn place_of(&self, address: u64) -> Option<Place> {
        let blocks = self.stage.blocks().iter().enumerate();
        let inside = |range: MemoryRange| {
            let start = range.address.raw();
            (start..start + range.size.raw()).contains(&address)
        };
        let (number, block) = blocks.into_iter().find(|(_, block)| inside(block.range))?;
        let offset = address - block.range.address.raw();
        Some(Place { block: Some(u8::try_from(number).ok()?), offset })
    }
}
