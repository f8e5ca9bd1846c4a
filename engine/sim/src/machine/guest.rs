//! Guests: what a virtual machine of KVM's does by itself, without the process's system calls.

use tce_engine::{
    errno::Errno,
    kernel::{GuestTableFd, MemoryRange, VmFd},
};

use super::SimMachine;
use crate::kvm::{Hypercall, HypercallAnswer};

impl SimMachine {
    /// Gives a guest memory: the process's, at a guest's address (`KVM_SET_USER_MEMORY_REGION`).
    ///
    /// # Errors
    /// `EBADF`, `ENOTTY` for another descriptor, `EIO` for another process's virtual machine, `EINVAL` for what is not
    /// whole pages, `EEXIST` where the guest has memory.
    pub fn set_guest_memory(
        &self,
        vm: VmFd,
        guest_address: u64,
        memory: MemoryRange,
    ) -> Result<(), Errno> {
        self.lock().set_guest_memory(self.process(), vm.fd(), guest_address, memory)
    }

    /// Lets the kernel answer the guest's hypercalls that set more than one TCE (`KVM_CAP_PPC_ENABLE_HCALL` of
    /// `H_PUT_TCE_INDIRECT` and `H_STUFF_TCE`). Without this they go to the program that runs the guest.
    ///
    /// # Errors
    /// As [`SimMachine::set_guest_memory`].
    pub fn enable_multi_tce(&self, vm: VmFd) -> Result<(), Errno> {
        self.lock().enable_multi_tce(self.process(), vm.fd())
    }

    /// Lets a guest make a hypercall. What is no virtual machine knows no table: [`HypercallAnswer::TooHard`].
    #[must_use]
    pub fn hypercall(&self, vm: VmFd, call: Hypercall) -> HypercallAnswer {
        self.lock().hypercall(vm.fd(), call)
    }

    /// What the guest has set in its own table, by the number of the TCE there (`kvm_spapr_tce_mmap`): 0 where it has
    /// set nothing; `None` outside, and for another descriptor.
    #[must_use]
    pub fn guest_tce(&self, table: GuestTableFd, index: u64) -> Option<u64> {
        self.lock().guest_tce(table.fd(), index)
    }
}
