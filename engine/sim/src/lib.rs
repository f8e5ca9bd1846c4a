//! A simulated POWER machine with VFIO's sPAPR TCE v2 backend.
//!
//! [`SimMachine`] is a machine in the sense of [`tce_engine::machine`]; its [`SimKernel`] answers the raw operations of
//! [`tce_engine::kernel`] as Linux does, its traps included: positive results that mean failure, maps that are only
//! checked at their first page, unregistrations that leak, rollbacks to empty, detaches that wipe everybody's
//! windows. What would break a real kernel is noted by [`SimMachine::host_corruption`].
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
mod fault;
mod group;
mod inspect;
mod kernel;
mod machine;
mod memory;
mod partition;
mod process;
pub mod profile;
mod region;
mod window;
mod world;

pub use eeh::PeState;
pub use fault::{Fault, Operation};
pub use inspect::{HostCorrupted, LeftBehind, RegionView, TceView, WindowView};
pub use kernel::SimKernel;
pub use machine::SimMachine;
pub use profile::Profile;
pub use window::entry::TceAccess;
pub use world::Unbind;
