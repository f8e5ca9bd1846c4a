//! One private apt state: its own lists, sources and cache, verified by the keys its sources name. It
//! downloads and extracts packages; it never installs one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::sources::field;
use crate::run;

/// One private apt state with fresh lists.
pub(crate) struct Apt {
    config: PathBuf,
    /// What `apt-get update` complained about; it matters only if something is not found.
    complaint: Option<String>,
}

impl Apt {
    pub(crate) fn create(folder: &Path, sources: &str, status: &str, extra: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("sources.list"), sources)?;
        let config = folder.join("apt.conf");
        fs::write(&config, configuration(folder, status, extra))?;
        let mut apt = Self { config, complaint: None };
        let update = run::output(apt.command("apt-get").arg("update"));
        apt.complaint = update.err().map(|error| format!("{error:#}"));
        Ok(apt)
    }

    /// Downloads the packages and whatever they need that this machine lacks.
    pub(crate) fn fetch_with_dependencies(
        &self,
        packages: &[&str],
        release: Option<&str>,
        debs: &Path,
    ) -> Result<()> {
        let mut command = self.command("apt-get");
        command.args(["install", "--download-only", "--no-install-recommends"]);
        command.args(["--yes", "--quiet=2"]);
        command.arg("-o").arg(dir_option("Dir::Cache::archives", debs));
        if let Some(release) = release {
            command.args(["-t", release]);
        }
        fs::create_dir_all(debs.join("partial"))?;
        self.explained(run::output(command.args(packages)))?;
        Ok(())
    }

    /// Downloads exactly these packages.
    pub(crate) fn fetch(&self, packages: &[String], debs: &Path) -> Result<()> {
        fs::create_dir_all(debs)?;
        let mut command = self.command("apt-get");
        command.current_dir(debs).args(["download", "--quiet=2"]);
        self.explained(run::output(command.args(packages)))?;
        Ok(())
    }

    /// One field of the newest version of a package, if the package exists.
    pub(crate) fn field(&self, package: &str, name: &str) -> Option<String> {
        let mut command = self.command("apt-cache");
        let text = run::output(command.args(["show", "--no-all-versions", package])).ok()?;
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        (!lines.is_empty()).then(|| field(&lines, name))
    }

    /// One field of the newest version of each package; empty for a package without it.
    pub(crate) fn fields(&self, packages: &[String], name: &str) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--no-all-versions"]).args(packages);
        let text = self.explained(run::output(&mut command))?;
        let lines: Vec<&str> = text.lines().collect();
        let stanzas = lines.split(|line| line.is_empty()).filter(|stanza| !stanza.is_empty());
        Ok(stanzas.map(|stanza| field(stanza, name)).collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = run::command(program);
        command.env("APT_CONFIG", &self.config);
        command.env("LC_ALL", "C.UTF-8");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn explained(&self, result: Result<String>) -> Result<String> {
        result.with_context(|| match &self.complaint {
            Some(complaint) => format!("apt could not read every package list:\n{complaint}"),
            None => "apt could not fetch the packages".to_owned(),
        })
    }
}

/// The machine's own settings (a proxy, say) hold; its places and its hooks do not.
fn configuration(folder: &Path, status: &str, extra: &str) -> String {
    let folder = folder.display();
    let main = if Path::new("/etc/apt/apt.conf").is_file() {
        "#include \"/etc/apt/apt.conf\";\n"
    } else {
        ""
    };
    format!(
        r##"#include "/etc/apt/apt.conf.d/";
{main}#clear APT::Update;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Default-Release;
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{status}";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Debug::NoLocking "true";
{extra}"##
    )
}

fn dir_option(name: &str, folder: &Path) -> OsString {
    let mut option = OsString::from(format!("{name}="));
    option.push(folder);
    option
}

/// Extracts every package of a folder into `root`, and records name, size and checksum of each.
pub(crate) fn extract(debs: &Path, root: &Path) -> Result<u64> {
    let mut files: Vec<PathBuf> = fs::read_dir(debs)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|end| end == "deb"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "no package was downloaded");
    fs::create_dir_all(root)?;
    let mut size = 0;
    for file in &files {
        run::output(run::command("dpkg").arg("-x").arg(file).arg(root))?;
        size += fs::metadata(file)?.len();
    }
    let names = files.iter().filter_map(|file| file.file_name());
    let sums = run::output(run::command("sha256sum").current_dir(debs).args(names))?;
    fs::write(root.join("packages.sha256"), sums)?;
    fs::remove_dir_all(debs)?;
    Ok(size)
}

/// The folders of shared libraries below extracted packages, as a value for `LD_LIBRARY_PATH`.
pub(crate) fn library_path(roots: &[&Path]) -> Result<OsString> {
    let mut folders = Vec::new();
    for (root, base) in roots.iter().flat_map(|root| ["usr/lib", "lib"].map(|base| (root, base))) {
        let Ok(entries) = fs::read_dir(root.join(base)) else {
            continue;
        };
        let here = entries.filter_map(|entry| Some(entry.ok()?.path()));
        folders.extend(here.filter(|path| path.is_dir() && is_multiarch(path)));
    }
    Ok(env::join_paths(folders)?)
}

fn is_multiarch(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-linux-gnu"))
}
