//! Everything the commands need that a machine may lack: found, or fetched into a private cache.
//! Nothing is installed into the system, so nothing here needs rights.

mod apt;
pub(crate) mod cache;
mod debian;
pub(crate) mod dpdk;
pub(crate) mod kernel;
mod modules;
mod need;
pub(crate) mod python;
pub(crate) mod qemu;
pub(crate) mod rust;
mod sources;
pub(crate) mod wasi;

use anyhow::Result;

use cache::Cache;
use kernel::{Kernel, Pages, Release};
use qemu::Qemu;
use rust::{Rust, Target};

/// All that the commands and the usual test run need.
pub(crate) fn everything(cache: &Cache) -> Result<()> {
    rust::provide_checkers()?;
    Rust::provide(cache, Target::Wasm)?;
    python::ZIG.provide(cache)?;
    wasi::provide(cache)?;
    lab(cache)
}

/// What the POWER lab needs for its usual runs.
fn lab(cache: &Cache) -> Result<()> {
    Rust::provide(cache, Target::Power)?;
    Qemu::provide(cache)?;
    kernel::busybox(cache)?;
    for pages in [Pages::P4k, Pages::P64k] {
        Kernel::provide(cache, Release::V6_12, pages)?;
    }
    Ok(())
}
