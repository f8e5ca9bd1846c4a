//! A policy in a process of its own.
//!
//! The process is this program once more ([`Program`]). Before it reads anything it gives up all that it does not need
//! to compute: descriptors, capabilities, and every system call but a few (`sandbox.rs`). Then it does one of two things.
//! It compiles a component and ends; or it is sent what such a process made, and answers questions, one at a time. Code
//! that breaks out of WebAssembly is in a process that has nothing: no device, no file, no memory of the engine's.
//!
//! Whatever becomes of the process, each question gets an evaluation: the process is watched by the clock, killed if it
//! is late, and started again ([`WorkerPolicy`]).

mod compile;
mod policy;
mod process;
mod protocol;
mod sandbox;
mod serve;

pub(super) use compile::compile;
pub use policy::WorkerPolicy;
pub use process::Program;
pub use sandbox::Attempt;
pub use serve::{examine, serve};
