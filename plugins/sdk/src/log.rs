//! Lines for people. Nothing comes back, so that a decision does not depend on them.
//!
//! In a component they go to the host, which keeps some of each decision; elsewhere, as in a test, to standard error.

pub use crate::bindings::has_log::tce::policy::log::Level;

/// Notes a line.
pub fn write(level: Level, line: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::has_log::tce::policy::log::write(level, line);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {line}");
}

/// Notes a line for the author of the policy.
pub fn debug(line: &str) {
    write(Level::Debug, line);
}

/// Notes a line for the operator.
pub fn note(line: &str) {
    write(Level::Note, line);
}

/// Notes a line that the operator should see soon.
pub fn warning(line: &str) {
    write(Level::Warning, line);
}
