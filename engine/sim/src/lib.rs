//! A simulated POWER machine with VFIO's sPAPR TCE v2 backend.
//!
//! [`SimMachine`] is a machine in the sense of [`tce_engine::machine`]; its [`SimKernel`] answers the raw operations of
//! [`tce_engine::kernel`] as Linux does, its traps included: positive results that mean failure, maps that are only
//! checked at their first page, unregistrations that leak, rollbacks to empty, detaches that wipe everybody's
//! windows. What would break a real kernel is noted by [`SimMachine::host_corruption`], what it would only warn of by
//! [`SimMachine::host_warnings`].
//!
//! A machine has one process, and others if a test asks for them ([`SimMachine::other_process`]). It has KVM, where the
//! real one has: a guest sets TCEs by hypercall ([`tce_engine::machine::Machine::hypercall`]), which no call of its process shows.
//!
//! Nothing here takes time from a clock or chance from anywhere: the same calls give the same answers.
//!
//! The behaviour follows the measured facts about 6.12 and 7.2 kernels, and where they are silent the kernel's source;
//! comments name the function.
#![forbid(unsafe_code)]

mod backend;
mod charge;
mod container;
mod descriptor;
mod device;
mod eeh;
mod endpoint;
mod event;
mod fault;
mod group;
mod inspect;
mod kernel;
mod kvm;
mod machine;
mod memory;
mod partition;
mod process;
pub mod profile;
mod region;
mod window;
mod world;

pub use eeh::PeState;
pub use fault::{Fault, LevelOf, Operation};
pub use inspect::{
    GuestTableView, HostCorrupted, HostWarning, LeftBehind, MappedRun, RegionView, TceView,
    WindowView,
};
pub use kernel::SimKernel;
pub use machine::SimMachine;
pub use memory::Protection;
pub use profile::Profile;
pub use window::entry::TceAccess;
pub use world::Unbind;
