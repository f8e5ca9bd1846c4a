//! Tools that the Python package index ships: Zig, whose clang compiles C to WebAssembly, and componentize-py.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::Cache;
use crate::{run, say};

/// A package of the index.
pub(crate) struct Package {
    /// Its folder in the cache.
    item: &'static str,
    /// What pip is asked for.
    requirement: &'static str,
    /// What it is for.
    why: &'static str,
    /// The program that does as well, if it is in PATH.
    program: &'static str,
    /// Where the package has it.
    inside: &'static str,
}

/// Zig: `zig cc` is clang.
pub(crate) const ZIG: Package = Package {
    item: "zig-0.17.1",
    requirement: "ziglang==0.17.1",
    why: "compiling policies in C",
    program: "zig",
    inside: "ziglang/zig",
};

/// What makes a component of a policy in Python.
pub(crate) const COMPONENTIZE: Package = Package {
    item: "componentize-py-0.25.1",
    requirement: "componentize-py==0.25.1",
    why: "making components of policies in Python",
    program: "componentize-py",
    inside: "bin/componentize-py",
};

/// A program, and the folder of its package.
pub(crate) struct Tool {
    program: PathBuf,
    package: Option<PathBuf>,
}

impl Tool {
    /// How to start it.
    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = run::command(&self.program);
        if let Some(package) = &self.package {
            command.env("PYTHONPATH", package);
        }
        command
    }
}

impl Package {
    /// The user's own, else what the cache has, else what pip brings.
    pub(crate) fn provide(&self, cache: &Cache) -> Result<Tool> {
        if let Some(program) = run::in_path(self.program) {
            return Ok(Tool { program, package: None });
        }
        let Self { item, requirement, why, program, inside } = self;
        let folder = cache.provide(item, |folder| {
            let task = say::Task::start(format!("fetching {requirement} for {why}"));
            let mut pip = run::command("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            pip.args(["--no-compile", "--target"]).arg(folder).arg(requirement);
            run::output(&mut pip).with_context(|| {
                format!(
                    "could not get {requirement}\n  needed for: {why}\n  what to do: install {program}, \
                     or python3 with pip where the Python package index can be reached"
                )
            })?;
            task.done("done");
            Ok(())
        })?;
        Ok(Tool { program: folder.join(inside), package: Some(folder) })
    }

    /// The program's name.
    pub(crate) const fn program(&self) -> &'static str {
        self.program
    }

    /// That a new virtual environment, in this folder, could have it from the index; nothing is installed. It tells a
    /// project's `tools.sh` that is broken from a machine where none would work.
    pub(crate) fn try_in_environment(&self, folder: &Path) -> Result<()> {
        run::output(run::command("python3").args(["-m", "venv"]).arg(folder))?;
        let mut pip = run::command(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]);
        pip.args(["--no-deps", "--retries", "1", "--timeout", "20", self.requirement]);
        run::output(&mut pip)?;
        Ok(())
    }
}
