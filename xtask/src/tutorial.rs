//! Runs the tutorial for authors of policies: every command of the page, in order, in an empty folder outside this
//! repository. A project gets its tools as the page says, by its own `tools.sh`. Where this machine cannot do that, it
//! is said, and the tools of the private folder stand in.

mod page;
mod programs;

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::plugins::Language;
use crate::setup::cache::Cache;
use crate::setup::python::{self, Package};
use crate::setup::rust::{Rust, Target};
use crate::setup::wasi;
use crate::workspace::Workspace;
use crate::{run, say};

const PAGE: &str = "docs/tutorial.md";

/// Builds `tce`, and lets the page's commands for this language use it. What was not tried is returned.
pub(crate) fn run(
    language: Language,
    workspace: &Workspace,
    cache: &Cache,
) -> Result<Option<String>> {
    let mut build = run::cargo();
    build.current_dir(workspace.root()).args(["build", "--release", "--workspace", "--bin", "tce"]);
    run::run(&mut build)?;
    let page = fs::read_to_string(workspace.root().join(PAGE)).context(PAGE)?;
    let script = page::script(&page, language);
    ensure!(!script.is_empty(), "{PAGE} has no commands for {language:?}");
    match language {
        Language::Rust => {
            let stage = Stage::new(workspace)?;
            programs::cargo(&stage.programs(), &Rust::provide(cache, Target::Wasm)?)?;
            stage.play(&script)?;
            Ok(None)
        }
        Language::C => {
            let untried = with_tool(&script, &python::ZIG, workspace, cache)?;
            with_wasi_sdk(&script, workspace, cache)?;
            Ok(untried)
        }
        Language::Python => with_tool(&script, &python::COMPONENTIZE, workspace, cache),
    }
}

/// The commands where `tools.sh` gets this package. What was not tried is returned.
fn with_tool(
    script: &str,
    package: &Package,
    workspace: &Workspace,
    cache: &Cache,
) -> Result<Option<String>> {
    let tools = page::TOOLS;
    ensure!(script.lines().any(|line| line == tools), "{PAGE} does not run {tools}");
    let Err(error) = Stage::new(workspace)?.play(script) else {
        let own = run::in_path(package.program());
        return Ok(own.map(|own| format!("with {}, not with what {tools} got", own.display())));
    };
    let stage = Stage::new(workspace)?;
    // What this machine can do, tools.sh must do.
    let Err(why) = package.try_in_environment(&stage.folder.join("environment")) else {
        return Err(error);
    };
    let untried = format!("{tools} could NOT be tried");
    say::note(format!("{untried}, the tool of xtask stands in: {why:#}"));
    programs::tool(&stage.programs(), package.program(), &package.provide(cache)?)?;
    stage.play(&page::without_tools(script))?;
    Ok(Some(untried))
}

/// The commands for C where wasi-sdk is the compiler.
fn with_wasi_sdk(script: &str, workspace: &Workspace, cache: &Cache) -> Result<()> {
    let mut stage = Stage::new(workspace)?;
    let sdk = wasi::sdk(cache, &stage.folder.join("wasi-sdk"))?;
    say::note(format!("the same with {}", sdk.what));
    stage.settings.push(("WASI_SDK_PATH", sdk.folder));
    programs::forbidden(&stage.programs(), python::ZIG.program())?;
    stage.play(&page::without_tools(script)).with_context(|| format!("with {}", sdk.what))
}

/// Where commands run: an empty folder, and beside it the programs that stand first in PATH. It goes with its owner.
struct Stage {
    folder: PathBuf,
    /// Where cargo builds this repository.
    target: PathBuf,
    settings: Vec<(&'static str, PathBuf)>,
}

impl Stage {
    fn new(workspace: &Workspace) -> Result<Self> {
        let folder = env::temp_dir().join(format!("tce-tutorial-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Zig keeps what it compiled; neither in the user's folder nor for ever.
        let settings = ["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"];
        let settings = settings.map(|name| (name, folder.join("zig"))).to_vec();
        let stage = Self { folder, target: workspace.target().to_owned(), settings };
        fs::create_dir(stage.programs())?;
        fs::create_dir(stage.empty())?;
        Ok(stage)
    }

    fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    fn empty(&self) -> PathBuf {
        self.folder.join("empty")
    }

    /// Runs the commands; the first that fails ends it. Settings of the user's do not count.
    fn play(&self, script: &str) -> Result<()> {
        let mut shell = run::command("sh");
        shell.args(["-eux", "-c", script]).current_dir(self.empty());
        for name in ["CARGO_TARGET_DIR", "TCE", "WASI_SDK_PATH"] {
            shell.env_remove(name);
        }
        shell.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let path = env::var_os("PATH").unwrap_or_default();
        let paths = [self.programs(), self.target.join("release")];
        let paths = paths.into_iter().chain(env::split_paths(&path));
        shell.env("PATH", env::join_paths(paths)?);
        run::run(&mut shell).with_context(|| format!("the commands of {PAGE}"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
