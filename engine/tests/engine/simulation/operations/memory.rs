//! Memory comes and goes.

use tce_engine::{
    Error,
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
    region::{BackedPart, Progress, RegionId, RegionRequest},
};

use crate::simulation::{
    run::{BLOCK, BLOCKS, MEMORY, Run},
    sights::Sight,
};

impl Run {
    pub(super) fn register(&mut self) -> Result<(), Error> {
        let request = self.region_request();
        let registered = self.engine.register_memory(&request);
        let id = registered.inspect_err(|error| self.note_left(error))?;
        self.note_user(id);
        Ok(())
    }

    pub(super) fn start_registration(&mut self) -> Result<(), Error> {
        let request = self.region_request();
        let registration = self.engine.start_registration(&request)?;
        self.note_user(registration.region());
        self.registrations.push(registration);
        Ok(())
    }

    pub(super) fn advance(&mut self) -> Result<(), Error> {
        let Some(at) = self.dice.index(self.registrations.len()) else { return Ok(()) };
        let id = self.registrations[at].region();
        let advanced = self.engine.advance(&mut self.registrations[at]);
        match advanced {
            Ok(Progress::Complete(_)) => {
                let _complete = self.registrations.swap_remove(at);
                Ok(())
            }
            Ok(Progress::Registering { registered, size }) => {
                assert!(registered < size);
                Ok(())
            }
            Err(Error::Fault(fault)) => {
                self.saw(Sight::PieceFailed);
                // Nothing of it is registered, unless no call was made for want of a reading.
                if self.engine.regions().is_none_or(|regions| regions.get(id).is_err()) {
                    self.users.remove(&id);
                }
                Err(fault.into())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn abandon(&mut self) -> Result<(), Error> {
        let Some(at) = self.dice.index(self.registrations.len()) else { return Ok(()) };
        let registration = self.registrations.swap_remove(at);
        let id = registration.region();
        self.engine.abandon(registration)?;
        self.note_user_gone(id);
        Ok(())
    }

    pub(super) fn unregister(&mut self) -> Result<(), Error> {
        let Some(id) = self.dice.pick(&self.regions) else { return Ok(()) };
        // Mostly of all its users, or it would be a rare thing that a region goes.
        let users = self.users.get(&id).copied().unwrap_or(1);
        let times = if self.dice.one_in(3) { 1 } else { users };
        for _ in 0..times {
            self.engine.unregister(id)?;
            self.note_user_gone(id);
        }
        Ok(())
    }

    fn note_user(&mut self, id: RegionId) {
        let users = self.users.entry(id).or_insert(0);
        *users += 1;
        let is_shared = *users > 1;
        self.saw_if(is_shared, Sight::RegionShared);
        self.regions.push(id);
    }

    fn note_user_gone(&mut self, id: RegionId) {
        let users = self.users.get_mut(&id).expect("who can go was there");
        *users -= 1;
        if *users == 0 {
            self.users.remove(&id);
        }
    }

    /// A registration that could not be taken back stays, until it is unregistered.
    fn note_left(&mut self, error: &Error) {
        if let Error::Registration(failure) = error {
            self.saw(Sight::RegistrationLeft);
            self.note_user(failure.region);
        }
    }

    /// Some of the memory, in chunks or not: few ranges, so that they meet again. The last block with another behind
    /// it is more than there is.
    fn region_request(&mut self) -> RegionRequest {
        let system_page = self.engine.system().page_shift;
        let (first, blocks) = (self.dice.roll(BLOCKS), 1 + self.dice.roll(2));
        let part = |block: u64| BackedPart {
            size: Bytes::new(BLOCK),
            page: if block.is_multiple_of(2) { system_page } else { PageShift::M2 },
        };
        let address = HostAddr::new(MEMORY + first * BLOCK);
        let request = match self.dice.roll(24) {
            0 => {
                let size = Bytes::new(self.dice.roll(u64::MAX));
                RegionRequest::uniform(MemoryRange { address, size }, part(first).page)
            }
            1 => {
                let address = HostAddr::new(address.raw() + (64 << 10));
                let size = Bytes::new(BLOCK / 2);
                RegionRequest::uniform(MemoryRange { address, size }, part(first).page)
            }
            2..12 => {
                let range = MemoryRange { address, size: Bytes::new(BLOCK) };
                RegionRequest::uniform(range, part(first).page)
            }
            _ if first + blocks > BLOCKS && !self.dice.one_in(8) => {
                RegionRequest::mixed(address, vec![part(first)])
            }
            _ => RegionRequest::mixed(address, (first..first + blocks).map(part).collect()),
        };
        match self.dice.roll(4) {
            0 | 1 => request,
            chunk => request.in_chunks(Bytes::new(chunk << 19)),
        }
    }
}
