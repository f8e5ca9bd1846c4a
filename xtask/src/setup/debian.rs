//! This machine as a Debian machine: which release it is, where its own sources get Debian from, and
//! which keys verify it. No address is known here but those.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::apt::Apt;
use super::cache::Cache;
use super::sources::Mirrors;
use crate::run;

const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];
const NATIVE_STATUS: &str = "/var/lib/dpkg/status";

/// This machine as a Debian machine.
pub(crate) struct Debian {
    codename: String,
    keyring: &'static str,
    mirrors: Mirrors,
}

impl Debian {
    /// Reads what the machine says about itself.
    pub(crate) fn find() -> Result<Self> {
        let lacks = |what: &str| {
            anyhow!("this is not a Debian machine as far as xtask can tell: {what} is missing")
        };
        for tool in ["apt-get", "apt-cache", "dpkg", "sha256sum"] {
            run::in_path(tool).ok_or_else(|| lacks(tool))?;
        }
        let codename = codename().ok_or_else(|| lacks("Debian's name in /etc/os-release"))?;
        let keyring = KEYRINGS
            .into_iter()
            .find(|file| Path::new(file).is_file())
            .ok_or_else(|| lacks("the package debian-archive-keyring"))?;
        let mirrors = machine_mirrors(&codename)?;
        if mirrors.main.is_empty() {
            return Err(lacks("a Debian archive in apt's sources (/etc/apt)"));
        }
        Ok(Self { codename, keyring, mirrors })
    }

    pub(crate) fn codename(&self) -> &str {
        &self.codename
    }

    /// Packages for this machine: what is installed counts, so only what is missing is fetched.
    pub(crate) fn native(&self, cache: &Cache) -> Result<Apt> {
        let name = &self.codename;
        let mut lines = String::new();
        for suite in ["", "-updates", "-backports"] {
            self.source(&mut lines, &self.mirrors.main, &format!("{name}{suite}"))?;
        }
        let security = format!("{name}-security");
        self.source(&mut lines, &self.mirrors.security, &security)?;
        Apt::create(&cache.root().join("apt/native"), &lines, NATIVE_STATUS, "")
    }

    /// Packages of another architecture from one suite; nothing of it is installed here.
    pub(crate) fn foreign(&self, cache: &Cache, architecture: &str, suite: &str) -> Result<Apt> {
        let mut lines = String::new();
        self.source(&mut lines, &self.mirrors.main, suite)?;
        let folder = cache.root().join(format!("apt/{architecture}-{suite}"));
        let status = folder.join("status");
        fs::create_dir_all(&folder)?;
        fs::write(&status, "")?;
        let status = status.to_string_lossy().into_owned();
        let extra = format!(
            "#clear APT::Architectures;\nAPT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n"
        );
        Apt::create(&folder, &lines, &status, &extra)
    }

    fn source(&self, lines: &mut String, uris: &[String], suite: &str) -> Result<()> {
        for uri in uris {
            writeln!(lines, "deb [signed-by={}] {uri} {suite} main", self.keyring)?;
        }
        Ok(())
    }
}

fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME"))?
}

fn machine_mirrors(codename: &str) -> Result<Mirrors> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let mut mirrors = Mirrors::default();
    for file in files.iter().filter(|file| file.is_file()) {
        let text =
            || fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
        match file.extension().and_then(|end| end.to_str()) {
            Some("list") => mirrors.add_list(&text()?, codename),
            Some("sources") => mirrors.add_deb822(&text()?, codename),
            _ => {}
        }
    }
    mirrors.guess_security();
    Ok(mirrors)
}
