//! Runs the tutorial for authors of policies: every command of the page, in order, in an empty folder outside this
//! repository.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::plugins::Language;
use crate::run;
use crate::setup::cache::Cache;
use crate::setup::python::{self, Tool};
use crate::setup::rust::{Rust, Target};
use crate::workspace::Workspace;

const PAGE: &str = "docs/tutorial.md";

/// Builds `tce`, and lets the page's commands for this language use it.
pub(crate) fn run(language: Language, workspace: &Workspace, cache: &Cache) -> Result<()> {
    let mut build = run::cargo();
    build.current_dir(workspace.root()).args(["build", "--release", "--workspace", "--bin", "tce"]);
    run::run(&mut build)?;
    let page = fs::read_to_string(workspace.root().join(PAGE)).context(PAGE)?;
    let script = script(&page, language);
    ensure!(!script.is_empty(), "{PAGE} has no commands for {language:?}");
    let folder = Folder::new()?;
    let tools = folder.0.join("bin");
    fs::create_dir(&tools)?;
    match language {
        Language::Rust => cargo_with_target(&tools, &Rust::provide(cache, Target::Wasm)?)?,
        Language::C => program(&tools, "zig", &python::zig(cache)?)?,
        Language::Python => program(&tools, "componentize-py", &python::componentize(cache)?)?,
    }
    let empty = folder.0.join("empty");
    fs::create_dir(&empty)?;
    let mut shell = run::command("sh");
    shell.args(["-eux", "-c", &script]).current_dir(&empty).env_remove("CARGO_TARGET_DIR");
    // Zig keeps what it compiled; not in the user's folder.
    let zig = workspace.target().join("guests/c/zig");
    shell.env("ZIG_GLOBAL_CACHE_DIR", &zig).env("ZIG_LOCAL_CACHE_DIR", &zig);
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [tools, workspace.target().join("release")];
    let paths = paths.into_iter().chain(env::split_paths(&path));
    shell.env("PATH", env::join_paths(paths)?);
    run::run(&mut shell).with_context(|| format!("the commands of {PAGE}"))
}

/// What stands in the page's blocks of shell commands for a language. Blocks without one are Rust's.
fn script(page: &str, language: Language) -> String {
    let start = match language {
        Language::Rust => "```sh",
        Language::C => "```sh c",
        Language::Python => "```sh python",
    };
    let mut script = String::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, line) if line == start => inside = true,
            (true, "```") => inside = false,
            (true, command) => {
                script.push_str(command);
                script.push('\n');
            }
            (false, _) => {}
        }
    }
    script
}

/// A script that starts a tool.
fn program(tools: &Path, name: &str, tool: &Tool) -> Result<()> {
    let command = tool.command();
    let mut lines = vec!["#!/bin/sh".to_owned()];
    lines.extend(exports(&command)?);
    lines.push(format!("exec {} \"$@\"\n", quoted(command.get_program())?));
    script_file(&tools.join(name), &lines.join("\n"))
}

fn script_file(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A text as the shell reads it.
fn quoted(text: &OsStr) -> Result<String> {
    let text = text.to_str().context("a path that is no text")?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The lines that set the variables of a command.
fn exports(command: &Command) -> Result<Vec<String>> {
    let line = |(name, value): (&OsStr, Option<&OsStr>)| {
        let name = name.to_str().context("a name that is no text")?;
        Ok(match value {
            Some(value) => format!("export {name}={}", quoted(value)?),
            None => format!("unset {name}"),
        })
    };
    command.get_envs().map(line).collect()
}

/// A `cargo` that can build for WebAssembly, where the user's own cannot: it stands before that one in PATH.
fn cargo_with_target(tools: &Path, rust: &Rust) -> Result<()> {
    let build = rust.build(Path::new("target"))?;
    let own = run::output(run::command("sh").args(["-c", "command -v cargo"]))?;
    let text = wrapper(&build, own.trim(), Target::Wasm.triple())?;
    script_file(&tools.join("cargo"), &text)
}

/// A script that builds for the target as this command does, and leaves all else to the user's cargo.
fn wrapper(build: &Command, own: &str, triple: &str) -> Result<String> {
    let mut lines = vec!["#!/bin/sh".to_owned(), format!("case \" $* \" in *' {triple} '*)")];
    lines.extend(exports(build)?);
    let unstable = build.get_args().filter(|it| it.to_string_lossy().starts_with("-Z"));
    let unstable: Vec<String> = unstable.map(quoted).collect::<Result<_>>()?;
    let program = quoted(build.get_program())?;
    lines.push(format!("exec {program} \"$@\" {};;", unstable.join(" ")));
    lines.push("esac".to_owned());
    lines.push(format!("exec {} \"$@\"\n", quoted(OsStr::new(own))?));
    Ok(lines.join("\n"))
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("tce-tutorial-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{script, wrapper};
    use crate::plugins::Language;
    use std::process::Command;

    #[test]
    fn commands_are_what_stands_in_blocks_of_shell_for_the_language() {
        let page = "text\n```sh\none\ntwo\n```\nmore\n```rust\nno\n```\n```sh\nthree\n```\n\
                    ```sh c\nfour\n```\n";
        assert_eq!(script(page, Language::Rust), "one\ntwo\nthree\n");
        assert_eq!(script(page, Language::C), "four\n");
        assert_eq!(script(page, Language::Python), "");
    }

    #[test]
    fn only_builds_for_the_target_take_the_other_cargo() {
        let mut build = Command::new("/other's/cargo");
        build.args(["build", "-Zbuild-std=std"]).env("RUSTC", "/other/rustc").env_remove("CARGO");
        let text = wrapper(&build, "/own/cargo", "wasm").expect("text");
        assert_eq!(
            text,
            "#!/bin/sh\ncase \" $* \" in *' wasm '*)\nunset CARGO\nexport RUSTC='/other/rustc'\n\
             exec '/other'\\''s/cargo' \"$@\" '-Zbuild-std=std';;\nesac\nexec '/own/cargo' \"$@\"\n"
        );
    }
}
