//! What a hypercall does to the hardware's tables.

use std::collections::BTreeMap;

use tce_engine::{addr::HostAddr, kernel::Platform};

use super::hypercall::{Answer, Handler, HypercallAnswer, PERMISSION_BITS, READ_BIT, WRITE_BIT};
use crate::{
    container::{Container, ContainerId},
    region::Unused,
    window::{
        Entry, TableId, Window,
        entry::{TceAccess, recorded_address},
        table::TableRun,
    },
};

/// TCEs of a guest's that follow each other, numbered from I/O address 0 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuestRun {
    pub(super) entry: u64,
    pub(super) count: u64,
}

impl Handler<'_> {
    /// Sets one of the guest's TCEs in all of the hardware's tables in turn (`kvmppc_tce_iommu_map`). One without
    /// permissions comes here from a list only.
    pub(super) fn map(&mut self, entry: u64, tce: u64) -> Answer {
        let guest = tce & !PERMISSION_BITS;
        let host = self.memory.host_address(guest).ok_or(HypercallAnswer::Parameter)?;
        let access = access_of(tce, self.profile.platform);
        for hardware in self.table.hardware() {
            let mapped = self.map_parts(hardware, entry, host, access);
            self.or_clear(mapped, hardware, entry)?;
        }
        Ok(())
    }

    fn map_parts(
        &mut self,
        hardware: TableId,
        entry: u64,
        host: HostAddr,
        access: Option<TceAccess>,
    ) -> Answer {
        let run = self.parts(hardware, GuestRun { entry, count: 1 })?;
        let page = self.window(hardware)?.page_shift.bytes().raw();
        for part in 0..run.count {
            let address = host.raw().wrapping_add(part * page);
            self.map_part(hardware, run.index + part, address, access)?;
        }
        Ok(())
    }

    /// `kvmppc_tce_iommu_do_map`.
    fn map_part(
        &mut self,
        hardware: TableId,
        index: u64,
        address: u64,
        access: Option<TceAccess>,
    ) -> Answer {
        let window = window_of(self.containers, self.kept, hardware)?;
        let shift = window.page_shift.raw();
        let found = self.mm.regions.of_page(address, shift);
        let (region, _) = found.ok_or(HypercallAnswer::TooHard)?;
        let is_aligned = HostAddr::new(address).is_aligned(window.page_shift);
        if !is_aligned || self.mm.regions.backing(address, shift).is_err() {
            // tce_page_is_contained is not asked here.
            self.log.corrupt("H_PUT_TCE: a TCE larger than the page behind it".to_owned());
        }
        self.mm.regions.mapped_inc(region, 1);
        let run = TableRun { index, count: 1 };
        window.levels.make(run);
        let mut unused = Unused::new(&mut self.mm.regions, shift);
        if let Some(access) = access {
            let first = Entry { address: HostAddr::new(address), access, mm: self.mm_id };
            window.table.set(run, first, window.page_shift.bytes().raw(), |word| unused.put(word));
            self.tally.tces_set += 1;
        } else {
            self.tally.tces_cleared += window.table.clear(run, |word| unused.put(word));
        }
        unused.finish();
        Ok(())
    }

    /// Clears TCEs of the guest's in one of the hardware's tables (`kvmppc_tce_iommu_unmap`).
    pub(super) fn unmap(&mut self, hardware: TableId, guest: GuestRun) -> Answer {
        let run = self.parts(hardware, guest)?;
        let set: Vec<u64> = self.window(hardware)?.table.iter(run).map(|(at, _)| at).collect();
        set.into_iter().try_for_each(|index| self.unmap_part(hardware, index))
    }

    /// `kvmppc_tce_iommu_do_unmap`: a TCE whose region is not found is put back.
    fn unmap_part(&mut self, hardware: TableId, index: u64) -> Answer {
        let window = window_of(self.containers, self.kept, hardware)?;
        let word = window.table.word(index);
        let address = recorded_address(word).ok_or(HypercallAnswer::TooHard)?;
        let found = self.mm.regions.of_page(address.raw(), window.page_shift.raw());
        found.ok_or(HypercallAnswer::TooHard)?;
        self.tally.tces_cleared += window.clear(TableRun { index, count: 1 }, self.mm);
        Ok(())
    }

    /// After a failure, clears the whole of the guest's TCE in this table, without counting anything down
    /// (`kvmppc_clear_tce`). Tables before it keep what they got.
    pub(super) fn or_clear(&mut self, done: Answer, hardware: TableId, entry: u64) -> Answer {
        if done.is_err() {
            let run = self.parts(hardware, GuestRun { entry, count: 1 })?;
            let window = window_of(self.containers, self.kept, hardware)?;
            self.tally.tces_cleared += window.table.clear(run, |_| ());
        }
        done
    }

    /// The hardware's TCEs that make the guest's.
    fn parts(&mut self, hardware: TableId, guest: GuestRun) -> Result<TableRun, HypercallAnswer> {
        let guest_shift = self.table.call.page_shift;
        let window = self.window(hardware)?;
        let shift = u32::from(window.page_shift.raw());
        let more = guest_shift.saturating_sub(shift);
        let first = window.start.raw() >> shift;
        Ok(TableRun {
            index: (guest.entry << more).wrapping_sub(first),
            count: guest.count << more,
        })
    }

    pub(super) fn window(&mut self, hardware: TableId) -> Result<&mut Window, HypercallAnswer> {
        window_of(self.containers, self.kept, hardware)
    }
}

/// The table of a window, or one that KVM alone holds.
fn window_of<'a>(
    containers: &'a mut BTreeMap<ContainerId, Container>,
    kept: &'a mut BTreeMap<TableId, Window>,
    id: TableId,
) -> Result<&'a mut Window, HypercallAnswer> {
    let backends = containers.values_mut().filter_map(|shell| shell.backend.as_mut());
    let mut windows = backends.flat_map(|backend| backend.windows_mut());
    let found = windows.find(|window| window.id == id);
    found.or_else(|| kept.get_mut(&id)).ok_or(HypercallAnswer::TooHard)
}

/// The permissions in a guest's TCE (`iommu_tce_direction`), as the platform sets them.
const fn access_of(tce: u64, platform: Platform) -> Option<TceAccess> {
    match (tce & READ_BIT != 0, tce & WRITE_BIT != 0, platform) {
        (false, false, _) => None,
        (true, false, _) => Some(TceAccess::Read),
        (false, true, Platform::Pseries) => Some(TceAccess::Write),
        (true, true, _) | (false, true, Platform::Powernv) => Some(TceAccess::ReadWrite),
    }
}
