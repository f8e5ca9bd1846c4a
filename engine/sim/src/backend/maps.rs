//! Setting and clearing TCEs.

use tce_engine::{
    addr::{HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{MAP_READ, MAP_WRITE, MapCall, Platform, UnmapCall},
};

use super::{Backend, Host, MapCut, Mapping};
use crate::{
    profile::EmptyMap,
    region::{Backed, Unused},
    window::{Entry, Window, entry::TceAccess, table::TableRun},
};

/// What `MAP_DMA` and `UNMAP_DMA` return for a range that `iommu_tce_check_ioba` refuses: the macros around it are
/// `A || B`, so its errno is lost and 1 is left.
const BAD_RANGE: i32 = 1;
/// `H_PARAMETER` (-4), which leaves the kernel as an errno.
const H_PARAMETER: Errno = Errno::EINTR;

/// One admitted `MAP_DMA`.
pub(super) struct Build {
    pub(super) index: u64,
    pub(super) pages: u64,
    pub(super) address: u64,
    access: TceAccess,
}

/// How far a build got.
#[derive(Default)]
struct Progress {
    /// TCEs exchanged.
    done: u64,
    /// Those of them beyond the table, per region.
    beyond: Vec<(u64, u64)>,
}

impl Backend {
    /// `VFIO_IOMMU_MAP_DMA`, its tests in the kernel's order.
    pub(crate) fn map(
        &mut self,
        call: &MapCall,
        cut: Option<MapCut>,
        host: &mut Host<'_>,
    ) -> Result<i32, Errno> {
        if self.mapping == Mapping::Refused {
            return Err(Errno::EPERM);
        }
        if call.flags & !(MAP_READ | MAP_WRITE) != 0 {
            return Err(Errno::EINVAL);
        }
        let window = self.window_for(call.iova, host)?;
        if window.is_uneven(call.size.raw()) || window.is_uneven(call.address.raw()) {
            return Err(Errno::EINVAL);
        }
        let access = access_of(call.flags, host.profile.platform)?;
        let (true, Some(index)) =
            (call.iova.is_aligned(window.page_shift), window.index_of(call.iova))
        else {
            return Ok(BAD_RANGE);
        };
        let pages = window.pages_in(call.size.raw());
        if pages == 0 {
            return Ok(host.map_nothing(window, call.iova));
        }
        let build = Build { index, pages, address: call.address.raw(), access };
        host.build(window, &build, cut)
    }

    /// `VFIO_IOMMU_UNMAP_DMA`. It makes a pending default window, too.
    pub(crate) fn unmap(&mut self, call: UnmapCall, host: &mut Host<'_>) -> Result<i32, Errno> {
        if self.mapping == Mapping::Refused {
            return Err(Errno::EPERM);
        }
        let window = self.window_for(call.iova, host)?;
        if window.is_uneven(call.size.raw()) {
            return Err(Errno::EINVAL);
        }
        let aligned = call.iova.is_aligned(window.page_shift);
        let (true, Some(index)) = (aligned, window.index_of(call.iova)) else {
            return Ok(BAD_RANGE);
        };
        let count = window.pages_in(call.size.raw());
        let room = window.table.entries() - index;
        if count > room {
            if host.profile.kernel.checks_unmap_range() {
                return Ok(BAD_RANGE);
            }
            host.log.beyond_the_table("UNMAP_DMA", count - room);
        }
        host.clear(window, TableRun { index, count: count.min(room) });
        Ok(0)
    }

    /// The window of an address, after the default window was made if it is due.
    fn window_for(&mut self, iova: Iova, host: &mut Host<'_>) -> Result<&mut Window, Errno> {
        self.create_default_window(host)?;
        let slot = self.slot_of(iova).ok_or(Errno::ENXIO)?;
        self.windows[slot].as_mut().ok_or(Errno::ENXIO)
    }
}

impl Host<'_> {
    /// A map of no pages: `iommu_tce_kill` of an empty range.
    fn map_nothing(&mut self, window: &Window, iova: Iova) -> i32 {
        let at_zero = iova.raw() >> window.page_shift.raw() == 0;
        if at_zero && self.profile.empty_map == EmptyMap::HangsHost {
            let what = "MAP_DMA of no bytes at 0: pnv_pci_phb3_tce_invalidate never ends";
            self.log.corrupt(what.to_owned());
        }
        0
    }

    /// `tce_iommu_build_v2`: on a failure all that was exchanged is cleared, older mappings included.
    fn build(
        &mut self,
        window: &mut Window,
        build: &Build,
        cut: Option<MapCut>,
    ) -> Result<i32, Errno> {
        let wanted = cut.map_or(build.pages, |cut| cut.exchanged_before(window, build));
        let mut progress = Progress::default();
        let mut answer = self.exchange(window, build, wanted, &mut progress);
        if let (Ok(()), Some(cut)) = (answer, cut) {
            answer = self.end(window, build, cut.end, wanted);
        }
        if let Err(errno) = answer {
            self.roll_back(window, build, &progress);
            return Err(errno);
        }
        Ok(0)
    }

    /// Exchanges TCEs run by run: a run lies in one region, so its pages share one answer.
    fn exchange(
        &mut self,
        window: &mut Window,
        build: &Build,
        wanted: u64,
        progress: &mut Progress,
    ) -> Result<(), Errno> {
        let page = window.page_shift;
        let room = window.table.entries() - build.index;
        while progress.done < wanted {
            let address = advance(build.address, progress.done, page);
            let backed = self.backing(window, address)?;
            let count = window.pages_in(backed.bytes).min(wanted - progress.done);
            let inside = count.min(room.saturating_sub(progress.done));
            self.mm.regions.mapped_inc(backed.region, inside);
            let run = TableRun { index: build.index + progress.done, count: inside };
            let (address, mm) = (HostAddr::new(address), self.mm_id);
            let first = Entry { address, access: build.access, mm };
            self.set(window, run, first);
            progress.done += inside;
            if inside < count {
                self.overrun(backed.region, count - inside, progress)?;
            }
        }
        Ok(())
    }

    pub(super) fn backing(&self, window: &Window, address: u64) -> Result<Backed, Errno> {
        self.mm.regions.backing(address, window.page_shift.raw())
    }

    fn set(&mut self, window: &mut Window, run: TableRun, first: Entry) {
        let page = window.page_shift;
        window.levels.make(run);
        let mut unused = Unused::new(&mut self.mm.regions, page.raw());
        window.table.set(run, first, page.bytes().raw(), |word| unused.put(word));
        unused.finish();
        self.tally.tces_set += run.count;
    }

    /// Pages beyond the window's end, which nothing refuses. powernv writes past the table (`pnv_tce` has no bound);
    /// a partition's hypervisor refuses the TCE, but the mirror was touched out of bounds, and the region keeps a
    /// count too many.
    fn overrun(&mut self, region: u64, count: u64, progress: &mut Progress) -> Result<(), Errno> {
        self.log.beyond_the_table("MAP_DMA", count);
        match self.profile.platform {
            Platform::Powernv => {
                self.mm.regions.mapped_inc(region, count);
                progress.done += count;
                progress.beyond.push((region, count));
                Ok(())
            }
            Platform::Pseries => {
                self.mm.regions.mapped_inc(region, 1);
                Err(H_PARAMETER)
            }
        }
    }

    fn roll_back(&mut self, window: &mut Window, build: &Build, progress: &Progress) {
        let room = window.table.entries() - build.index;
        let count = progress.done.min(room);
        self.clear(window, TableRun { index: build.index, count });
        for (region, count) in &progress.beyond {
            self.mm.regions.mapped_dec(*region, *count);
        }
    }
}

/// The address `pages` pages on. It may leave 64 bits, like the kernel's `tce`; no region is there.
pub(super) const fn advance(address: u64, pages: u64, page: PageShift) -> u64 {
    address.wrapping_add(pages << page.raw())
}

/// The TCE's permissions. `pnv_tce_xchg` adds READ to WRITE; a partition leaves them alone.
const fn access_of(flags: u32, platform: Platform) -> Result<TceAccess, Errno> {
    match (flags & MAP_READ != 0, flags & MAP_WRITE != 0, platform) {
        (true, true, _) | (false, true, Platform::Powernv) => Ok(TceAccess::ReadWrite),
        (false, true, Platform::Pseries) => Ok(TceAccess::Write),
        (true, false, _) => Ok(TceAccess::Read),
        (false, false, _) => Err(Errno::EINVAL),
    }
}
