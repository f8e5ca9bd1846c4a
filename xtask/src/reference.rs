//! The reports the lab compares its own with: the same jobs on the simulated machines, run here.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run;
use crate::workspace::Workspace;

const PACKAGE: &str = "tce-tests";
const PROGRAM: &str = "tce-reference";

/// Writes them anew with what is in the checkout now.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.current_dir(workspace.root());
    cargo.args(["run", "--release", "--package", PACKAGE, "--bin", PROGRAM, "--"]);
    run::run(cargo.arg(folder(workspace))).context("writing the reference reports for the lab")
}

pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("lab/reference")
}
