//! Regions: registering memory pins and charges it; unregistering is refused while anything can point into it.
//!
//! The kernel has exactly the pieces of a region that the region says are registered, whatever call fails.

use crate::{
    addr::{Bytes, PageShift},
    calls::{Charged, Released},
    error::{Error, RegistrationFailure},
    fault::Fault,
    kernel::{Kernel, MemoryRange},
    region::{
        Admission, Piece, Progress, Region, RegionId, RegionRefusal, RegionRequest, Registration,
    },
};

use super::{ChargeSubject, Engine, backend::Unmaps};

impl<K: Kernel> Engine<K> {
    /// Registers memory that is backed by pages of the given size throughout, in one call.
    ///
    /// Whoever registers the same memory again, as backed by the same pages, shares the region. It is the memory of
    /// the first time that is pinned: who gives memory back to the system unregisters it before.
    ///
    /// # Errors
    /// [`RegionRefusal`] before any call, [`Error::Fault`] from the kernel.
    pub fn register(&mut self, range: MemoryRange, backing: PageShift) -> Result<RegionId, Error> {
        self.register_memory(&RegionRequest::uniform(range, backing))
    }

    /// Registers memory as asked for, piece after piece.
    ///
    /// # Errors
    /// [`RegionRefusal`] before any call; [`Error::Fault`] from the kernel, after which nothing of it is registered;
    /// [`Error::Registration`] if some of it still is.
    pub fn register_memory(&mut self, request: &RegionRequest) -> Result<RegionId, Error> {
        let mut registration = self.start_registration(request)?;
        loop {
            if let Progress::Complete(id) = self.advance(&mut registration)? {
                return Ok(id);
            }
        }
    }

    /// Starts to register memory that is backed by pages of the given size, in calls for no more than `chunk` each
    /// or one page. [`Engine::advance`] makes them.
    ///
    /// # Errors
    /// As [`Engine::start_registration`].
    pub fn register_in_chunks(
        &mut self,
        range: MemoryRange,
        backing: PageShift,
        chunk: Bytes,
    ) -> Result<Registration, Error> {
        self.start_registration(&RegionRequest::uniform(range, backing).in_chunks(chunk))
    }

    /// Starts to register memory, without a call. It has its place among the regions at once.
    ///
    /// # Errors
    /// [`RegionRefusal`]; the limit must hold all of it.
    pub fn start_registration(&mut self, request: &RegionRequest) -> Result<Registration, Error> {
        let region = Region::new(request, self.backend()?.facts.system_page)?;
        let id = match self.regions.admit(&region)? {
            Admission::Shared(id) => {
                self.regions.add_user(id);
                id
            }
            Admission::New => {
                self.check_limit(region.range.size)?;
                self.regions.insert(region)
            }
        };
        Ok(Registration::new(id))
    }

    fn check_limit(&mut self, needed: Bytes) -> Result<(), Error> {
        match self.beyond_limit(needed)? {
            Some((charged, limit)) => {
                Err(RegionRefusal::LockedMemory { needed, charged, limit }.into())
            }
            None => Ok(()),
        }
    }

    /// If so much more is beyond the limit: what is charged by now, or will be without anybody asking again, and the limit.
    pub(super) fn beyond_limit(&mut self, needed: Bytes) -> Result<Option<(Bytes, Bytes)>, Error> {
        let Some(limit) = self.backend()?.facts.locked_limit else { return Ok(None) };
        let to_come = self.backend()?.charge_to_come();
        let charged = self.calls.locked()?.locked.saturating_add(to_come);
        Ok((charged.saturating_add(needed) > limit).then_some((charged, limit)))
    }

    /// Registers the next piece.
    ///
    /// # Errors
    /// [`RegionRefusal::Gone`] or [`RegionRefusal::Leaving`] after a failure or an end of the container's backend;
    /// [`Error::Fault`] from the kernel, after which nothing of the region is registered; [`Error::Registration`] if
    /// some of it still is.
    pub fn advance(&mut self, registration: &mut Registration) -> Result<Progress, Error> {
        self.backend()?;
        let id = registration.region();
        if let Some(piece) = self.regions.next_piece(id)? {
            self.register_piece(id, piece).map_err(|fault| self.undo_registration(id, fault))?;
        }
        let region = self.regions.get(id)?;
        let (registered, size) = (region.registered(), region.range.size);
        Ok(match self.regions.next_piece(id)? {
            Some(_) => Progress::Registering { registered, size },
            None => Progress::Complete(id),
        })
    }

    fn register_piece(&mut self, id: RegionId, piece: Piece) -> Result<(), Fault> {
        let container = self.container();
        let Charged { result, charged } =
            self.calls.charged(|calls| calls.register(container, piece.range))?;
        result?;
        self.regions.add_piece(id, charged);
        if let Ok(backend) = self.backend_mut() {
            backend.unmaps = Unmaps::Taken;
        }
        self.note_charge(ChargeSubject::Region(id), piece.range.size, charged);
        Ok(())
    }

    /// Unregisters what a failed registration has registered, unless a guest may have mapped it: KVM asks the kernel what is
    /// registered, not us.
    fn undo_registration(&mut self, id: RegionId, fault: Fault) -> Error {
        self.regions.begin_leaving(id);
        match self.unregister_region(id) {
            Ok(()) => fault.into(),
            Err(second) => {
                let left = self.regions.get(id).map_or(Bytes::ZERO, Region::registered);
                Error::from(Box::new(RegistrationFailure { fault, region: id, left, second }))
            }
        }
    }

    /// Gives a registration up, complete or not: what [`Engine::unregister`] does to its region.
    ///
    /// # Errors
    /// As [`Engine::unregister`], which can be called afterwards.
    pub fn abandon(&mut self, registration: Registration) -> Result<(), Error> {
        self.unregister(registration.region())
    }

    /// Takes one user away from a region. The last one unregisters it, the newest piece first. What the kernel goes on
    /// charging for although it said yes is noted ([`ChargeSubject::LeakedMemory`], [`Engine::leaked`]).
    ///
    /// # Errors
    /// [`RegionRefusal::Mapped`] while a TCE points into it or may do so: the kernel would say yes and leak.
    /// [`Error::Fault`] from the kernel: what was not unregistered stays, and this can be called again.
    pub fn unregister(&mut self, id: RegionId) -> Result<(), Error> {
        self.backend()?;
        if self.regions.get(id)?.users > 1 {
            self.regions.remove_user(id);
            return Ok(());
        }
        self.unregister_region(id)
    }

    /// Unregisters a region, whoever uses it. Into what is not registered nothing points.
    fn unregister_region(&mut self, id: RegionId) -> Result<(), Error> {
        if !self.regions.get(id)?.registered().is_zero() {
            let tces = self.tces_pointing_into(id)?;
            if tces > 0 {
                return Err(RegionRefusal::Mapped { region: id, tces }.into());
            }
        }
        Ok(self.unregister_pieces(id)?)
    }

    /// TCEs that point into a region, or may do so: those of the tables, whether or not somebody still wants them, and
    /// those that nobody knows. Whatever else may come to hold memory is to be counted here.
    fn tces_pointing_into(&self, id: RegionId) -> Result<u64, Error> {
        let mut live = self.leases.live();
        if let Some((lease, _)) = live.find(|(_, lease)| lease.loan.is_some()) {
            return Err(RegionRefusal::Lent { region: id, lease }.into());
        }
        let suspect = self.backend()?.suspect_tces(id);
        Ok(self.regions.get(id)?.tces.saturating_add(suspect))
    }

    fn unregister_pieces(&mut self, id: RegionId) -> Result<(), Fault> {
        while let Some((piece, charged)) = self.regions.newest_piece(id) {
            self.unregister_piece(id, piece, charged)?;
        }
        self.regions.remove(id);
        Ok(())
    }

    /// Unregisters a piece, and notes what of its charge the kernel did not give back: it says yes and leaks what it
    /// counts as mapped (`tce_iommu_unregister_pages`). A piece that charged nothing owes nothing.
    fn unregister_piece(
        &mut self,
        id: RegionId,
        piece: Piece,
        charged: Option<Bytes>,
    ) -> Result<(), Fault> {
        let container = self.container();
        let Released { result, released } =
            self.calls.released(|calls| calls.unregister(container, piece.range));
        result?;
        self.regions.remove_piece(id);
        let kept = charged.zip(released).and_then(|(charged, back)| charged.checked_sub(back));
        self.note_charge(ChargeSubject::LeakedMemory(id), Bytes::ZERO, kept);
        Ok(())
    }

    pub(super) fn unregister_all(&mut self) -> Result<(), Error> {
        let all: Vec<RegionId> = self.regions.iter().map(|(id, _)| id).collect();
        all.into_iter().try_for_each(|id| self.unregister_region(id))
    }
}
