//! Programs this machine may lack, as Debian packages with all they depend on, extracted into the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::extract;
use super::cache::Cache;
use super::debian::Debian;
use crate::say;

/// Packages for this machine; what they are for is said before anything is fetched.
pub(crate) struct Need<'a> {
    pub(crate) item: &'a str,
    pub(crate) packages: &'a [&'a str],
    pub(crate) why: &'a str,
    /// What the user can do where the packages cannot be had.
    pub(crate) remedy: &'a str,
    pub(crate) suite: Suite,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Backports first: newer is better here.
    Backports,
    Release,
}

impl Need<'_> {
    pub(crate) fn provide(&self, cache: &Cache) -> Result<PathBuf> {
        cache.provide(self.item, |folder| self.fill(cache, folder)).with_context(|| {
            let Self { packages, why, remedy, .. } = self;
            let list = packages.join(" ");
            format!("could not get {list}\n  needed for: {why}\n  what to do: {remedy}")
        })
    }

    fn fill(&self, cache: &Cache, folder: &Path) -> Result<()> {
        let list = self.packages.join(" ");
        let task = say::Task::start(format!("fetching {list} for {}", self.why));
        let debian = Debian::find()?;
        let apt = debian.native(cache)?;
        let debs = folder.join("debs");
        let from = |release| apt.fetch_with_dependencies(self.packages, release, &debs);
        let backports = format!("{}-backports", debian.codename());
        match self.suite {
            Suite::Backports => from(Some(&backports)).or_else(|_| from(None))?,
            Suite::Release => from(None)?,
        }
        let size = extract(&debs, folder)?;
        task.done(format!("{} into {}", say::megabytes(size), cache.root().display()));
        Ok(())
    }
}
