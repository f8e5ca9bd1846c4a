//! Builds the static programs for powerpc64le that run inside the lab.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::setup::cache::Cache;
use crate::setup::rust::{Rust, Target};
use crate::workspace::Workspace;
use crate::{run, say};

/// Whose programs go into the lab.
const PACKAGES: [&str; 2] = ["tce-host", "tce-tests"];

/// Builds them; a second time only what changed.
pub(crate) fn build(workspace: &Workspace, cache: &Cache) -> Result<()> {
    if programs(workspace).is_empty() {
        say::note(format!("no programs to build for the lab in {}", PACKAGES.join(", ")));
        return Ok(());
    }
    let rust = Rust::provide(cache, Target::Power)?;
    let mut cargo = rust.build(&target(workspace))?;
    cargo.current_dir(workspace.root()).args(["--release", "--bins"]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    // Symbols would only be carried into each boot.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run::run(&mut cargo).context("building for powerpc64le")
}

/// The programs' files, whether they are built yet or not.
pub(crate) fn programs(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = target(workspace).join(Target::Power.triple()).join("release");
    PACKAGES
        .iter()
        .flat_map(|package| workspace.programs(package))
        .map(|program| folder.join(program))
        .collect()
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("power")
}
