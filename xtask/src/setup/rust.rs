//! Rust for the two targets that are not this machine: the user's own toolchain where it has the
//! target or rustup can fetch it, else Debian's Rust of one version with its sources, from which cargo
//! builds the standard library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::apt::library_path;
use super::cache::Cache;
use super::need::{Need, Suite};
use crate::{run, say};

/// rustup gives no sign of life while it waits for a server that does not answer.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);

const DEBIAN_RUST: Need<'_> = Need {
    item: "debian-rust-1",
    packages: &["rustc-web", "cargo-web", "rust-web-src"],
    why: "building for wasm32 and powerpc64le (Rust with the sources of its standard library)",
    remedy: "rustup target add wasm32-unknown-unknown powerpc64le-unknown-linux-gnu",
    suite: Suite::Release,
};

const CROSS: Need<'_> = Need {
    item: "debian-cross-1",
    packages: &["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"],
    why: "linking tce for powerpc64le",
    remedy: "install gcc-powerpc64le-linux-gnu and libc6-dev-ppc64el-cross, or what they are called here",
    suite: Suite::Release,
};

const CROSS_GCC: &str = "powerpc64le-linux-gnu-gcc";
const CROSS_AR: &str = "powerpc64le-linux-gnu-ar";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Wasm,
    Power,
}

impl Target {
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Wasm => "wasm32-unknown-unknown",
            Self::Power => "powerpc64le-unknown-linux-gnu",
        }
    }

    fn std_parts(self) -> &'static str {
        match self {
            Self::Wasm => "std,panic_abort",
            Self::Power => "std,panic_unwind",
        }
    }
}

/// A Rust that builds for one target.
pub(crate) struct Rust {
    target: Target,
    source: Source,
    cross: Option<Cross>,
}

enum Source {
    /// The user's toolchain has the target.
    Toolchain,
    /// Extracted packages; the standard library is built with the program.
    Debian(PathBuf),
}

/// The C compiler that links for powerpc64le; without a folder it stands in PATH.
struct Cross {
    folder: Option<PathBuf>,
}

impl Rust {
    pub(crate) fn provide(cache: &Cache, target: Target) -> Result<Self> {
        let source = source(cache, target)?;
        let cross = match target {
            Target::Wasm => None,
            Target::Power => Some(cross(cache)?),
        };
        Ok(Self { target, source, cross })
    }

    /// `cargo build` for the target into `target_dir`; the caller says what to build.
    pub(crate) fn build(&self, target_dir: &Path) -> Result<Command> {
        let mut command = match &self.source {
            Source::Toolchain => run::cargo(),
            Source::Debian(root) => debian_cargo(root),
        };
        command.args(["build", "--target", self.target.triple()]);
        command.arg("--target-dir").arg(target_dir);
        if matches!(self.source, Source::Debian(_)) {
            let parts = self.target.std_parts();
            command.arg(format!("-Zbuild-std={parts}"));
        }
        let roots = self.roots();
        if !roots.is_empty() {
            command.env("LD_LIBRARY_PATH", library_path(&roots)?);
        }
        match &self.cross {
            None => command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", rust_lld()?),
            Some(cross) => cross.set(&mut command),
        };
        Ok(command)
    }

    /// Where extracted packages are used.
    fn roots(&self) -> Vec<&Path> {
        let rust = match &self.source {
            Source::Toolchain => None,
            Source::Debian(root) => Some(root.as_path()),
        };
        let cross = self.cross.as_ref().and_then(|cross| cross.folder.as_deref());
        rust.into_iter().chain(cross).collect()
    }

    /// The folders whose names would otherwise end up in what is built, with what stands for them.
    pub(crate) fn remapped_folders(&self) -> Vec<(PathBuf, &'static str)> {
        match &self.source {
            Source::Toolchain => Vec::new(),
            Source::Debian(root) => vec![(root.clone(), "rust")],
        }
    }
}

impl Cross {
    fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let tool = |name: &str| match &self.folder {
            Some(folder) => folder.join("usr/bin").join(name),
            None => PathBuf::from(name),
        };
        let upper = "CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU";
        command.env(format!("{upper}_LINKER"), tool(CROSS_GCC));
        // A static program runs in a machine that has nothing but it.
        command.env(format!("{upper}_RUSTFLAGS"), "-C target-feature=+crt-static");
        command.env("CC_powerpc64le_unknown_linux_gnu", tool(CROSS_GCC));
        command.env("AR_powerpc64le_unknown_linux_gnu", tool(CROSS_AR))
    }
}

/// The parts of a toolchain that check it; rustup's minimal profile leaves them out.
pub(crate) fn provide_checkers() -> Result<()> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let works = || run::output(run::cargo().args([tool, "--version"])).is_ok();
        if works() {
            continue;
        }
        let add = format!("rustup component add {component}");
        let task = say::Task::start(format!("{add}, to check the sources"));
        let mut rustup = run::command("rustup");
        rustup.args(["component", "add", component]);
        // Whether it came is asked below; why it did not, the user sees by running it.
        let _ = run::output_within(&mut rustup, RUSTUP_LIMIT);
        if !works() {
            let why = "the formatting and lint steps of cargo xtask test";
            return Err(run::missing(&format!("cargo {tool}"), why, &add));
        }
        task.done("installed");
    }
    Ok(())
}

fn debian_cargo(root: &Path) -> Command {
    let mut command = run::command(root.join("usr/bin/cargo"));
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"] {
        command.env_remove(name);
    }
    command.env("RUSTC", root.join("usr/bin/rustc"));
    command.env("RUSTDOC", root.join("usr/bin/rustdoc"));
    // Building the standard library is an unstable option of cargo.
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

fn source(cache: &Cache, target: Target) -> Result<Source> {
    if has_std(target) {
        return Ok(Source::Toolchain);
    }
    if let Some(root) = cache.get(DEBIAN_RUST.item) {
        return Ok(Source::Debian(root));
    }
    if run::in_path("rustup").is_some() {
        let triple = target.triple();
        let task = say::Task::start(format!("rustup target add {triple}, to build for it"));
        let mut command = run::command("rustup");
        command.args(["target", "add", triple]);
        let added = run::output_within(&mut command, RUSTUP_LIMIT);
        if added.is_ok() && has_std(target) {
            task.done("installed");
            return Ok(Source::Toolchain);
        }
        task.done("rustup cannot get it here; trying Debian's packages instead");
    }
    Ok(Source::Debian(DEBIAN_RUST.provide(cache)?))
}

/// Whether the user's toolchain has the standard library for the target.
fn has_std(target: Target) -> bool {
    let mut rustc = run::command("rustc");
    rustc.args(["--print", "target-libdir", "--target", target.triple()]);
    let Ok(folder) = run::output(&mut rustc) else {
        return false;
    };
    let Ok(mut entries) = fs::read_dir(folder.trim()) else {
        return false;
    };
    entries.any(|entry| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

fn cross(cache: &Cache) -> Result<Cross> {
    // A compiler without the C library for the target names the file without a folder.
    let mut probe = run::command(CROSS_GCC);
    let usable = run::in_path(CROSS_GCC).is_some()
        && run::output(probe.arg("-print-file-name=libc.a"))
            .is_ok_and(|file| Path::new(file.trim()).is_absolute());
    let folder = if usable { None } else { Some(CROSS.provide(cache)?) };
    Ok(Cross { folder })
}

/// The linker for wasm that comes with every rustup toolchain.
fn rust_lld() -> Result<PathBuf> {
    let sysroot = run::output(run::command("rustc").args(["--print", "sysroot"]))?;
    let version = run::output(run::command("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    if own.is_file() {
        return Ok(own);
    }
    run::in_path("rust-lld").or_else(|| run::in_path("wasm-ld")).ok_or_else(|| {
        run::missing(
            "rust-lld",
            "linking the policy components",
            "use rustup's stable toolchain, which has it, or install lld",
        )
    })
}
