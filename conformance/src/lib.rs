//! The simulated kernel held against the real one.
#![forbid(unsafe_code)]
