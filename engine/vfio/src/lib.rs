//! VFIO's sPAPR TCE v2 backend of a real Linux kernel.
//!
//! [`VfioMachine`] is the machine this process runs on: its memory, its PCI devices, and through
//! [`VfioKernel`] the raw operations on its kernel. [`survey`](mod@survey) looks at any machine,
//! without changing it, and says what would keep VFIO from working there.
//!
//! All of the project's system calls on VFIO are made here, and nothing is decided here: results go
//! up as they came. What this crate does guarantee is memory safety. An `ioctl` is made only on a
//! VFIO descriptor of the right sort, with the structure that `linux/vfio.h` names for it; and only
//! memory that is made for DMA can be registered, so no device ever writes into memory that Rust
//! believes to be its own.
#![deny(unsafe_op_in_unsafe_fn)]

mod abi;
pub mod child;
mod descriptors;
mod device;
mod function;
mod guest;
mod ioctl;
mod kernel;
mod machine;
mod mapping;
mod memory;
mod pages;
mod probe;
mod release;
mod root;
pub mod seccomp;
pub mod survey;
mod sysfs;
mod system;
pub mod tracee;
pub mod wire;

pub use kernel::VfioKernel;
pub use machine::{OpenError, VfioMachine};
pub use release::{Release, Verdict};
pub use root::Root;

#[cfg(test)]
mod testing;
