//! Death at any instant: a process that is busy with the engine is killed, and nothing of it may remain.
//!
//! [`busy`] is what the process does, on any machine. [`kills`] kills it again and again on a real kernel, each time in a
//! phase of its work ([`phase`]), and compares what the machine holds ([`held`]) with what it held before.

pub mod busy;
pub mod held;
pub mod kills;
pub mod phase;
