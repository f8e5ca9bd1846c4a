//! The simulated kernel against the facts about the real one, call by call and trap by trap.

mod attach;
mod bench;
mod descriptors;
mod dma;
mod events;
mod faults;
mod functions;
mod guest;
mod hypercalls;
mod kvm;
mod kvm_leases;
mod map;
mod memory;
mod model;
mod observe;
mod partition;
mod processes;
mod quirks;
mod unmap;
mod windows;
