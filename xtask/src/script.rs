//! Shell scripts that stand for a program: what they consist of, and how they get into a file. It knows no program.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Writes a script that can be started.
pub(crate) fn write(file: &Path, lines: &[String]) -> Result<()> {
    let text = format!("#!/bin/sh\n{}\n", lines.join("\n"));
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A text as the shell reads it.
pub(crate) fn quoted(text: impl AsRef<OsStr>) -> Result<String> {
    let text = text.as_ref().to_str().context("a path that is no text")?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The lines that set the variables of a command.
pub(crate) fn exports(command: &Command) -> Result<Vec<String>> {
    let line = |(name, value): (&OsStr, Option<&OsStr>)| {
        let name = name.to_str().context("a name that is no text")?;
        Ok(match value {
            Some(value) => format!("export {name}={}", quoted(value)?),
            None => format!("unset {name}"),
        })
    };
    command.get_envs().map(line).collect()
}
