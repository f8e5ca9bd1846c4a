//! The simulated kernel held against a real one.
//!
//! A [`Sequence`](sequence::Sequence) of raw operations is played on two [`Subject`](subject::Subject)s, each time in a
//! process of its own: on the simulated machine, and on the one this program runs on. Every
//! [`Outcome`](outcome::Outcome) must be the same: the result, what was written back, what is charged, and what a
//! device's DMA finds. A [`Generator`](generate::Generator) makes sequences from a seed, and keeps away from what is
//! known to break a kernel; a difference is [made as short](shrink) as it can be.
//!
//! [`checks`] are sequences with a name, an assertion and a reason, for whoever works on the kernel.
#![forbid(unsafe_code)]

pub mod checks;
pub mod compare;
pub mod edu;
pub mod generate;
pub mod machine;
mod notation;
pub mod outcome;
pub mod real;
pub mod run;
pub mod seat;
pub mod sequence;
pub mod shrink;
pub mod stage;
pub mod step;
pub mod subject;
