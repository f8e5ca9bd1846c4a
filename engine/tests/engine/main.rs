//! The engine over the simulated machine: what it refuses, what it does, and what it leaves behind when calls fail.
//!
//! Numbers in comments are those of the engine's invariants in ARCHITECTURE.md.

mod addresses;
mod batches;
mod bench;
mod charges;
mod deferred;
mod devices;
mod dice;
mod freeze;
mod groups;
mod growth;
mod guests;
mod leases;
mod order;
mod papr;
mod parting;
mod refusals;
mod regions;
mod simulation;
mod takedown;
mod terms;
mod truth;
mod windows;
mod witness;
mod worlds;
