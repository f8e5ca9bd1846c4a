//! Traces: their format, their readers, what lint and replay say of them.
#![forbid(unsafe_code)]

mod clean;
mod fixtures;
mod format;
mod notations;
mod rules;
mod scene;
