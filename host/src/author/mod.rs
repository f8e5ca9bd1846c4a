//! What the author of a policy works with: questions and scenarios from files, tests, measurements, random questions,
//! new projects. None of it needs a POWER machine: facts and candidates come from the simulated ones.
//!
//! Nothing here decides anything for a job. [`judge`] says of an answer what [`crate::grant`] and the engine would say.

pub mod bench;
pub mod bindings;
pub mod component;
pub mod diff;
pub mod fuzz;
pub mod generate;
pub mod inspect;
pub mod judge;
pub mod machine;
pub mod project;
pub mod report;
pub mod scenario;
pub mod suite;
