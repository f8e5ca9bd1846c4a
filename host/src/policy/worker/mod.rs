//! A policy in a process of its own.
//!
//! The process is this program once more ([`Program`]). Before it reads anything it gives up all that it does not need
//! to compute: descriptors, capabilities, and every system call but a few (`sandbox.rs`). Then it is sent the component,
//! compiles it, and answers questions, one at a time. Code that breaks out of WebAssembly is in a process that has
//! nothing: no device, no file, no memory of the engine's.
//!
//! Whatever becomes of the process, each question gets an evaluation: the process is watched by the clock, killed if it
//! is late, and started again ([`WorkerPolicy`]).

mod policy;
mod process;
mod protocol;
mod sandbox;
mod serve;

pub use policy::WorkerPolicy;
pub use process::Program;
pub use sandbox::Attempt;
pub use serve::{examine, serve};
