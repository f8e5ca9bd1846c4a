//! Bad input, end to end: the command's exit codes and messages, and that nothing is left behind.
//!
//! What a simulated machine can show is run twice: by the command, and through the library on a machine that is looked
//! at afterwards.

#![forbid(unsafe_code)]

mod author;
mod broken_policies;
mod common;
mod demands;
mod documents;
mod files;
mod left_behind;
mod machines;
mod policy_files;
mod settings;
mod signatures;
mod steps;
mod time;
mod traces;
