//! The simulated kernel against the facts about the real one, call by call and trap by trap.

mod attach;
mod bench;
mod descriptors;
mod dma;
mod faults;
mod map;
mod memory;
mod model;
mod partition;
mod unmap;
mod windows;
