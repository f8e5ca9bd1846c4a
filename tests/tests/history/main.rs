//! The kernel's own mistakes of the past, and those that are still open: each as a naive program would make it on the
//! simulated kernel, where it shows, and as the engine does the same job.
//!
//! `docs/kernel.md` says in its section on these tests which trap each is for.

mod authority;
mod bench;
mod counts;
mod document;
mod lists;
mod ranges;
mod windows;
