//! A guest's TCE hypercalls, from its registers to the simulated hardware.

mod buses;
mod checks;
mod counts;
mod dma;
mod failures;
mod get;
mod guest;
mod lists;
mod model;
