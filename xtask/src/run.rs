//! Running other programs: a clean environment, an error that says which command failed and what it
//! printed, and a time limit where a program may hang. It does not know which programs they are.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's own words that are repeated in the error.
const WORDS_LINES_MAX: usize = 25;

/// A command without what `cargo run` put into the environment for xtask alone.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    match foreign_library_path() {
        Some(path) => command.env("LD_LIBRARY_PATH", path),
        None => command.env_remove("LD_LIBRARY_PATH"),
    };
    command
}

/// The user's cargo and toolchain.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo run` prepends its own folders; what stood there before stays.
fn foreign_library_path() -> Option<OsString> {
    let path = env::var_os("LD_LIBRARY_PATH")?;
    let own = |entry: &Path| {
        entry.components().any(|part| {
            let part = part.as_os_str();
            part == "target" || part == ".rustup" || part == "toolchains"
        })
    };
    let rest: Vec<PathBuf> = env::split_paths(&path)
        .filter(|entry| !entry.as_os_str().is_empty() && !own(entry))
        .collect();
    (!rest.is_empty()).then(|| env::join_paths(rest).ok()).flatten()
}

/// Runs it with the user's own input and output; fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start: {}", shown(command)))?;
    if !status.success() {
        bail!("{status}: {}", shown(command));
    }
    Ok(())
}

/// Runs it without input and returns what it printed; its words appear only if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start: {}", shown(command)))?;
    check(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`output`], but ended after `limit`.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start: {}", shown(command)))?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("no end after {} s: {}", limit.as_secs(), shown(command));
        }
        sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output()?;
    check(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program of this name in the user's PATH.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The last part of a path, for people and comparisons.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// An error for something that cannot be had: what, why it is needed, what the user can do.
pub(crate) fn missing(what: &str, why: &str, remedy: &str) -> anyhow::Error {
    anyhow::anyhow!("{what} is missing\n  needed for: {why}\n  what to do: {remedy}")
}

fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let mut words = String::from_utf8_lossy(&output.stderr).into_owned();
    if words.trim().is_empty() {
        words = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    bail!("{}: {}\n{}", output.status, shown(command), last_lines(&words, WORDS_LINES_MAX));
}

/// The last `count` lines, indented.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(count);
    let shown: Vec<String> = lines.iter().skip(first).map(|line| format!("    {line}")).collect();
    shown.join("\n")
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_the_command_and_its_words() {
        let error = output(command("sh").args(["-c", "echo nothing to see >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("nothing to see"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let limit = Duration::from_millis(100);
        let error = output_within(command("sleep").arg("60"), limit).unwrap_err();
        assert!(error.to_string().contains("sleep 60"));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        assert_eq!(last_lines("a\nb\nc", 2), "    b\n    c");
    }
}
