//! The reports the lab compares its own with: the same jobs on the simulated machines, run here.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run;
use crate::workspace::Workspace;

const PROGRAM: &str = "tce-reference";

/// Writes them anew with what is in the checkout now.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let context = "writing the reference reports for the lab";
    let mut cargo = run::cargo();
    cargo.current_dir(workspace.root());
    // Of the whole workspace, so that the dependencies are those that the tests have built.
    run::run(cargo.args(["build", "--release", "--workspace", "--bin", PROGRAM]))
        .context(context)?;
    let mut program = run::command(workspace.target().join("release").join(PROGRAM));
    run::run(program.current_dir(workspace.root()).arg(folder(workspace))).context(context)
}

pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("lab/reference")
}
