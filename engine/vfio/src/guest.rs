//! Guests: virtual machines of KVM's with memory and one processor, which makes hypercalls.
//!
//! A guest here runs one small program, from a page of its own, and that program stores nothing. What it reaches it
//! reaches through hypercalls: KVM sets TCEs, to memory that is registered and nothing else.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tce_engine::{
    addr::{GuestAddress, PageShift},
    errno::Errno,
    kernel::{MemoryRange, Raw},
    machine::{GuestStep, HypercallExit, HypercallRegisters, MachineError},
    papr::Hypercall,
};

use crate::{
    abi::kvm,
    descriptors::{Descriptor, Sort},
    ioctl,
    memory::Ground,
};

mod processor;
mod table;

use processor::Processor;
pub(crate) use table::read as read_table;

/// Pieces of memory that a guest may be given.
const SLOTS_MAX: usize = 512;

/// What a virtual machine has beside its descriptor. It goes with it.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Before the memory, so that no guest runs when that goes.
    processor: Option<Box<Processor>>,
    /// The memory's grounds, by slot: blocks stay mapped as long as the guest can run.
    memory: Vec<Ground>,
}

/// `KVM_SET_USER_MEMORY_REGION`, to add one.
pub(crate) fn set_memory(
    vm: &Descriptor,
    at: GuestAddress,
    memory: MemoryRange,
    ground: Result<Ground, Errno>,
) -> Result<(), MachineError> {
    let add = || {
        let mut state = state_of(vm)?;
        state.add(vm, at, memory, ground?)
    };
    add().map_err(failed(GuestStep::Memory))
}

/// `KVM_CAP_PPC_ENABLE_HCALL` of the calls that set several TCEs.
pub(crate) fn enable_multi_tce(vm: &Descriptor) -> Result<(), MachineError> {
    let enable = |call| {
        let mut capability = kvm::EnableCapability {
            capability: kvm::CAP_PPC_ENABLE_HCALL,
            arguments: [call, 1, 0, 0],
            ..Default::default()
        };
        done(ioctl::with(vm, &kvm::VM_ENABLE_CAP, &mut capability))
    };
    let mut calls = [Hypercall::STUFF_TCE, Hypercall::PUT_TCE_INDIRECT].into_iter();
    calls.try_for_each(enable).map_err(failed(GuestStep::MultiTce))
}

/// Lets the guest make a hypercall. Its processor and program are made for its first.
pub(crate) fn hypercall(
    vm: &Descriptor,
    call: &HypercallRegisters,
    system_page: PageShift,
) -> Result<HypercallExit, MachineError> {
    let mut state = state_of(vm).map_err(failed(GuestStep::Run))?;
    if !cfg!(target_arch = "powerpc64") {
        return Err(failed(GuestStep::Processor)(Errno::ENOENT));
    }
    if state.processor.is_none() {
        state.make_processor(vm, system_page).map_err(failed(GuestStep::Processor))?;
    }
    let processor = state.processor.as_mut();
    processor.ok_or(Errno::ENOENT).map_err(failed(GuestStep::Processor))?.hypercall(call)
}

impl State {
    fn add(
        &mut self,
        vm: &Descriptor,
        at: GuestAddress,
        memory: MemoryRange,
        ground: Ground,
    ) -> Result<(), Errno> {
        if matches!(ground, Ground::Refused) || self.memory.len() == SLOTS_MAX {
            return Err(Errno::EINVAL);
        }
        let mut region = kvm::MemoryRegion {
            slot: u32::try_from(self.memory.len()).map_err(|_| Errno::EINVAL)?,
            flags: 0,
            guest_address: at.raw(),
            size: memory.size.raw(),
            address: memory.address.raw(),
        };
        done(ioctl::with(vm, &kvm::SET_USER_MEMORY_REGION, &mut region))?;
        self.memory.push(ground);
        Ok(())
    }

    fn make_processor(&mut self, vm: &Descriptor, system_page: PageShift) -> Result<(), Errno> {
        let (memory, ground) = processor::program(system_page)?;
        self.add(vm, processor::PROGRAM, memory, ground)?;
        self.processor = Some(Box::new(Processor::new(vm, system_page)?));
        Ok(())
    }
}

/// The guest of a descriptor that is a virtual machine.
fn state_of(vm: &Descriptor) -> Result<MutexGuard<'_, State>, Errno> {
    if vm.sort() != Sort::VirtualMachine {
        return Err(Errno::ENOTTY);
    }
    // Whole even after a panic elsewhere: each change of it is a single step.
    Ok(vm.guest().state.lock().unwrap_or_else(PoisonError::into_inner))
}

fn failed(step: GuestStep) -> impl Fn(Errno) -> MachineError {
    move |errno| MachineError::Guest { step, errno }
}

fn done(raw: Raw) -> Result<(), Errno> {
    match raw {
        Raw::Returned(0) => Ok(()),
        Raw::Returned(_) => Err(Errno::EIO),
        Raw::Failed(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tce_engine::{
        addr::{Bytes, HostAddr},
        kernel::{Fd, GuestTableFd, Kernel as _, VmFd},
        machine::Machine as _,
    };

    use super::*;
    use crate::testing::Tree;

    const CALL: HypercallRegisters = HypercallRegisters::get_tce(1, 0);

    #[test]
    fn what_is_no_virtual_machine_has_no_guest() {
        let tree = Tree::new();
        let mut machine = tree.machine();
        let pipe = machine.kernel().adopt(io::pipe().unwrap().0.into());
        for (fd, errno) in [(pipe, Errno::ENOTTY), (Fd::new(-1), Errno::EBADF)] {
            let vm = VmFd::new(fd);
            let memory = MemoryRange { address: HostAddr::new(0x10000), size: Bytes::kib(64) };
            let refused = |step| MachineError::Guest { step, errno };
            let set = machine.set_guest_memory(vm, GuestAddress::new(0), memory);
            assert_eq!(set, Err(refused(GuestStep::Memory)));
            assert_eq!(machine.enable_multi_tce(vm), Err(refused(GuestStep::MultiTce)));
            assert_eq!(machine.hypercall(vm, CALL), Err(refused(GuestStep::Run)));
        }
    }

    #[test]
    fn only_a_guests_table_is_mapped_and_read() {
        let tree = Tree::new();
        let mut kernel = tree.machine().kernel();
        let pipe = kernel.adopt(io::pipe().unwrap().0.into());
        let mut read = |fd| kernel.read_guest_table(GuestTableFd::new(fd), 0, &mut [0]);
        assert_eq!(read(pipe), Err(Errno::ENODEV));
        assert_eq!(read(Fd::new(-1)), Err(Errno::EBADF));
    }
}
