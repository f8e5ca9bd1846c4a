//! Debian packages without touching the machine: an apt state of our own in the cache folder,
//! verified by Debian's keyring, with the addresses of the machine's own sources. Packages are
//! extracted into a private folder, never installed, so no rights are needed.

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::cache::Cache;
use super::sources::{Mirrors, field};
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
    /// Reads what the machine says about itself; `why` names what the packages are for.
    pub(crate) fn find(why: &str) -> Result<Self> {
        let lacks = |what: &str| {
            let remedy = "use Debian 12, or install the programs yourself (README, \"Set-up\")";
            run::missing(what, why, remedy)
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

/// One private apt state with fresh lists.
pub(crate) struct Apt {
    config: PathBuf,
    /// What `apt-get update` complained about; it matters only if something is not found.
    complaint: Option<String>,
}

impl Apt {
    fn create(folder: &Path, sources: &str, status: &str, extra: &str) -> Result<Self> {
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

/// Packages for this machine, in the cache; `why` is said before anything is fetched.
pub(crate) struct Need<'a> {
    pub(crate) item: &'a str,
    pub(crate) packages: &'a [&'a str],
    pub(crate) why: &'a str,
    /// Whether the backports suite is asked first.
    pub(crate) newest: Newest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newest {
    FromBackports,
    FromRelease,
}

impl Need<'_> {
    pub(crate) fn provide(&self, cache: &Cache) -> Result<PathBuf> {
        cache
            .provide(self.item, |folder| self.fill(cache, folder))
            .with_context(|| {
                let list = self.packages.join(" ");
                format!(
                    "could not get the Debian packages {list}\n  needed for: {}\n  \
                     what to do: look at apt's words below, or install them yourself: apt-get install {list}",
                    self.why
                )
            })
    }

    fn fill(&self, cache: &Cache, folder: &Path) -> Result<()> {
        let list = self.packages.join(" ");
        let task = crate::say::Task::start(format!("fetching {list} for {}", self.why));
        let debian = Debian::find(self.why)?;
        let apt = debian.native(cache)?;
        let debs = folder.join("debs");
        let backports = format!("{}-backports", debian.codename());
        let fetched = match self.newest {
            Newest::FromBackports => apt
                .fetch_with_dependencies(self.packages, Some(&backports), &debs)
                .or_else(|_| apt.fetch_with_dependencies(self.packages, None, &debs)),
            Newest::FromRelease => apt.fetch_with_dependencies(self.packages, None, &debs),
        };
        if let Err(error) = fetched {
            bail!("{error:#}");
        }
        let size = extract(&debs, folder)?;
        let place = cache.root().display();
        task.done(format!("{} into {place}", crate::say::megabytes(size)));
        Ok(())
    }
}
