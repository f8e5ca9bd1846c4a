//! Policies in C: bindings made from the WIT, Zig's clang as the compiler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;
use wit_parser::Resolve;

use super::{place, sources};
use crate::run;
use crate::setup::cache::Cache;
use crate::setup::python;
use crate::workspace::Workspace;

/// The folder of each policy in C, below `plugins/`, and what its component is called.
const POLICIES: [&str; 1] = ["tight-c"];
/// The world that all of them are written for.
const WORLD: &str = "policy";

/// A library, with a start function that has nothing to do. Of WASI's C library only what needs no import may be used.
const FLAGS: [&str; 9] = [
    "--target=wasm32-wasi",
    "-mexec-model=reactor",
    "-std=c11",
    "-Os",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,--strip-all",
    // The usual 16 MiB are all the memory that a policy may have.
    "-Wl,-z,stack-size=262144",
];

pub(super) fn build(workspace: &Workspace, cache: &Cache) -> Result<()> {
    let zig = python::ZIG.provide(cache)?;
    let target = workspace.target().join("guests/c");
    let bindings = bindings(&workspace.root().join("wit"), &target.join("bindings"))?;
    for name in POLICIES {
        let folder = workspace.root().join("plugins").join(name);
        let module = target.join(format!("{name}.wasm"));
        let mut clang = zig.command();
        clang.arg("cc").args(FLAGS).arg("-I").arg(&bindings.folder).arg("-I").arg(&folder);
        clang.args(sources(&folder, "c")?).args(&bindings.files).arg("-o").arg(&module);
        // Zig keeps what it compiled; not in the user's folder.
        clang.env("ZIG_GLOBAL_CACHE_DIR", target.join("zig"));
        clang.env("ZIG_LOCAL_CACHE_DIR", target.join("zig"));
        run::output(&mut clang).with_context(|| format!("compiling plugins/{name}"))?;
        let mut encoder = ComponentEncoder::default().validate(true).module(&fs::read(&module)?)?;
        place(&encoder.encode()?, &workspace.plugins().join(format!("{name}.wasm")))
            .with_context(|| format!("making a component of {}", module.display()))?;
    }
    Ok(())
}

/// What wit-bindgen makes of the WIT.
struct Bindings {
    folder: PathBuf,
    /// What is to be compiled and linked.
    files: Vec<PathBuf>,
}

fn bindings(wit: &Path, folder: &Path) -> Result<Bindings> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    let mut files = Files::default();
    Opts::default().build().generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    for (name, content) in files.iter() {
        let file = folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        if !name.ends_with(".h") {
            written.push(file);
        }
    }
    if written.is_empty() {
        bail!("wit-bindgen made nothing of {}", wit.display());
    }
    Ok(Bindings { folder: folder.to_owned(), files: written })
}
