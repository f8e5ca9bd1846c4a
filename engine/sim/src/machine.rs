//! The machine: its memory and devices, and the hands of the test that holds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tce_engine::{
    addr::{Bytes, GuestAddress, HostAddr, PageShift},
    errno::Errno,
    kernel::{EehOperation, Fd, GroupNumber, MemoryRange, Raw, VmFd},
    machine::{
        Backing, GroupDevice, GuestStep, HypercallExit, HypercallRegisters, Machine, MachineError,
        MemoryRequest,
    },
};

use crate::{
    descriptor::File,
    eeh::PeState,
    fault::{Fault, Operation},
    kernel::SimKernel,
    memory::Protection,
    process::MmId,
    profile::Profile,
    world::{Unbind, World},
};

mod observe;

/// A simulated machine, as one of its processes has it. A clone is another handle on the same one.
#[derive(Clone, Debug)]
pub struct SimMachine {
    world: Arc<Mutex<World>>,
    /// Whose memory is meant.
    process: MmId,
}

impl SimMachine {
    /// Starts a machine.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(profile))), process: MmId::FIRST }
    }

    /// The kernel as another process sees it, one that has inherited all descriptors and has an empty address space of
    /// its own. Descriptors stay common: what one opens or closes, it does for all. The process's memory is reached
    /// through [`SimKernel::machine`]. After 65,535 others, the newest again.
    #[must_use]
    pub fn other_process(&self) -> SimKernel {
        let mut world = self.lock();
        let World { mms, profile, .. } = &mut *world;
        let process = mms.add(profile);
        SimKernel::new(Self { world: Arc::clone(&self.world), process })
    }

    pub(crate) const fn process(&self) -> MmId {
        self.process
    }

    /// What the machine was made of.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.lock().profile.clone()
    }

    /// Orders a fault for the next call of an operation that has none ordered yet.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.lock().tally.order_next(operation, fault);
    }

    /// Orders a fault for the `nth` call of an operation from now; 1 is the next.
    pub fn fail_nth(&self, operation: Operation, nth: u64, fault: Fault) {
        self.lock().tally.order(operation, nth, fault);
    }

    /// Freezes a group's PE, as an error on its bus would.
    pub fn freeze(&self, group: GroupNumber) {
        if let Some(endpoint) = self.lock().endpoints.get_mut(group) {
            endpoint.state = PeState::Stopped;
        }
    }

    /// Thaws a group's PE, as the host's own error handling would.
    pub fn thaw(&self, group: GroupNumber) {
        if let Some(endpoint) = self.lock().endpoints.get_mut(group) {
            endpoint.state = endpoint.state.after(EehOperation::ResetDeactivate);
        }
    }

    /// Takes a group's devices from `vfio-pci`, as the operator of the host may at any time. While a device is open the
    /// kernel asks for it through its request event, and does so again every 10 seconds: once for each call here.
    #[must_use]
    pub fn unbind(&self, group: GroupNumber) -> Unbind {
        self.lock().unbind(group)
    }

    /// Gives the devices that [`SimMachine::unbind`] took back to `vfio-pci`. A group descriptor of before stays dead.
    pub fn rebind(&self, group: GroupNumber) {
        self.lock().rebind(group);
    }

    /// Opens a descriptor that is not VFIO's, such as `/dev/null`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn open_other(&self, name: &str) -> Result<Fd, Errno> {
        self.lock().descriptors.open(File::Other(name.to_owned()))
    }

    /// Allocates memory right behind the newest allocation, so that one range covers both.
    ///
    /// # Errors
    /// [`MachineError::NoMemory`], also if that address does not suit the backing's pages.
    pub fn allocate_behind(&self, request: &MemoryRequest) -> Result<MemoryRange, MachineError> {
        let allocated = self.lock().mms.get_mut(self.process).memory.allocate_behind(request);
        allocated.map_err(|errno| MachineError::NoMemory { request: *request, errno })
    }

    /// Maps memory at an address of the caller's choice, such as that of a recorded program. Huge pages for it need not
    /// be in the machine's pool.
    ///
    /// # Errors
    /// [`MachineError::NoMemory`]: `EEXIST` where memory is mapped or still pinned, `EINVAL` for what is not whole
    /// pages of the backing, `ENOMEM` beyond 128 TiB.
    pub fn place(
        &mut self,
        address: HostAddr,
        size: Bytes,
        backing: Backing,
    ) -> Result<MemoryRange, MachineError> {
        let request = MemoryRequest { size, backing, align: PageShift::K4 };
        let placed = self.lock().mms.get_mut(self.process).memory.place_at(address.raw(), &request);
        placed.map_err(|errno| MachineError::NoMemory { request, errno })
    }

    /// Changes what the process may do with a piece of memory, as `mprotect` does. What is pinned stays so.
    ///
    /// # Errors
    /// [`MachineError::NotOurMemory`] unless it is exactly an allocated range.
    pub fn protect(
        &mut self,
        memory: MemoryRange,
        protection: Protection,
    ) -> Result<(), MachineError> {
        let changed = self.lock().mms.get_mut(self.process).memory.protect(memory, protection);
        changed.ok_or(MachineError::NotOurMemory(memory))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for SimMachine {
    type Kernel = SimKernel;

    fn kernel(&self) -> SimKernel {
        SimKernel::new(self.clone())
    }

    fn group_of(&self, address: &str) -> Result<GroupNumber, MachineError> {
        let world = self.lock();
        let found = world.endpoints.iter().find(|(_, endpoint)| {
            endpoint.devices.iter().any(|device| device.profile.address == address)
        });
        found.map(|(number, _)| number).ok_or_else(|| MachineError::NoDevice(address.to_owned()))
    }

    fn devices_of(&self, group: GroupNumber) -> Vec<GroupDevice> {
        let world = self.lock();
        world.endpoints.get(group).map_or_else(Vec::new, |endpoint| endpoint.group_devices())
    }

    fn groups(&self) -> Vec<GroupNumber> {
        self.lock().endpoints.iter().map(|(number, _)| number).collect()
    }

    fn allocate(&mut self, request: &MemoryRequest) -> Result<MemoryRange, MachineError> {
        let no_memory = |errno| MachineError::NoMemory { request: *request, errno };
        let mut world = self.lock();
        match world.tally.enter(Operation::Allocate).and_then(Fault::before) {
            Some(Raw::Failed(errno)) => return Err(no_memory(errno)),
            Some(Raw::Returned(_)) => return Err(no_memory(Errno::ENOMEM)),
            None => {}
        }
        world.mms.get_mut(self.process).memory.allocate(request).map_err(no_memory)
    }

    fn free(&mut self, memory: MemoryRange) -> Result<(), MachineError> {
        let mut world = self.lock();
        let mm = world.mms.get_mut(self.process);
        mm.memory.unmap(memory).ok_or(MachineError::NotOurMemory(memory))?;
        mm.drop_unpinned();
        Ok(())
    }

    fn write_memory(&mut self, address: HostAddr, bytes: &[u8]) -> Result<(), MachineError> {
        let written =
            self.lock().mms.get_mut(self.process).memory.write_mapped(address.raw(), bytes);
        written.ok_or_else(|| not_ours(address, bytes.len()))
    }

    fn read_memory(&mut self, address: HostAddr, bytes: &mut [u8]) -> Result<(), MachineError> {
        let read = self.lock().mms.get(self.process).memory.read_mapped(address.raw(), bytes);
        read.ok_or_else(|| not_ours(address, bytes.len()))
    }

    fn set_guest_memory(
        &mut self,
        vm: VmFd,
        at: GuestAddress,
        memory: MemoryRange,
    ) -> Result<(), MachineError> {
        let set = self.lock().set_guest_memory(self.process, vm.fd(), at.raw(), memory);
        set.map_err(|errno| MachineError::Guest { step: GuestStep::Memory, errno })
    }

    fn enable_multi_tce(&mut self, vm: VmFd) -> Result<(), MachineError> {
        let enabled = self.lock().enable_multi_tce(self.process, vm.fd());
        enabled.map_err(|errno| MachineError::Guest { step: GuestStep::MultiTce, errno })
    }

    fn hypercall(
        &mut self,
        vm: VmFd,
        call: HypercallRegisters,
    ) -> Result<HypercallExit, MachineError> {
        let exit = self.lock().hypercall(self.process, vm.fd(), &call);
        exit.map_err(|errno| MachineError::Guest { step: GuestStep::Run, errno })
    }
}

fn not_ours(address: HostAddr, len: usize) -> MachineError {
    let size = Bytes::new(u64::try_from(len).unwrap_or(u64::MAX));
    MachineError::NotOurMemory(MemoryRange { address, size })
}
