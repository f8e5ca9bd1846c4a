//! A copy of the checkout in which the simulated kernel may be wrong, and the recordings played on it.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run;
use crate::workspace::Workspace;

/// The package and its test that plays the recordings.
const PACKAGE: &str = "tce-conformance";
const TEST: &str = "recordings";
/// A play takes seconds; a busy machine takes its time.
const PLAY_LIMIT: Duration = Duration::from_secs(180);
/// What is read of a play's own words.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// The copy, and the folder of what is built of it.
pub(super) struct Trial {
    root: PathBuf,
    target: PathBuf,
    /// What each play said.
    words: PathBuf,
}

/// How a play ended.
pub(super) enum Played {
    /// Every outcome was as recorded.
    Agreed,
    /// The test failed, with these words.
    Failed(String),
    /// It did not end in this time.
    Endless(Duration),
}

impl Trial {
    /// Copies what git has or would take: tracked files, and untracked ones that are not ignored.
    pub(super) fn prepare(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target().join("mutations");
        let trial = Self {
            root: folder.join("checkout"),
            target: folder.join("target"),
            words: folder.join("words"),
        };
        for stale in [&trial.root, &trial.words] {
            remove_folder(stale)?;
            fs::create_dir_all(stale)
                .with_context(|| format!("cannot make {}", stale.display()))?;
        }
        let mut git = run::command("git");
        git.arg("-C").arg(workspace.root()).args(["ls-files", "-co", "--exclude-standard", "-z"]);
        let listed = run::output(&mut git).context("the files of the checkout cannot be listed")?;
        for file in listed.split_terminator('\0') {
            let from = workspace.root().join(file);
            // A tracked file may have been removed; a target folder need not be ignored.
            if from.is_file() && !from.starts_with(workspace.target()) {
                copy(&from, &trial.root.join(file))?;
            }
        }
        Ok(trial)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a text in a file's place, and returns the one that was there.
    pub(super) fn replace(&self, file: &Path, text: &str) -> Result<String> {
        let path = self.root.join(file);
        let old = super::read(&path)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(old)
    }

    /// Builds the test; returns its program. Without optimisation: a play takes seconds either way, a build does not.
    pub(super) fn build(&self) -> Result<PathBuf> {
        let mut cargo = run::cargo();
        cargo.current_dir(&self.root).env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.args(["test", "--package", PACKAGE, "--test", TEST, "--no-run", "--quiet"]);
        cargo.args(["--message-format", "json-render-diagnostics", "--target-dir"]);
        let messages = run::output(cargo.arg(&self.target))?;
        program(&messages).with_context(|| format!("cargo named no program for the test {TEST}"))
    }

    /// Plays the recordings. What is said is kept under `name`.
    pub(super) fn play(&self, program: &Path, name: &str) -> Result<Played> {
        let path = self.words.join(format!("{name}.txt"));
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = run::command(program);
        command.current_dir(self.root.join("conformance")).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start: {}", run::shown(&command)))?;
        Ok(match end_within(child, PLAY_LIMIT)? {
            None => Played::Endless(PLAY_LIMIT),
            Some(status) if status.success() => Played::Agreed,
            Some(_) => Played::Failed(beginning(&path)?),
        })
    }
}

/// The first outcome that is not what a real kernel gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    machine: String,
    step: String,
    simulated: String,
    real: String,
}

impl Difference {
    /// Finds it in the test's words.
    pub(super) fn first(words: &str) -> Option<Self> {
        let mut machine = String::new();
        let mut lines = words.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(file) = line.strip_suffix(".jsonl.gz:") {
                machine = run::file_name(Path::new(file));
            }
            let Some(simulated) = lines.peek().and_then(|next| labelled(next, "simulated:")) else {
                continue;
            };
            lines.next();
            let real = lines.next().and_then(|next| labelled(next, "real:"))?;
            return Some(Self { machine, step: line.trim().to_owned(), simulated, real });
        }
        None
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, step, simulated, real } = self;
        write!(f, "{machine}, {step}; simulated {simulated}, real {real}")
    }
}

fn labelled(line: &str, label: &str) -> Option<String> {
    line.trim_start().strip_prefix(label).map(|rest| rest.trim().to_owned())
}

/// The test's program, in what cargo says while it builds.
fn program(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut tests = messages.filter(|message| message["target"]["name"] == TEST);
    tests.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// How a program ended, or nothing if it had to be ended.
fn end_within(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
}

fn beginning(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(WORDS_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    let copied = fs::create_dir_all(folder).and_then(|()| fs::copy(from, to));
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) => {
            let is_gone = error.kind() == ErrorKind::NotFound;
            ensure!(is_gone, "cannot remove {}: {error}", folder.display());
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_with_its_machine() {
        let words = "running 2 tests\n\
            thread 'x' panicked at tests/recordings.rs:48:9:\n\
            /a/recordings/powernv9-64k-6.12.jsonl.gz:\n\
            seed 1, sequence 3, step 7: UNMAP_DMA c0 0x0 size 0x1000\n  simulated: 0\n  real:      EINVAL\n\
            seed 1, sequence 4, step 9: TCE_REMOVE c0 0x0\n  simulated: 0\n  real:      1\n";
        let found = Difference::first(words).expect("there is one");
        let shown = "powernv9-64k-6.12, seed 1, sequence 3, step 7: UNMAP_DMA c0 0x0 size 0x1000; \
                     simulated 0, real EINVAL";
        assert_eq!(found.to_string(), shown);
    }

    #[test]
    fn a_failure_of_another_kind_shows_no_difference() {
        assert_eq!(Difference::first("panicked at region.rs: attempt to subtract"), None);
        assert_eq!(Difference::first("step 1\n  simulated: 0\nand no more"), None);
        assert_eq!(Difference::first(""), None);
    }

    #[test]
    fn cargo_names_the_tests_program() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"tce_sim\"},\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"recordings\"},\"executable\":\"/t/recordings-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(program(messages), Some(PathBuf::from("/t/recordings-1")));
        assert_eq!(program("no JSON"), None);
    }

    #[test]
    fn a_play_without_end_is_ended() {
        let child = |seconds: &str| run::command("sleep").arg(seconds).spawn().unwrap();
        assert!(end_within(child("60"), Duration::from_millis(50)).unwrap().is_none());
        assert!(end_within(child("0"), Duration::from_secs(60)).unwrap().is_some());
    }
}
