//! The books that every TCE is in: its window's table, the count of its region and the count of its lease.

use crate::{
    edit::Wish,
    kernel::Kernel,
    lease::{LeaseId, Leases},
    region::Regions,
    table::{Found, Table},
    window::WindowId,
};

use super::Engine;

/// The books of one lease in one window, open for a change.
pub(super) struct Ledger<'a> {
    table: &'a mut Table,
    regions: &'a mut Regions,
    leases: &'a mut Leases,
    lease: LeaseId,
    window: WindowId,
}

impl<K: Kernel> Engine<K> {
    /// The books for TCEs of a lease: in its range there are no others.
    ///
    /// # Panics
    /// If there is no such window.
    pub(super) fn ledger(&mut self, window: WindowId, lease: LeaseId) -> Ledger<'_> {
        let Self { state, regions, leases, .. } = self;
        let state = state.backend_mut().and_then(|backend| backend.window_mut(window));
        let table = &mut state.expect("a table has a window").table;
        Ledger { table, regions, leases, lease, window }
    }
}

impl Ledger<'_> {
    /// Forgets what is mapped between two TCEs.
    pub(super) fn clear(&mut self, first: u64, end: u64) {
        let Self { table, regions, leases, lease, window } = self;
        let tces = leases.tces_mut(*lease, *window);
        table.clear(first, end, |run| {
            regions.remove_tces(run.target.region, run.pages);
            *tces -= run.pages;
        });
    }

    /// Notes all as wished, in place of what was there. Nothing of it lingers any more.
    pub(super) fn fulfil(&mut self, wishes: &[Wish], found: &Found) {
        let Self { table, regions, leases, lease, window } = self;
        let tces = leases.tces_mut(*lease, *window);
        for Wish { first, end, target } in wishes {
            if let Some(target) = target {
                regions.add_tces(target.region, end - first);
                *tces += end - first;
            }
        }
        table.fulfil(wishes, found, |old| {
            regions.remove_tces(old.target.region, old.pages);
            *tces -= old.pages;
        });
        let lingering = &mut leases.get_mut(*lease).lingering;
        if lingering.tces() > 0 {
            wishes.iter().for_each(|wish| lingering.remove(window.slot, wish.first, wish.end));
        }
    }

    /// Notes that nothing lingers between two TCEs.
    pub(super) fn not_lingering(&mut self, first: u64, end: u64) {
        let lingering = &mut self.leases.get_mut(self.lease).lingering;
        if lingering.tces() > 0 {
            lingering.remove(self.window.slot, first, end);
        }
    }
}
