//! A guest's TCE hypercalls, from its registers to the simulated hardware.

#[allow(dead_code, reason = "the bench has more than these tests use")]
#[path = "../engine/bench.rs"]
mod bench;
mod buses;
mod checks;
mod counts;
mod dma;
mod failures;
mod get;
mod guest;
mod lists;
mod model;
