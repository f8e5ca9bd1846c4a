//! Windows over the simulated machine: which there can be, how they come and go, and what a partition's firmware makes
//! of it.

#[path = "../engine/bench.rs"]
#[allow(dead_code, reason = "it serves other tests as well")]
mod bench;
mod default_window;
mod partition;
mod random;
mod removal;
mod reserved;
mod shapes;
#[path = "../engine/truth.rs"]
mod truth;
