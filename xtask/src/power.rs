//! Builds the static programs for powerpc64le that run inside the lab.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run;
use crate::setup::cache::Cache;
use crate::setup::rust::{Rust, Target};
use crate::workspace::Workspace;

/// What goes into the lab: each program with its package.
const PROGRAMS: [(&str, &str); 2] = [("tce-host", "tce"), ("tce-tests", "tce-lab")];

/// Builds them; a second time only what changed.
pub(crate) fn build(workspace: &Workspace, cache: &Cache) -> Result<()> {
    let rust = Rust::provide(cache, Target::Power)?;
    let mut cargo = rust.build(&target(workspace))?;
    cargo.current_dir(workspace.root()).arg("--release");
    for (package, program) in PROGRAMS {
        cargo.args(["--package", package, "--bin", program]);
    }
    // Symbols would only be carried into each boot.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run::run(&mut cargo).context("building for powerpc64le")
}

/// The programs' files, whether they are built yet or not.
pub(crate) fn programs(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = target(workspace).join(Target::Power.triple()).join("release");
    PROGRAMS.map(|(_, program)| folder.join(program)).to_vec()
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("power")
}
