//! Proposals for the next step.

use tce_engine::kernel::{EehOperation, Platform};
use tce_sim::WindowView;

use super::{
    Draft,
    arguments::{any, near, one_in, pages},
    bring_up::SPAPR_TCE_V2,
};
use crate::step::{File, Place, Step};

/// Registered ranges that are unregistered again; older ones mostly are no more.
const RECENT_RANGES: usize = 6;
/// Entries of a table that is not lazily allocated, as `log2`: clearing more takes a slow machine too long.
const ENTRIES_SHIFT_MAX: u32 = 18;
/// Entries of a table with levels.
const LEVELLED_ENTRIES_SHIFT_MAX: u32 = 34;
/// Entries of a table that a host's kernel cannot allocate in one piece (`MAX_PAGE_ORDER`). A partition's firmware can, and
/// clearing them would take it hours.
const TOO_LARGE_ENTRIES_SHIFT: u32 = 22;
pub(super) const READ_WRITE: u32 = 3;

impl Draft {
    pub(super) fn propose(&mut self) -> Step {
        if let Some(step) = self.next.take() {
            return step;
        }
        if self.has_guest && one_in(&mut self.rng, 6) {
            return self.kvm();
        }
        if self.has_devices && one_in(&mut self.rng, 8) {
            return self.transfer();
        }
        let hurry = if self.is_up() { 3 } else { 9 };
        if self.rng.u8(..10) < hurry
            && let Some(step) = self.missing()
        {
            return step;
        }
        let file = self.container_file();
        match self.rng.u16(..1000) {
            0..300 => self.map(file),
            300..410 => self.unmap(file),
            410..500 => self.register(file),
            500..560 => self.unregister(file),
            560..620 => self.create(file),
            620..665 => self.remove(file),
            940..980 => self.map_over(file),
            665..760 => self.ask(file),
            760..770 => self.kvm(),
            770..800 => self.unregister(file),
            800..840 => self.enter(),
            840..870 => self.leave(),
            870..900 => self.eeh(file),
            900..940 => self.elsewhere(),
            _ => self.map(file),
        }
    }

    /// A window to aim at: one that exists, or the default one that would be made.
    fn target(&mut self, file: File) -> (u64, u64, u32) {
        let container = match file {
            File::Container(number) => number,
            _ => 0,
        };
        let windows = self.windows(container);
        let view = self.rng.choice(windows.iter());
        view.map_or((0, 1 << 31, 12), |view: &WindowView| {
            (view.start.raw(), view.size.raw(), u32::from(view.page_shift.raw()))
        })
    }

    /// An address in a window: near its start, near its end, or where something was mapped.
    fn iova(&mut self, (start, size, shift): (u64, u64, u32)) -> u64 {
        let page = 1_u64.checked_shl(shift).unwrap_or(1 << 12);
        let count = (size / page).max(1);
        let index = match self.rng.u8(..10) {
            0..=4 => self.rng.u64(..count.min(48)),
            5..=6 => count.saturating_sub(self.rng.u64(1..=16)),
            7 => self.rng.u64(..count),
            _ => {
                let window = start..start.saturating_add(size);
                let mapped = self.rng.choice(self.maps.iter().copied());
                let inside = mapped.filter(|mapped| window.contains(&mapped.iova));
                inside.map_or(0, |mapped| (mapped.iova - start) / page)
            }
        };
        start.wrapping_add(index * page)
    }

    pub(super) fn map(&mut self, file: File) -> Step {
        let is_enabled =
            matches!(file, File::Container(container) if self.enabled.contains(&container));
        if !is_enabled && !one_in(&mut self.rng, 6) {
            return self.register(file);
        }
        let target = self.target(file);
        let page = 1_u64.checked_shl(target.2).unwrap_or(1 << 12);
        let iova = self.iova(target);
        let count = pages(&mut self.rng);
        let memory = self.registered(page, count);
        let flags = match self.rng.u8(..20) {
            0 => self.rng.u32(..16),
            1 => 0,
            2..=3 => 1,
            4..=6 => 2,
            _ => READ_WRITE,
        };
        let is_odd = flags & READ_WRITE == 0 && self.rng.bool();
        Step::Map {
            file,
            flags,
            memory: Place { offset: near(&mut self.rng, memory.offset, page), ..memory },
            iova: if is_odd { iova | 1 } else { near(&mut self.rng, iova, page) },
            size: near(&mut self.rng, count * page, page),
        }
    }

    /// A place that is most often registered, with `count` pages behind it.
    fn registered(&mut self, page: u64, count: u64) -> Place {
        if one_in(&mut self.rng, 12) {
            return self.place(page);
        }
        let regions = self.stage.machine().regions();
        let fitting: Vec<_> =
            regions.iter().filter(|region| 1_u64 << region.page_shift >= page).collect();
        let region = self.rng.choice(fitting);
        let found = region.and_then(|region| {
            let (start, size) = (region.range.address.raw(), region.range.size.raw());
            let first = start.next_multiple_of(page);
            let fits = (start + size).saturating_sub(first) / page;
            let index = self.rng.u64(..fits.saturating_sub(count).max(1));
            self.place_of(first + index * page)
        });
        found.unwrap_or_else(|| self.place(page))
    }

    fn unmap(&mut self, file: File) -> Step {
        let target = self.target(file);
        let page = 1_u64.checked_shl(target.2).unwrap_or(1 << 12);
        let recent = self.rng.choice(self.maps.iter().copied());
        let (iova, size) = match (recent, self.rng.u8(..10)) {
            (Some(mapped), 0..=5) => (mapped.iova, mapped.size),
            (_, 6) => (target.0, target.1),
            _ => (self.iova(target), pages(&mut self.rng) * page),
        };
        Step::Unmap {
            file,
            iova: near(&mut self.rng, iova, page),
            size: near(&mut self.rng, size, page),
        }
    }

    pub(super) fn register(&mut self, file: File) -> Step {
        let unit = self.simulated.profile().page_shift.bytes().raw();
        let memory = match any(&mut self.rng, &self.ranges) {
            Some((place, _)) if one_in(&mut self.rng, 6) => place,
            _ if self.rng.bool() => {
                let block = self.rng.usize(..self.stage.blocks().len().max(1));
                Place { block: u8::try_from(block).ok(), offset: 0 }
            }
            _ => self.place(unit),
        };
        let left = self.left_in_block(memory);
        let size = match self.rng.u8(..8) {
            0..=2 => left,
            3 => left.min(2 << 20),
            _ => (pages(&mut self.rng) * unit).min(left),
        };
        Step::Register {
            file,
            memory: Place { offset: near(&mut self.rng, memory.offset, unit), ..memory },
            size: near(&mut self.rng, size, unit),
        }
    }

    /// Bytes from a place to the end of its block.
    pub(super) fn left_in_block(&self, place: Place) -> u64 {
        let block = place.block.and_then(|block| self.stage.blocks().get(usize::from(block)));
        let size = block.map_or(1 << 20, |block| block.range.size.raw());
        size.saturating_sub(place.offset)
    }

    fn unregister(&mut self, file: File) -> Step {
        let unit = self.simulated.profile().page_shift.bytes().raw();
        let recent = self.ranges.len().saturating_sub(RECENT_RANGES);
        let (memory, size) =
            any(&mut self.rng, &self.ranges[recent..]).unwrap_or_else(|| (self.place(unit), unit));
        Step::Unregister {
            file,
            memory: Place { offset: near(&mut self.rng, memory.offset, unit), ..memory },
            size: near(&mut self.rng, size, unit),
        }
    }

    pub(super) fn create(&mut self, file: File) -> Step {
        let offered: Vec<u32> = (0..u64::BITS)
            .filter(|shift| self.simulated.profile().page_sizes >> shift & 1 == 1)
            .collect();
        let page_shift = match self.rng.u8(..20) {
            0 => any(&mut self.rng, &[0, 11, 13, 20, 24, 34, 63, 64, 140]).unwrap_or(0),
            1..=5 => any(&mut self.rng, &offered).unwrap_or(12),
            _ => self.useful_page(&offered),
        };
        let levels = match self.rng.u8(..12) {
            0 => self.rng.u32(..8),
            1..=3 => 2,
            4 => 3,
            _ => 1,
        };
        let entries_max = if levels > 1 { LEVELLED_ENTRIES_SHIFT_MAX } else { ENTRIES_SHIFT_MAX };
        let entries_shift = match self.rng.u8(..18) {
            0..=2 => self.rng.u32(..=entries_max),
            // A level that is too large to be had.
            3 if self.simulated.profile().platform == Platform::Powernv => {
                self.rng.u32(TOO_LARGE_ENTRIES_SHIFT..=40)
            }
            _ => self.rng.u32(4..=ENTRIES_SHIFT_MAX),
        };
        let size = 1_u64.checked_shl(page_shift.saturating_add(entries_shift)).unwrap_or(1 << 63);
        let size = match self.rng.u8(..20) {
            0 => size.wrapping_mul(3),
            1 => near(&mut self.rng, size, 1 << 12),
            _ => size,
        };
        Step::Create { file, page_shift, size, levels }
    }

    /// A page size for which some memory is registered.
    fn useful_page(&mut self, offered: &[u32]) -> u32 {
        let regions = self.stage.machine().regions();
        let largest = regions.iter().map(|region| u32::from(region.page_shift)).max();
        let largest =
            largest.unwrap_or_else(|| u32::from(self.simulated.profile().page_shift.raw()));
        let useful: Vec<u32> = offered.iter().copied().filter(|shift| *shift <= largest).collect();
        any(&mut self.rng, &useful).unwrap_or(12)
    }

    fn remove(&mut self, file: File) -> Step {
        let target = self.target(file);
        let start = match self.rng.u8(..6) {
            0 => self.iova(target),
            1 => near(&mut self.rng, target.0, 1 << 12),
            _ => target.0,
        };
        Step::Remove { file, start }
    }

    fn ask(&mut self, file: File) -> Step {
        match self.rng.u8(..3) {
            0 => Step::Info { file },
            1 => Step::GroupStatus { file: self.group_file() },
            _ => Step::CheckExtension { file, extension: self.rng.u32(..12) },
        }
    }

    /// A group into a container, or what belongs to that.
    fn enter(&mut self) -> Step {
        let (group, container) = (self.group(), self.container());
        match self.rng.u8(..6) {
            0 => Step::OpenGroup { group },
            1 if !self.is_open(File::Container(container)) => Step::OpenContainer { container },
            2 => {
                let backend = match self.rng.u8(..3) {
                    0 => any(&mut self.rng, &[0, 1, 3, 5, 5, 5, 8]).unwrap_or(1),
                    _ => SPAPR_TCE_V2,
                };
                Step::SetIommu { file: self.container_file(), backend }
            }
            3 if self.has_devices || !self.has_backend(group) => Step::OpenDevice { device: group },
            _ => Step::SetContainer { file: self.group_file(), container: self.container_file() },
        }
    }

    /// Something out of something, or closed.
    fn leave(&mut self) -> Step {
        let (group, container) = (self.group(), self.container());
        match self.rng.u8(..10) {
            0..=4 => Step::UnsetContainer { file: self.group_file() },
            5 => Step::Close { file: File::Group(group) },
            6 => Step::Close { file: File::Container(container) },
            7 if one_in(&mut self.rng, 4) => Step::Close { file: File::Device(group) },
            8 => Step::Close { file: File::Nothing },
            _ => Step::UnsetContainer { file: File::Group(group) },
        }
    }

    fn eeh(&mut self, file: File) -> Step {
        let operation = match self.rng.u8(..10) {
            0 => EehOperation::Configure,
            1..=2 => EehOperation::Enable,
            3 => EehOperation::Disable,
            4 => EehOperation::UnfreezeIo,
            5 => EehOperation::UnfreezeDma,
            6 => EehOperation::ResetDeactivate,
            _ => EehOperation::GetState,
        };
        Step::Eeh { file, operation }
    }

    /// Calls of another process on the same descriptors.
    fn elsewhere(&mut self) -> Step {
        let file = self.container_file();
        let step = match self.rng.u8(..12) {
            0..=2 => self.map(file),
            3..=4 => self.unmap(file),
            5 => self.register(file),
            6 => self.unregister(file),
            7 => self.create(file),
            8 => self.remove(file),
            9 if self.has_guest => self.kvm(),
            9 => self.eeh(file),
            10 => Step::SetContainer { file: self.group_file(), container: file },
            _ => self.ask(file),
        };
        Step::Elsewhere { step: Box::new(step) }
    }
}
