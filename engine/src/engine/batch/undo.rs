//! What is done when the kernel fails a call of a batch: everything is put back as the table says.

use std::collections::BTreeSet;

use crate::{
    error::{Quarantined, Undone},
    fault::Fault,
    kernel::Kernel,
    lease::LeaseId,
    plan::{Action, PlannedCall},
    region::RegionId,
    table::MappedRun,
    window::WindowId,
};

use super::{Engine, Prepared, Share};

impl<K: Kernel> Engine<K> {
    /// Puts back what the table says, the newest call first, after call `failed` of share `last` failed.
    pub(super) fn undo(&mut self, prepared: &Prepared, last: usize, failed: usize) -> Undone {
        let mut quarantined = Vec::new();
        for (at, share) in prepared.shares[..=last].iter().enumerate().rev() {
            let result = match at == last {
                true => self.undo_share(share, failed + 1, Some(failed)),
                false => self.undo_share(share, share.plan.calls.len(), None),
            };
            if let Err((left, fault)) = result {
                let claim = self.quarantine(prepared.lease, share, left);
                quarantined.push(Quarantined { window: share.window, claim, fault });
            }
        }
        if quarantined.is_empty() { Undone::Restored } else { Undone::Quarantined(quarantined) }
    }

    /// Undoes the first `made` calls of a share. What a call that succeeded did is undone; of one that failed, an unmap
    /// has done nothing, and a map has emptied what it had replaced (`tce_iommu_clear`).
    ///
    /// If that fails, the calls that are not undone are handed back.
    fn undo_share<'a>(
        &mut self,
        share: &'a Share,
        made: usize,
        failed: Option<usize>,
    ) -> Result<(), (&'a [PlannedCall], Fault)> {
        let (window, calls) = (share.window, &share.plan.calls[..made]);
        for (index, call) in calls.iter().enumerate().rev() {
            let is_failed = failed == Some(index);
            let put_back = match call.action {
                Action::Unmap if is_failed => Ok(()),
                Action::Map { .. } if !is_failed => {
                    self.unmap_holes(window, call).and_then(|()| self.map_again(window, call))
                }
                Action::Unmap | Action::Map { .. } => self.map_again(window, call),
            };
            put_back.map_err(|fault| (&calls[..=index], fault))?;
        }
        Ok(())
    }

    /// Unmaps what a call has mapped where the table has nothing.
    fn unmap_holes(&mut self, id: WindowId, call: &PlannedCall) -> Result<(), Fault> {
        let mapped = self.window(id).table.within(call.first, call.end());
        let holes = holes(mapped, call.first, call.end());
        holes.into_iter().try_for_each(|(first, end)| {
            self.make(id, PlannedCall { first, pages: end - first, action: Action::Unmap })
        })
    }

    /// Maps what the table has in the range of a call.
    fn map_again(&mut self, id: WindowId, call: &PlannedCall) -> Result<(), Fault> {
        let mapped: Vec<MappedRun> = self.window(id).table.within(call.first, call.end()).collect();
        mapped.into_iter().try_for_each(|MappedRun { first, pages, target }| {
            let action = Action::Map { address: target.address, access: target.access };
            self.make(id, PlannedCall { first, pages, action })
        })
    }

    /// Closes the range of the calls that could not be undone.
    fn quarantine(
        &mut self,
        lease: LeaseId,
        share: &Share,
        calls: &[PlannedCall],
    ) -> crate::window::Claim {
        let first = calls.iter().map(|call| call.first).min().unwrap_or_default();
        let end = calls.iter().map(PlannedCall::end).max().unwrap_or_default();
        let targets = share.wishes.iter().filter_map(|wish| wish.target);
        let regions: BTreeSet<RegionId> = targets.map(|target| target.region).collect();
        let state = self.backend_mut().ok().and_then(|backend| backend.window_mut(share.window));
        let state = state.expect("a window outlives its batches");
        state.quarantine(lease, (first, end), regions)
    }
}

/// The gaps that ascending runs leave between `first` and `end`.
fn holes(runs: impl Iterator<Item = MappedRun>, first: u64, end: u64) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut at = first;
    for run in runs {
        holes.extend((at < run.first).then_some((at, run.first)));
        at = run.end();
    }
    holes.extend((at < end).then_some((at, end)));
    holes
}
