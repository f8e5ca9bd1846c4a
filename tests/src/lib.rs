//! What crosses the parts of the project.
//!
//! [`scenes`] are stories that hold on any machine: `cargo test` plays them on the simulated ones, the lab suite
//! (`tce-lab`) on a real kernel inside the POWER lab.

#![forbid(unsafe_code)]

pub mod answers;
pub mod bench;
pub mod crash;
pub mod jobs;
pub mod peers;
pub mod rig;
pub mod sample;
pub mod scenes;
pub mod spoiled;
pub mod stage;
pub mod unbinding;
