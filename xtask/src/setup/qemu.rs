//! The emulator of the POWER lab: the machine's own, or Debian's packages extracted into the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::apt::library_path;
use super::cache::Cache;
use super::need::{Need, Suite};
use crate::run;

const PROGRAM: &str = "qemu-system-ppc64";
/// The oldest version the lab was seen to work with.
const VERSION_MIN: (u32, u32) = (7, 2);

const QEMU: Need<'_> = Need {
    item: "debian-qemu-1",
    packages: &["qemu-system-ppc", "qemu-system-data"],
    why: "the POWER lab (the emulator and its firmware)",
    remedy: "install qemu-system-ppc64 7.2 or later",
    suite: Suite::Backports,
};

pub(crate) struct Qemu {
    /// Extracted packages; without them the program stands in PATH.
    root: Option<PathBuf>,
}

impl Qemu {
    pub(crate) fn provide(cache: &Cache) -> Result<Self> {
        if installed_version().is_some_and(|version| version >= VERSION_MIN) {
            return Ok(Self { root: None });
        }
        let root = Some(QEMU.provide(cache)?);
        Ok(Self { root })
    }

    /// The emulator; `wrapper` is a command that starts it, or nothing.
    pub(crate) fn command(&self, wrapper: &[&str]) -> Result<Command> {
        let program = match &self.root {
            Some(root) => root.join("usr/bin").join(PROGRAM),
            None => PathBuf::from(PROGRAM),
        };
        let mut command = match wrapper {
            [] => run::command(program),
            [first, rest @ ..] => {
                let mut command = run::command(first);
                command.args(rest).arg(program);
                command
            }
        };
        if let Some(root) = &self.root {
            command.env("LD_LIBRARY_PATH", library_path(&[root])?);
            command.arg("-L").arg(root.join("usr/share/qemu"));
        }
        Ok(command)
    }
}

fn installed_version() -> Option<(u32, u32)> {
    run::in_path(PROGRAM)?;
    version(&run::output(run::command(PROGRAM).arg("--version")).ok()?)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split("version ").nth(1)?;
    let mut parts = number.split(|byte: char| !byte.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_qemu_prints() {
        let text = "QEMU emulator version 7.2.19 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright";
        assert_eq!(version(text), Some((7, 2)));
        assert_eq!(version("nothing"), None);
    }
}
