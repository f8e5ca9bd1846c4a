//! Programs that stand before the user's own in PATH while the tutorial runs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run;
use crate::script::{self, exports, quoted};
use crate::setup::python::Tool;
use crate::setup::rust::{Rust, Target};

/// A tool by its usual name.
pub(super) fn tool(folder: &Path, name: &str, tool: &Tool) -> Result<()> {
    let command = tool.command();
    let mut lines = exports(&command)?;
    lines.push(format!("exec {} \"$@\"", quoted(command.get_program())?));
    script::write(&folder.join(name), &lines)
}

/// A program that fails, so that the user's own is not taken instead of what is tried.
pub(super) fn forbidden(folder: &Path, name: &str) -> Result<()> {
    let lines = [format!("echo '{name} was started, which is not to be' >&2"), "exit 1".to_owned()];
    script::write(&folder.join(name), &lines)
}

/// A `cargo` that can build for WebAssembly, where the user's own cannot.
pub(super) fn cargo(folder: &Path, rust: &Rust) -> Result<()> {
    let build = rust.build(Path::new("target"))?;
    let own = run::output(run::command("sh").args(["-c", "command -v cargo"]))?;
    let lines = wrapper(&build, own.trim(), Target::Wasm.triple())?;
    script::write(&folder.join("cargo"), &lines)
}

/// A script that builds for the target as this command does, and leaves all else to the user's cargo.
fn wrapper(build: &Command, own: &str, triple: &str) -> Result<Vec<String>> {
    let mut lines = vec![format!("case \" $* \" in *' {triple} '*)")];
    lines.extend(exports(build)?);
    let unstable = build.get_args().filter(|it| it.to_string_lossy().starts_with("-Z"));
    let unstable: Vec<String> = unstable.map(quoted).collect::<Result<_>>()?;
    let program = quoted(build.get_program())?;
    lines.push(format!("exec {program} \"$@\" {};;", unstable.join(" ")));
    lines.push("esac".to_owned());
    lines.push(format!("exec {} \"$@\"", quoted(own)?));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::wrapper;
    use std::process::Command;

    #[test]
    fn only_builds_for_the_target_take_the_other_cargo() {
        let mut build = Command::new("/other's/cargo");
        build.args(["build", "-Zbuild-std=std"]).env("RUSTC", "/other/rustc").env_remove("CARGO");
        let lines = wrapper(&build, "/own/cargo", "wasm").expect("text");
        assert_eq!(
            lines.join("\n"),
            "case \" $* \" in *' wasm '*)\nunset CARGO\nexport RUSTC='/other/rustc'\n\
             exec '/other'\\''s/cargo' \"$@\" '-Zbuild-std=std';;\nesac\nexec '/own/cargo' \"$@\""
        );
    }
}
