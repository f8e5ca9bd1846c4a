//! The command itself.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use tce_host::exit::Exit;

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the command.
pub(crate) fn tce(args: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_tce"))
        .args(args)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("tce starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ended {
    /// It ended like this.
    #[track_caller]
    pub(crate) fn with(self, exit: Exit) -> Self {
        assert_eq!(self.code, Some(i32::from(exit.code())), "{self:#?}");
        self
    }

    /// It failed, said an error with these words and a remedy with those, and reported nothing.
    #[track_caller]
    pub(crate) fn refused(self, exit: Exit, says: &[&str], help: &str) -> Self {
        let ended = self.with(exit);
        assert_eq!(ended.out, "", "no report");
        assert!(ended.err.starts_with("error: "), "{}", ended.err);
        let Some((what, remedy)) = ended.err.split_once("\nhelp: ") else {
            panic!("no help in {}", ended.err)
        };
        for words in says {
            assert!(what.contains(words), "{words:?} in {what}");
        }
        assert!(remedy.contains(help), "{help:?} in {remedy}");
        assert!(!ended.err.contains("stay locked"), "{}", ended.err);
        ended
    }

    /// The report.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// A folder for files of a test. Dropping it removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("tce-cli-{}-{count}", process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    /// Writes a file, and tells its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a writable folder");
        path
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
