//! Real kernels for POWER: Debian's, with the modules the lab inserts, uncompressed and in order.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::apt::extract;
use super::cache::Cache;
use super::debian::Debian;
use super::modules;
use crate::{run, say};

const ARCHITECTURE: &str = "ppc64el";
const WHY: &str = "the POWER lab (a real kernel with the real backend)";

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Release {
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "7.2")]
    V7_2,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Pages {
    #[value(name = "4k")]
    P4k,
    #[value(name = "64k")]
    P64k,
}

impl Release {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V6_12 => "6.12",
            Self::V7_2 => "7.2",
        }
    }

    /// Suites that had this series when this was written; a suite moves on, so each is asked.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V6_12 => &["trixie", "bookworm-backports"],
            Self::V7_2 => &["forky", "sid"],
        }
    }
}

impl Pages {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P4k => "4k",
            Self::P64k => "64k",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::P4k => "linux-image-powerpc64le",
            Self::P64k => "linux-image-powerpc64le-64k",
        }
    }
}

/// A kernel in the cache.
pub(crate) struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    pub(crate) fn provide(cache: &Cache, release: Release, pages: Pages) -> Result<Self> {
        let item = format!("linux-{}-{}-1", release.name(), pages.name());
        let folder = cache.provide(&item, |folder| {
            let what = format!("Linux {} with {} pages", release.name(), pages.name());
            let task = say::Task::start(format!("fetching {what} for {WHY}"));
            let version =
                fetch(cache, release, pages, folder).with_context(|| unavailable(&what))?;
            task.done(format!("version {version}"));
            Ok(())
        })?;
        Ok(Self { folder })
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The folder of the uncompressed modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }

    /// The order in which VFIO's modules and these more are inserted.
    pub(crate) fn module_order(&self, more: &[String]) -> Result<Vec<String>> {
        modules::order(&self.modules(), more)
    }
}

/// A static busybox for the lab.
pub(crate) fn busybox(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.provide("busybox-1", |folder| {
        let task = say::Task::start(format!("fetching busybox-static for {WHY}"));
        let size = fetch_busybox(cache, folder).with_context(|| unavailable("busybox-static"))?;
        task.done(say::megabytes(size));
        Ok(())
    })?;
    ["bin/busybox", "usr/bin/busybox"]
        .map(|file| folder.join(file))
        .into_iter()
        .find(|file| file.is_file())
        .context("the package busybox-static holds no busybox")
}

fn unavailable(what: &str) -> String {
    format!(
        "could not get {what} for {ARCHITECTURE}\n  needed for: {WHY}\n  \
         what to do: run this where apt and a Debian archive are; everything but the lab works here"
    )
}

fn fetch_busybox(cache: &Cache, folder: &Path) -> Result<u64> {
    let apt = Debian::find()?.foreign(cache, ARCHITECTURE, "trixie")?;
    let debs = folder.join("debs");
    apt.fetch(&["busybox-static".to_owned()], &debs)?;
    extract(&debs, folder)
}

fn fetch(cache: &Cache, release: Release, pages: Pages, folder: &Path) -> Result<String> {
    let debian = Debian::find()?;
    let wanted = format!("{}.", release.name());
    let mut seen = Vec::new();
    for suite in release.suites() {
        let apt = debian.foreign(cache, ARCHITECTURE, suite)?;
        let version = apt.field(pages.package(), "Version").unwrap_or_default();
        if !version.starts_with(&wanted) {
            seen.push(format!("{suite} has {version:?}"));
            continue;
        }
        // The named package only depends on the real one, and that may be in parts.
        let mut packages = vec![pages.package().to_owned()];
        let mut next = 0;
        while let Some(package) = packages.get(next) {
            let depends = apt.field(package, "Depends").unwrap_or_default();
            for part in exact_parts(&depends) {
                if !packages.contains(&part) {
                    packages.push(part);
                }
            }
            next += 1;
        }
        let debs = folder.join("debs");
        apt.fetch(&packages, &debs)?;
        unpack(&debs, folder)?;
        return Ok(version);
    }
    bail!("no suite offers it any longer: {}", seen.join(", "));
}

/// Dependencies on one exact version: parts of the same kernel.
fn exact_parts(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter(|part| part.contains("(= "))
        .filter_map(|part| part.split_whitespace().next())
        .filter(|name| name.starts_with("linux-"))
        .map(str::to_owned)
        .collect()
}

/// Keeps of the packages only what the lab uses.
fn unpack(debs: &Path, folder: &Path) -> Result<()> {
    let whole = folder.join("whole");
    extract(debs, &whole)?;
    // Newer packages keep the same uncompressed kernel under the other name, beside the modules.
    let image = modules::files(&whole)?
        .into_iter()
        .find(|file| {
            ["vmlinux", "vmlinuz"].iter().any(|name| run::file_name(file).starts_with(name))
        })
        .context("the packages hold no kernel image")?;
    fs::rename(image, folder.join("vmlinux"))?;
    fs::rename(whole.join("packages.sha256"), folder.join("packages.sha256"))?;
    modules::collect(&whole, &folder.join("modules"))?;
    fs::remove_dir_all(&whole)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_kernel_are_its_exact_dependencies() {
        let depends = "dracut | initramfs-tools (>= 0.120), linux-binary-7.2-x (= 7.2.1-1), \
                       linux-modules-7.2-x (= 7.2.1-1), kmod";
        assert_eq!(exact_parts(depends), ["linux-binary-7.2-x", "linux-modules-7.2-x"]);
    }
}
