//! A simulated machine whose every kernel call is noted and looked after.

use std::sync::{Arc, Mutex};

use tce_engine::{
    addr::{GuestAddress, HostAddr},
    kernel::{GroupNumber, MemoryRange, VmFd},
    machine::{
        GroupDevice, HypercallExit, HypercallRegisters, Machine, MachineError, MemoryRequest,
    },
};
use tce_sim::{SimKernel, SimMachine};
use tce_trace::{event::Event, kernel::NotedKernel};

use crate::Shared;

/// The machine.
pub(crate) struct Watched {
    machine: SimMachine,
    events: Shared<Vec<Event>>,
}

/// What is done with a call that was made.
type Note = Box<dyn FnMut(Event)>;

impl Watched {
    pub(crate) fn new(machine: SimMachine) -> Self {
        Self { machine, events: Arc::new(Mutex::new(Vec::new())) }
    }

    /// Nothing may be left; the calls that were made.
    pub(crate) fn at_the_end(&self) -> Vec<Event> {
        assert!(self.machine.left_behind().is_nothing(), "{:?}", self.machine.left_behind());
        hardware_is_right(&self.machine);
        self.events.lock().expect("nobody panicked").clone()
    }
}

/// What holds after each call, whatever it was: the host is whole, no registration is leaked, and each TCE that is set
/// points into memory that is registered.
fn hardware_is_right(machine: &SimMachine) {
    assert_eq!(machine.host_corruption(), None);
    let regions = machine.regions();
    assert!(!regions.iter().any(|region| region.has_leaked()), "{regions:?}");
    let mapped: u64 = regions.iter().map(|region| region.mapped).sum();
    assert_eq!(machine.live_tces(), mapped, "{regions:?}");
}

impl Machine for Watched {
    type Kernel = NotedKernel<SimKernel, Note>;

    fn kernel(&self) -> Self::Kernel {
        let (machine, events) = (self.machine.clone(), Arc::clone(&self.events));
        let note: Note = Box::new(move |event| {
            hardware_is_right(&machine);
            events.lock().expect("nobody panicked").push(event);
        });
        NotedKernel::new(self.machine.kernel(), note)
    }

    fn group_of(&self, address: &str) -> Result<GroupNumber, MachineError> {
        self.machine.group_of(address)
    }

    fn devices_of(&self, group: GroupNumber) -> Vec<GroupDevice> {
        self.machine.devices_of(group)
    }

    fn groups(&self) -> Vec<GroupNumber> {
        self.machine.groups()
    }

    fn allocate(&mut self, request: &MemoryRequest) -> Result<MemoryRange, MachineError> {
        self.machine.allocate(request)
    }

    fn free(&mut self, memory: MemoryRange) -> Result<(), MachineError> {
        self.machine.free(memory)
    }

    fn write_memory(&mut self, address: HostAddr, bytes: &[u8]) -> Result<(), MachineError> {
        self.machine.write_memory(address, bytes)
    }

    fn read_memory(&mut self, address: HostAddr, bytes: &mut [u8]) -> Result<(), MachineError> {
        self.machine.read_memory(address, bytes)
    }

    fn set_guest_memory(
        &mut self,
        vm: VmFd,
        at: GuestAddress,
        memory: MemoryRange,
    ) -> Result<(), MachineError> {
        self.machine.set_guest_memory(vm, at, memory)
    }

    fn enable_multi_tce(&mut self, vm: VmFd) -> Result<(), MachineError> {
        self.machine.enable_multi_tce(vm)
    }

    fn hypercall(
        &mut self,
        vm: VmFd,
        call: HypercallRegisters,
    ) -> Result<HypercallExit, MachineError> {
        self.machine.hypercall(vm, call)
    }
}
