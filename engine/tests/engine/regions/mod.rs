//! Regions: pieces, sharing, and what is left when calls fail.

mod bench;
mod chunks;
mod containment;
mod faults;
mod leaks;
mod sharing;
mod simulation;
