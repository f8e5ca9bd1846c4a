//! The machine: its memory and devices, and the hands of the test that holds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{ContainerFd, DescriptorKind, EehOperation, Fd, GroupNumber, MemoryRange, Raw},
    machine::{GroupDevice, Machine, MachineError, MemoryRequest},
};

use crate::{
    descriptor::File,
    eeh::PeState,
    fault::{Fault, Operation},
    inspect::{HostCorrupted, LeftBehind, RegionView, TceView, WindowView},
    kernel::SimKernel,
    profile::Profile,
    world::{Unbind, World},
};

/// A simulated machine. A clone is another handle on the same one.
#[derive(Clone, Debug)]
pub struct SimMachine {
    world: Arc<Mutex<World>>,
}

impl SimMachine {
    /// Starts a machine.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(profile))) }
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

    /// Faults that were ordered and have not met their call.
    #[must_use]
    pub fn faults_waiting(&self) -> usize {
        self.lock().tally.waiting()
    }

    /// Calls of an operation so far, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().tally.calls(operation)
    }

    /// Calls of all operations so far.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.lock().tally.all_calls()
    }

    /// TCEs written so far, exchanged ones and those of failed maps included.
    #[must_use]
    pub fn tces_set(&self) -> u64 {
        self.lock().tally.tces_set
    }

    /// TCEs cleared so far, by whatever did it.
    #[must_use]
    pub fn tces_cleared(&self) -> u64 {
        self.lock().tally.tces_cleared
    }

    /// The first call that would have broken a real kernel.
    #[must_use]
    pub fn host_corruption(&self) -> Option<HostCorrupted> {
        self.lock().corruption.first().cloned()
    }

    /// The windows of a container; none without a backend.
    #[must_use]
    pub fn windows(&self, container: ContainerFd) -> Vec<WindowView> {
        self.lock().windows(container)
    }

    /// The TCE for an address.
    #[must_use]
    pub fn tce(&self, container: ContainerFd, iova: Iova) -> Option<TceView> {
        self.lock().tce(container, iova)
    }

    /// TCEs that are set, in all containers.
    #[must_use]
    pub fn live_tces(&self) -> u64 {
        self.lock().live_tces()
    }

    /// Memory that is registered, by any container, in ascending order.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionView> {
        self.lock().regions()
    }

    /// Open descriptors, in ascending order.
    #[must_use]
    pub fn descriptors(&self) -> Vec<(Fd, DescriptorKind)> {
        self.lock().descriptors()
    }

    /// Locked memory of the process.
    #[must_use]
    pub fn locked(&self) -> Bytes {
        self.lock().process.mm.locked.bytes()
    }

    /// What the process still holds, for a test that nothing is left.
    #[must_use]
    pub fn left_behind(&self) -> LeftBehind {
        self.lock().left_behind()
    }

    /// Huge pages of a size that are free.
    #[must_use]
    pub fn free_huge_pages(&self, page: PageShift) -> u64 {
        self.lock().process.mm.memory.free_huge_pages(page)
    }

    /// The state of a group's PE.
    #[must_use]
    pub fn pe_state(&self, group: GroupNumber) -> Option<PeState> {
        self.lock().endpoints.get(group).map(|endpoint| endpoint.state)
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

    /// Takes a group's devices from `vfio-pci`, as the operator of the host may at any time.
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
        self.lock().process.descriptors.open(File::Other(name.to_owned()))
    }

    /// Allocates memory right behind the newest allocation, so that one range covers both.
    ///
    /// # Errors
    /// [`MachineError::NoMemory`], also if that address does not suit the backing's pages.
    pub fn allocate_behind(&self, request: &MemoryRequest) -> Result<MemoryRange, MachineError> {
        let allocated = self.lock().process.mm.memory.allocate_behind(request);
        allocated.map_err(|errno| MachineError::NoMemory { request: *request, errno })
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
        world.process.mm.memory.allocate(request).map_err(no_memory)
    }

    fn free(&mut self, memory: MemoryRange) -> Result<(), MachineError> {
        let mm = &mut self.lock().process.mm;
        mm.memory.unmap(memory).ok_or(MachineError::NotOurMemory(memory))?;
        mm.drop_unpinned();
        Ok(())
    }

    fn write_memory(&mut self, address: HostAddr, bytes: &[u8]) -> Result<(), MachineError> {
        let written = self.lock().process.mm.memory.write_mapped(address.raw(), bytes);
        written.ok_or_else(|| not_ours(address, bytes.len()))
    }

    fn read_memory(&mut self, address: HostAddr, bytes: &mut [u8]) -> Result<(), MachineError> {
        let read = self.lock().process.mm.memory.read_mapped(address.raw(), bytes);
        read.ok_or_else(|| not_ours(address, bytes.len()))
    }
}

fn not_ours(address: HostAddr, len: usize) -> MachineError {
    let size = Bytes::new(u64::try_from(len).unwrap_or(u64::MAX));
    MachineError::NotOurMemory(MemoryRange { address, size })
}
