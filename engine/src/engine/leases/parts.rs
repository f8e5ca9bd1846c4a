//! Leases in two windows, and smaller ones.

use crate::{
    addr::{Bytes, Iova},
    error::Error,
    kernel::Kernel,
    lease::{LeaseId, LeaseRefusal, LeaseStep},
    window::{Claim, WindowId},
};

use super::super::Engine;

impl<K: Kernel> Engine<K> {
    /// Gives a lease a range in its container's other window too.
    ///
    /// # Errors
    /// [`LeaseRefusal`].
    pub fn extend_lease(
        &mut self,
        id: LeaseId,
        window: WindowId,
        at: Option<Iova>,
        size: Bytes,
    ) -> Result<Claim, Error> {
        let lease = self.leases.allowing(id, LeaseStep::Extend)?;
        self.check_undivided(id)?;
        if lease.part(window).is_some() {
            return Err(LeaseRefusal::Part { lease: id, window, only: false }.into());
        }
        if lease.parts.len() > 1 {
            return Err(LeaseRefusal::TwoParts(id).into());
        }
        let part = self.room_for(window, at, size, None)?;
        self.leases.get_mut(id).parts.push(part);
        Ok(part.claim)
    }

    /// Takes one of its two ranges from a lease: unmapped at once, devices not stopped.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; [`Error::Fault`], after which this can be called again. If it has unmapped
    /// something by then, the other range cannot be given up before ([`LeaseRefusal::Leaving`]).
    pub fn give_up_part(&mut self, id: LeaseId, window: WindowId) -> Result<(), Error> {
        let lease = self.leases.allowing(id, LeaseStep::Extend)?;
        if lease.part(window).is_none() {
            return Err(LeaseRefusal::NoWindow(window).into());
        }
        if lease.parts.len() == 1 {
            return Err(LeaseRefusal::Part { lease: id, window, only: true }.into());
        }
        if let Some(window) = lease.leaving.filter(|leaving| *leaving != window) {
            return Err(LeaseRefusal::Leaving { lease: id, window }.into());
        }
        let before = lease.tces();
        let cleared = self.clear_part(id, window);
        let lease = self.leases.get_mut(id);
        if cleared.is_err() && lease.tces() < before {
            lease.leaving = Some(window);
        }
        cleared?;
        lease.parts.retain(|part| part.window != window);
        lease.growth = None;
        lease.leaving = None;
        Ok(())
    }

    /// A lease in two windows has no sub-leases and is none.
    pub(in super::super) fn check_undivided(&self, id: LeaseId) -> Result<(), LeaseRefusal> {
        let lease = self.leases.get(id)?;
        match (lease.parent, lease.sublet.leases) {
            (Some(_), _) => Err(LeaseRefusal::IsSublease(id)),
            (None, 0) => Ok(()),
            (None, _) => Err(LeaseRefusal::HasSubleases(id)),
        }
    }
}
