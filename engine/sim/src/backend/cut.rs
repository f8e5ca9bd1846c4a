//! Injected ends of a `MAP_DMA`, as failures inside the kernel would end it.

use tce_engine::errno::Errno;

use super::{
    Host,
    maps::{Build, advance},
};
use crate::{
    fault::LevelOf,
    region::Unused,
    window::{Window, table::TableRun},
};

/// An injected end of a `MAP_DMA`, half-way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapCut {
    /// TCEs exchanged before it, at most.
    pub(crate) pages: u64,
    /// How it ends.
    pub(crate) end: CutEnd,
}

/// How an injected end of a `MAP_DMA` comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutEnd {
    /// A test of the next page fails; the kernel rolls back.
    Fails(Errno),
    /// `mm_iommu_mapped_inc` fails, and nobody is told.
    Silent,
    /// The exchange of the next TCE fails (`iommu_tce_xchg_no_kill`).
    ExchangeFails(Errno),
    /// There is no memory for the next lower level, if one is due.
    NoLevel(LevelOf),
}

impl MapCut {
    /// Pages that are exchanged before the injected end, or all of them.
    pub(super) fn exchanged_before(self, window: &Window, build: &Build) -> u64 {
        let wanted = self.pages.min(build.pages);
        match self.end {
            CutEnd::NoLevel(_) => {
                let run = TableRun { index: build.index, count: wanted };
                window.levels.first_missing(run).unwrap_or(wanted)
            }
            CutEnd::Fails(_) | CutEnd::Silent | CutEnd::ExchangeFails(_) => wanted,
        }
    }
}

impl Host<'_> {
    /// The injected end, at the page after `done` exchanged ones.
    pub(super) fn end(
        &mut self,
        window: &mut Window,
        build: &Build,
        end: CutEnd,
        done: u64,
    ) -> Result<(), Errno> {
        match end {
            CutEnd::Silent => Ok(()),
            CutEnd::Fails(errno) => Err(errno),
            CutEnd::ExchangeFails(_) | CutEnd::NoLevel(_) if done == build.pages => Ok(()),
            CutEnd::ExchangeFails(errno) => self.fail_exchange(window, build, done, errno),
            CutEnd::NoLevel(LevelOf::Table) => {
                self.fail_exchange(window, build, done, Errno::ENOMEM)
            }
            CutEnd::NoLevel(LevelOf::Record) => {
                self.backing(window, advance(build.address, done, window.page_shift))?;
                self.log.corrupt("MAP_DMA: tce_iommu_build_v2 writes to no level".to_owned());
                Ok(())
            }
        }
    }

    /// A TCE that is not exchanged. Its page's region is counted up all the same, and the region of the TCE that stays
    /// is counted down and forgotten (`tce_iommu_unuse_page_v2`).
    fn fail_exchange(
        &mut self,
        window: &mut Window,
        build: &Build,
        done: u64,
        errno: Errno,
    ) -> Result<(), Errno> {
        let address = advance(build.address, done, window.page_shift);
        let backed = self.backing(window, address)?;
        self.mm.regions.mapped_inc(backed.region, 1);
        let old = window.table.forget(build.index + done);
        let mut unused = Unused::new(&mut self.mm.regions, window.page_shift.raw());
        if old != 0 {
            unused.put(old);
        }
        unused.finish();
        Err(errno)
    }
}
