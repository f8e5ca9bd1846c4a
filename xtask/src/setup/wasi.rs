//! wasi-sdk: the user's own, or its layout made of Debian's clang, linker and C library for WebAssembly.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::library_path;
use super::cache::Cache;
use super::need::{Need, Suite};
use crate::run;
use crate::script::{self, exports, quoted};

/// Where the user's own is.
const SETTING: &str = "WASI_SDK_PATH";
/// What the folders of wasi-sdk are called, and what Debian calls them.
const TARGET: &str = "wasm32-wasip1";
const TARGET_DEBIAN: &str = "wasm32-wasi";

/// What clang calls for what the processor cannot do, among clang's own folders.
const BUILTINS: &str = "lib/wasi";

const CLANG: Need<'_> = Need {
    item: "debian-clang-1",
    packages: &["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"],
    why: "building the project of a policy in C as with wasi-sdk",
    remedy: "get wasi-sdk, and say WASI_SDK_PATH=/where/it/is",
    suite: Suite::Release,
};

/// A folder that is laid out as wasi-sdk is.
pub(crate) struct Sdk {
    pub(crate) folder: PathBuf,
    /// What it is, for people.
    pub(crate) what: &'static str,
}

/// The user's own; else one is made in this folder.
pub(crate) fn sdk(cache: &Cache, folder: &Path) -> Result<Sdk> {
    if let Some(own) = env::var_os(SETTING).filter(|value| !value.is_empty()) {
        let folder = fs::canonicalize(own).context(SETTING)?;
        return Ok(Sdk { folder, what: "the wasi-sdk of WASI_SDK_PATH" });
    }
    Parts::provide(cache)?.lay_out(folder)?;
    Ok(Sdk { folder: folder.to_owned(), what: "Debian's clang, laid out as wasi-sdk" })
}

/// Fetches what the machine lacks for it.
pub(crate) fn provide(cache: &Cache) -> Result<()> {
    if env::var_os(SETTING).is_none_or(|value| value.is_empty()) {
        Parts::provide(cache)?;
    }
    Ok(())
}

/// What Debian's packages have. Some of them can be installed, others extracted.
struct Parts {
    /// The extracted packages, if something is not installed.
    root: Option<PathBuf>,
    clang: PathBuf,
    linker: PathBuf,
    headers: PathBuf,
    libraries: PathBuf,
}

impl Parts {
    fn provide(cache: &Cache) -> Result<Self> {
        let complete = |parts: Self| parts.of_clang(BUILTINS).map(|_| parts);
        if let Ok(installed) = Self::find(None).and_then(complete) {
            return Ok(installed);
        }
        let extracted = Self::find(Some(CLANG.provide(cache)?)).and_then(complete);
        extracted.context("Debian's packages of clang for WebAssembly are not what they were")
    }

    fn find(root: Option<PathBuf>) -> Result<Self> {
        let part = |path: &str| find(root.as_deref(), Path::new(path));
        Ok(Self {
            clang: part("usr/bin/clang")?,
            linker: part("usr/bin/wasm-ld")?,
            headers: part(&format!("usr/include/{TARGET_DEBIAN}"))?,
            libraries: part(&format!("usr/lib/{TARGET_DEBIAN}"))?,
            root,
        })
    }

    /// Clang itself.
    fn command(&self) -> Result<Command> {
        let mut clang = run::command(&self.clang);
        if let Some(root) = &self.root {
            clang.env("LD_LIBRARY_PATH", library_path(&[root])?);
        }
        Ok(clang)
    }

    /// A folder among clang's own.
    fn of_clang(&self, part: &str) -> Result<PathBuf> {
        let folder = run::output(self.command()?.arg("--print-resource-dir"))?;
        let folder = Path::new(folder.trim()).join(part);
        let inside = places(self.root.as_deref()).find_map(|place| folder.strip_prefix(place).ok());
        find(self.root.as_deref(), inside.context("clang's own folder is elsewhere")?)
    }

    fn lay_out(&self, sdk: &Path) -> Result<()> {
        let (own, root) = (sdk.join("lib/clang/debian"), sdk.join("share/wasi-sysroot"));
        link(&self.of_clang("include")?, &own.join("include"))?;
        link(&self.of_clang(BUILTINS)?, &own.join("lib").join("wasip1"))?;
        link(&self.headers, &root.join("include").join(TARGET))?;
        link(&self.libraries, &root.join("lib").join(TARGET))?;
        link(&self.linker, &sdk.join("bin/wasm-ld"))?;
        // wasi-sdk's clang knows where these are, and finds its linker beside it.
        let clang = self.command()?;
        let mut lines = exports(&clang)?;
        let (bin, own, root) = (quoted(sdk.join("bin"))?, quoted(own)?, quoted(root)?);
        let program = quoted(clang.get_program())?;
        lines.push(format!("exec {program} -B {bin} -resource-dir {own} --sysroot {root} \"$@\""));
        script::write(&sdk.join("bin/clang"), &lines)
    }
}

/// Where parts can be: extracted, or installed.
fn places(root: Option<&Path>) -> impl Iterator<Item = &Path> {
    root.into_iter().chain([Path::new("/")])
}

fn find(root: Option<&Path>, part: &Path) -> Result<PathBuf> {
    let mut paths = places(root).map(|place| place.join(part));
    paths.find(|path| path.exists()).with_context(|| format!("there is no {}", part.display()))
}

fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a link without a folder")?)?;
    symlink(from, to).with_context(|| format!("cannot make {}", to.display()))
}
