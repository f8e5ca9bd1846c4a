//! Builds the policies: each marked package as a core module, and that module as a component; and those in C and Python.

mod c;
mod py;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use crate::setup::cache::Cache;
use crate::setup::rust::{Rust, Target};
use crate::workspace::Workspace;
use crate::{run, say};

const PROFILE: &str = "plugin";

/// What a policy is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// The packages of the workspace.
    Rust,
    /// Fetches Zig, if there is none.
    C,
    /// Fetches componentize-py, if there is none.
    Python,
}

/// Builds every component in this language into `target/plugins/NAME.wasm`.
pub(crate) fn build_in(language: Language, workspace: &Workspace, cache: &Cache) -> Result<()> {
    fs::create_dir_all(workspace.plugins())?;
    match language {
        Language::Rust => build(workspace, cache),
        Language::C => c::build(workspace, cache),
        Language::Python => py::build(workspace, cache),
    }
}

/// Builds every component of the workspace into `target/plugins/NAME.wasm`.
pub(crate) fn build(workspace: &Workspace, cache: &Cache) -> Result<()> {
    let components = workspace.components()?;
    if components.is_empty() {
        say::note("no package is marked as a component ([package.metadata.tce] component = true)");
        return Ok(());
    }
    let rust = Rust::provide(cache, Target::Wasm)?;
    let target = workspace.target().join("guests");
    let mut cargo = rust.build(&target)?;
    cargo.current_dir(workspace.root()).args(["--profile", PROFILE, "--lib"]);
    for (package, _) in &components {
        cargo.args(["--package", package]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remap(&rust, workspace));
    run::run(&mut cargo).context("building the policies as core modules")?;
    fs::create_dir_all(workspace.plugins())?;
    let modules = target.join(Target::Wasm.triple()).join(PROFILE);
    for (package, library) in &components {
        let module = modules.join(format!("{library}.wasm"));
        let component = workspace.plugins().join(format!("{package}.wasm"));
        componentize(&module, &component)
            .with_context(|| format!("making a component of {}", module.display()))?;
    }
    Ok(())
}

fn componentize(module: &Path, component: &Path) -> Result<()> {
    place(
        &ComponentEncoder::default().validate(true).module(&fs::read(module)?)?.encode()?,
        component,
    )
}

/// Writes a finished component.
fn place(bytes: &[u8], component: &Path) -> Result<()> {
    // An unchanged file keeps its date.
    if fs::read(component).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let temporary = component.with_extension("partial");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, component)?;
    let name = run::file_name(component);
    say::note(format!("component {name}: {} bytes", bytes.len()));
    Ok(())
}

/// A component tells where a panic was; the folders of the machine that built it must not be in there,
/// so that everyone builds the same file.
fn remap(rust: &Rust, workspace: &Workspace) -> OsString {
    let mut folders = vec![(workspace.root().to_owned(), "tce")];
    folders.extend(cargo_home().map(|home| (home, "cargo")));
    folders.extend(rust.remapped_folders());
    let mut flags = OsString::new();
    for (folder, name) in folders {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    flags
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

/// The files of a folder whose names end so, in the order of their names.
fn sources(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let files = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    Ok(files)
}
