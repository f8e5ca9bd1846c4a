//! DPDK's testpmd for the lab: Debian's, with the libraries it needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::apt::{Apt, extract};
use super::cache::Cache;
use super::debian::Debian;
use crate::say;

const ARCHITECTURE: &str = "ppc64el";
/// The release that has DPDK 22.11.
const SUITE: &str = "bookworm";
/// testpmd itself, the driver of the lab's network adapter, and what holds libmlx5, which testpmd is
/// linked with.
const PACKAGES: [&str; 3] = ["dpdk-dev", "librte-net-e1000-23", "ibverbs-providers"];
/// Libraries of the packages and what they depend on: some 100.
const PACKAGES_MAX: usize = 300;
const WHY: &str = "recording a real DPDK program in the POWER lab";

/// What the lab needs of the packages; the rest is left out of its image.
const KEPT: [&str; 4] =
    ["lib64", "lib/powerpc64le-linux-gnu", "usr/lib/powerpc64le-linux-gnu", "usr/bin/dpdk-testpmd"];
/// The C library's character sets.
const LEFT_OUT: &str = "usr/lib/powerpc64le-linux-gnu/gconv";

/// testpmd and its libraries in the cache.
pub(crate) struct Dpdk {
    folder: PathBuf,
}

impl Dpdk {
    pub(crate) fn provide(cache: &Cache) -> Result<Self> {
        let folder = cache.provide("dpdk-22.11-1", |folder| {
            let task = say::Task::start(format!("fetching DPDK 22.11 for {WHY}"));
            let size = fetch(cache, folder).with_context(|| {
                format!(
                    "could not get DPDK for {ARCHITECTURE}\n  needed for: {WHY}\n  \
                     what to do: run this where apt and a Debian archive are"
                )
            })?;
            task.done(say::megabytes(size));
            Ok(())
        })?;
        Ok(Self { folder })
    }

    /// What goes into the lab, with its place there.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (PathBuf, &'static str)> {
        KEPT.into_iter().map(|part| (self.folder.join(part), part))
    }
}

fn fetch(cache: &Cache, folder: &Path) -> Result<u64> {
    let apt = Debian::find()?.foreign(cache, ARCHITECTURE, SUITE)?;
    let whole = folder.join("whole");
    let debs = folder.join("debs");
    apt.fetch(&with_libraries(&apt)?, &debs)?;
    let size = extract(&debs, &whole)?;
    for part in KEPT {
        let to = folder.join(part);
        fs::create_dir_all(to.parent().context("a part without a folder")?)?;
        fs::rename(whole.join(part), to).with_context(|| format!("the packages hold no {part}"))?;
    }
    fs::remove_dir_all(folder.join(LEFT_OUT))?;
    fs::rename(whole.join("packages.sha256"), folder.join("packages.sha256"))?;
    fs::remove_dir_all(&whole)?;
    Ok(size)
}

/// The packages and all the libraries they depend on, directly or not.
fn with_libraries(apt: &Apt) -> Result<Vec<String>> {
    let mut packages: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    let mut next = 0;
    while next < packages.len() {
        ensure!(packages.len() <= PACKAGES_MAX, "DPDK needs more than {PACKAGES_MAX} packages");
        let asked = packages.split_at(next).1.to_vec();
        next = packages.len();
        for depends in apt.fields(&asked, "Depends")? {
            for library in libraries(&depends) {
                if !packages.contains(&library) {
                    packages.push(library);
                }
            }
        }
    }
    Ok(packages)
}

/// The libraries in a list of dependencies; of alternatives the first.
fn libraries(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|part| part.split_whitespace().next())
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .filter(|name| name.starts_with("lib") || name == "zlib1g")
        .filter(|name| !name.ends_with("-dev"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_are_followed() {
        let depends = "libdpdk-dev (>= 22.11), python3, libc6 (>= 2.34), zlib1g (>= 1:1.1.4), \
                       libx | liby, python3:any, libz:ppc64el";
        assert_eq!(libraries(depends), ["libc6", "zlib1g", "libx", "libz"]);
    }
}
