//! What the stage's device does, and where its bytes arrive.

use anyhow::{Context, Result, ensure};
use tce_conformance::edu::{Edu, EduError};
use tce_engine::{
    addr::{HostAddr, Iova},
    machine::Machine,
};

use super::Stage;
use crate::sample::{EMPTY, LENGTH, LENGTH_BYTES, pattern};

/// What the device's buffer holds: it writes this wherever it writes.
const STAMP: u8 = 7;

impl<M: Machine> Stage<'_, M> {
    /// Drives the device.
    ///
    /// # Errors
    /// Whatever the closure says.
    pub fn with_edu<T>(
        &mut self,
        drive: impl FnOnce(&mut Edu<'_, M::Kernel>) -> Result<T, EduError>,
    ) -> Result<T> {
        let mut kernel = self.machine.kernel();
        Ok(drive(&mut Edu::new(&mut kernel, self.device)?)?)
    }

    /// Fills the device's buffer through an address that leads to this memory: what the device writes from now on is
    /// known.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn load_stamp(&mut self, iova: Iova, memory: HostAddr) -> Result<()> {
        self.machine.write_memory(memory, &pattern::<LENGTH>(STAMP))?;
        self.with_edu(|edu| edu.read_memory(iova, LENGTH_BYTES))?;
        Ok(self.machine.write_memory(memory, &EMPTY)?)
    }

    /// What the device writes to an address arrives in this memory.
    ///
    /// # Errors
    /// If it does not.
    pub fn leads(&mut self, iova: Iova, memory: HostAddr) -> Result<()> {
        self.start_writing(iova, memory)?;
        self.has_landed(memory).with_context(|| format!("written to {iova}"))
    }

    /// What the device writes to an address does not arrive in the memory that was there.
    ///
    /// # Errors
    /// If it does.
    pub fn leads_nowhere(&mut self, iova: Iova, memory: HostAddr) -> Result<()> {
        self.start_writing(iova, memory)?;
        let found = self.finish(memory)?;
        ensure!(found == EMPTY, "bytes written to {iova}, where nothing is mapped, arrived");
        Ok(())
    }

    /// Lets the device begin to write to an address that leads to this memory. [`Stage::has_landed`] waits for its end.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn start_writing(&mut self, iova: Iova, memory: HostAddr) -> Result<()> {
        self.machine.write_memory(memory, &EMPTY)?;
        self.with_edu(|edu| edu.start_writing(iova, LENGTH_BYTES))
    }

    /// What the device was writing has arrived in this memory.
    ///
    /// # Errors
    /// If it has not.
    pub fn has_landed(&mut self, memory: HostAddr) -> Result<()> {
        let found = self.finish(memory)?;
        ensure!(found == pattern::<LENGTH>(STAMP), "the bytes did not arrive at {memory}");
        Ok(())
    }

    fn finish(&mut self, memory: HostAddr) -> Result<[u8; LENGTH]> {
        self.with_edu(|edu| edu.wait())?;
        let mut found = [0; LENGTH];
        self.machine.read_memory(memory, &mut found)?;
        Ok(found)
    }
}
