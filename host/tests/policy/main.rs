//! The policy runtime with real components: `tight` and `hostile`, built by `cargo xtask plugins`.

#![forbid(unsafe_code)]

mod compiling;
mod deciding;
mod determinism;
mod evolution;
mod fixtures;
mod hostile;
mod journals;
mod loading;
mod locked_memory;
mod one_source;
mod python;
mod references;
mod settings;
mod support;
mod worker;
