//! What surrounds the kernel: memory to map, and devices to map it for.
//!
//! The engine does not use this; a program that runs jobs or tests on either backend does.

use std::fmt;

mod guest;

pub use guest::{GuestStep, HypercallExit, HypercallRegisters};

use crate::{
    addr::{Bytes, GuestAddress, HostAddr, PageShift},
    errno::Errno,
    kernel::{GroupNumber, Kernel, MemoryRange, VmFd},
};

/// The driver that makes a PCI device VFIO's.
pub const VFIO_PCI: &str = "vfio-pci";

/// What backs a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Private anonymous memory, in system pages.
    Anonymous,
    /// A memory file, in system pages.
    Memfd,
    /// Huge pages of the given size, reserved beforehand.
    Hugetlb(PageShift),
}

/// Memory that a job wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRequest {
    /// How much: whole pages of the backing.
    pub size: Bytes,
    /// In which pages.
    pub backing: Backing,
    /// The start is a multiple of this page, so that large TCE pages can lie inside.
    pub align: PageShift,
}

/// A device of a group, as the machine's bus shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDevice {
    /// Its PCI address, such as `0000:01:00.0`.
    pub address: String,
    /// The driver that holds it, if any.
    pub driver: Option<String>,
    /// PCI vendor and device number, such as `(0x1234, 0x11e8)`.
    pub id: (u16, u16),
    /// Whether this device keeps its group from being viable.
    pub blocks_group: bool,
}

impl GroupDevice {
    /// Whether it is VFIO's: `vfio-pci` drives it.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.driver.as_deref() == Some(VFIO_PCI)
    }
}

/// Why a machine could not do what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineError {
    /// No device has this address.
    NoDevice(String),
    /// The device is in no IOMMU group.
    NoGroup(String),
    /// The memory could not be had.
    NoMemory {
        /// What was asked for.
        request: MemoryRequest,
        /// What the kernel said.
        errno: Errno,
    },
    /// The range is no piece of memory of this machine, or lies across its end.
    NotOurMemory(MemoryRange),
    /// KVM refused what a guest needs.
    Guest {
        /// What was done.
        step: GuestStep,
        /// What the kernel said.
        errno: Errno,
    },
    /// The guest stopped for something else than its hypercall.
    GuestAstray {
        /// Why, by the number in `linux/kvm.h` (`KVM_EXIT_…`).
        exit_reason: u32,
    },
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice(address) => write!(f, "there is no PCI device {address}"),
            Self::NoGroup(address) => {
                write!(f, "device {address} is in no IOMMU group, so it cannot be given to VFIO")
            }
            Self::NoMemory { request, errno } => {
                write!(f, "{} of {} could not be had: {errno}", request.size, request.backing)
            }
            Self::NotOurMemory(range) => {
                write!(
                    f,
                    "{} bytes at {} are not memory of this machine",
                    range.size, range.address
                )
            }
            Self::Guest { step, errno } => write!(f, "{step} failed: {errno}"),
            Self::GuestAstray { exit_reason } => write!(
                f,
                "the guest stopped with exit reason {exit_reason} of linux/kvm.h instead of making its hypercall"
            ),
        }
    }
}

impl std::error::Error for MachineError {}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous memory"),
            Self::Memfd => f.write_str("memfd memory"),
            Self::Hugetlb(shift) => write!(f, "{shift} huge pages"),
        }
    }
}

/// A machine: its kernel, its memory, its devices.
pub trait Machine {
    /// Its kernel, as seen by this process.
    type Kernel: Kernel;

    /// A view of this process on the kernel. Views share descriptors and memory.
    fn kernel(&self) -> Self::Kernel;

    /// The group a device is in.
    ///
    /// # Errors
    /// [`MachineError::NoDevice`], [`MachineError::NoGroup`].
    fn group_of(&self, address: &str) -> Result<GroupNumber, MachineError>;

    /// The devices of a group; empty if there is no such group.
    fn devices_of(&self, group: GroupNumber) -> Vec<GroupDevice>;

    /// Every group, in ascending order.
    fn groups(&self) -> Vec<GroupNumber>;

    /// Allocates memory, filled with zeros.
    ///
    /// # Errors
    /// [`MachineError::NoMemory`].
    fn allocate(&mut self, request: &MemoryRequest) -> Result<MemoryRange, MachineError>;

    /// Gives memory back.
    ///
    /// # Errors
    /// [`MachineError::NotOurMemory`] unless it is exactly a range that [`Machine::allocate`] returned.
    fn free(&mut self, memory: MemoryRange) -> Result<(), MachineError>;

    /// Copies bytes into allocated memory.
    ///
    /// # Errors
    /// [`MachineError::NotOurMemory`].
    fn write_memory(&mut self, address: HostAddr, bytes: &[u8]) -> Result<(), MachineError>;

    /// Copies bytes out of allocated memory.
    ///
    /// # Errors
    /// [`MachineError::NotOurMemory`].
    fn read_memory(&mut self, address: HostAddr, bytes: &mut [u8]) -> Result<(), MachineError>;

    /// Gives a guest memory: the process's, at a guest's address (`KVM_SET_USER_MEMORY_REGION`). It is only added, never
    /// taken away.
    ///
    /// # Errors
    /// [`MachineError::Guest`]: `EBADF`, `ENOTTY` for another descriptor, `EIO` for another process's virtual machine,
    /// `EINVAL` for what is not whole pages, `EEXIST` where the guest has memory, `EFAULT` for memory that is not this
    /// machine's.
    fn set_guest_memory(
        &mut self,
        vm: VmFd,
        at: GuestAddress,
        memory: MemoryRange,
    ) -> Result<(), MachineError>;

    /// Lets the kernel answer the guest's hypercalls that set more than one TCE (`KVM_CAP_PPC_ENABLE_HCALL` of
    /// `H_PUT_TCE_INDIRECT` and `H_STUFF_TCE`). Without this they go to the program that runs the guest.
    ///
    /// # Errors
    /// [`MachineError::Guest`], with the descriptor's errnos of [`Machine::set_guest_memory`].
    fn enable_multi_tce(&mut self, vm: VmFd) -> Result<(), MachineError>;

    /// Lets the guest make one hypercall. A virtual machine makes one at a time.
    ///
    /// # Errors
    /// [`MachineError::Guest`], with the descriptor's errnos of [`Machine::set_guest_memory`], and `ENOENT` where the
    /// processor is no POWER; [`MachineError::GuestAstray`].
    fn hypercall(
        &mut self,
        vm: VmFd,
        call: HypercallRegisters,
    ) -> Result<HypercallExit, MachineError>;
}
