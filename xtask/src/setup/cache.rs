//! The private folder that holds what was installed: shared between clones, safe when an xtask was
//! stopped half-way, and used by one xtask at a time while something is being added.
//!
//! An item is a folder. It is filled under a temporary name and renamed when it is complete, so that
//! an item that exists is a complete one.

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{run, say};

pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn open() -> Result<Self> {
        let root = folder().ok_or_else(|| {
            run::missing(
                "a home folder",
                "keeping downloaded tools outside the checkout",
                "set HOME, or TCE_CACHE to a folder that may be written",
            )
        })?;
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        // Tools run with other current folders, so a relative TCE_CACHE is made absolute once.
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The item, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<PathBuf> {
        let item = self.root.join(name);
        item.is_dir().then_some(item)
    }

    /// The item; if it is not there, `fill` makes it in the empty folder it is given.
    pub(crate) fn provide(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(item) = self.get(name) {
            return Ok(item);
        }
        let _lock = lock(&self.root.join("lock"), "is installing something")?;
        if let Some(item) = self.get(name) {
            return Ok(item);
        }
        let partial = self.root.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)
                .with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial)?;
        fill(&partial)?;
        let item = self.root.join(name);
        fs::rename(&partial, &item)?;
        Ok(item)
    }
}

/// Waits until no other xtask holds the lock, saying so; held until the file is closed, which the kernel
/// does for a process that is killed.
pub(crate) fn lock(path: &Path, busy: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say::note(format!("another xtask {busy}; waiting for it"));
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

fn folder() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    named("TCE_CACHE")
        .map(PathBuf::from)
        .or_else(|| named("XDG_CACHE_HOME").map(|base| PathBuf::from(base).join("tce")))
        .or_else(|| named("HOME").map(|home| PathBuf::from(home).join(".cache/tce")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> Cache {
        let root = env::temp_dir().join(format!("xtask-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Cache { root }
    }

    #[test]
    fn an_item_is_made_once() {
        let cache = scratch("once");
        cache.provide("tool", |_| Ok(())).unwrap();
        cache.provide("tool", |_| panic!("made twice")).unwrap();
        fs::remove_dir_all(cache.root()).unwrap();
    }

    #[test]
    fn an_item_that_failed_half_way_is_not_there_and_can_be_made_again() {
        let cache = scratch("half");
        let failed = cache.provide("tool", |folder| {
            fs::write(folder.join("half"), "x")?;
            anyhow::bail!("stopped")
        });
        assert!(failed.is_err());
        assert!(cache.get("tool").is_none());
        let item = cache.provide("tool", |_| Ok(())).unwrap();
        assert!(!item.join("half").exists());
        fs::remove_dir_all(cache.root()).unwrap();
    }
}
