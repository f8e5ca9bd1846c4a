//! The file tree that facts about the machine are read from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root of the tree with `proc`, `sys`, `dev` and `lib` in it: `/`, or a made-up one in a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// The tree at this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The place of a file, named relative to the root, such as `proc/self/status`.
    #[must_use]
    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.0.join(file)
    }

    /// A file's text. What is no UTF-8 in it is replaced.
    pub(crate) fn text(&self, file: impl AsRef<Path>) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.path(file))?).into_owned())
    }

    /// Whether something of this name exists.
    pub(crate) fn has(&self, file: impl AsRef<Path>) -> bool {
        self.path(file).exists()
    }

    /// The last name in the target of a symbolic link.
    pub(crate) fn link_name(&self, link: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.path(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// The names in a directory, in order; none if there is no such directory.
    pub(crate) fn names(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }
}
