//! Maps that fail half-way, over what was mapped before.

use tce_engine::{addr::Iova, kernel::ContainerFd};
use tce_sim::{RegionView, WindowView};

use super::{Draft, Mapped, arguments::any, steps::READ_WRITE};
use crate::step::{File, Place, Step};

/// Maps that are looked at for one that is still there.
const LIVE_MAPS: usize = 8;

impl Draft {
    /// A map over what is mapped, from memory of which only the first part is registered: the kernel fails half-way and
    /// takes back what it did. What became of the old mapping shows when its memory is given back, which comes next.
    pub(super) fn map_over(&mut self, file: File) -> Step {
        let live = self.maps.iter().rev().filter_map(|it| Some((*it, self.target_of(*it)?)));
        let live: Vec<_> = live.take(LIVE_MAPS).collect();
        let Some((over, target)) = any(&mut self.rng, &live) else { return self.map(file) };
        let regions = self.stage.machine().regions();
        let page = self.page_at(over);
        let ends: Vec<Place> = regions
            .iter()
            .filter_map(|region| self.place_of(end(region).checked_sub(page)?))
            .filter(|last| self.left_in_block(*last) > page)
            .collect();
        let Some(last) = any(&mut self.rng, &ends) else { return self.map(file) };
        let container = File::Container(over.container);
        let old = regions
            .iter()
            .find(|region| (region.range.address.raw()..end(region)).contains(&target));
        self.next = old.and_then(|region| {
            let memory = self.place_of(region.range.address.raw())?;
            Some(Step::Unregister { file: container, memory, size: region.range.size.raw() })
        });
        let before = page * self.rng.u64(..3);
        let memory = Place { offset: last.offset.saturating_sub(before), ..last };
        let size = (before + 2 * page).min(self.left_in_block(memory));
        Step::Map { file: container, flags: READ_WRITE, memory, iova: over.iova, size }
    }

    /// Where the first TCE of a map points to, if it is still there.
    fn target_of(&self, mapped: Mapped) -> Option<u64> {
        let fd = self.stage.fd(File::Container(mapped.container))?;
        let view = self.stage.machine().tce(ContainerFd::new(fd), Iova::new(mapped.iova))?;
        Some(view.address.raw())
    }

    /// The TCE page of the window that a map went to.
    fn page_at(&self, mapped: Mapped) -> u64 {
        let windows = self.windows(mapped.container);
        let inside = |view: &&WindowView| {
            let end = view.start.raw().saturating_add(view.size.raw());
            (view.start.raw()..end).contains(&mapped.iova)
        };
        windows.iter().find(inside).map_or(1 << 12, |view| view.page_shift.bytes().raw())
    }
}

fn end(region: &RegionView) -> u64 {
    region.range.address.raw() + region.range.size.raw()
}
