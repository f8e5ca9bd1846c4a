//! The initramfs of one run: busybox, the modules, our programs, the inputs of the lab suite and the
//! command to run. `tests/lab/init.sh` is its first process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Run;
use super::cpio::{Archive, Device};
use super::fittings::Carried;
use super::quote;
use crate::setup::kernel::Kernel;
use crate::workspace::Workspace;
use crate::{power, reference, run, say};

const FOLDERS: [&str; 11] = [
    "bin",
    "dev",
    "proc",
    "sys",
    "tmp",
    "lab",
    "lab/jobs",
    "lab/modules",
    "lab/plugins",
    "lab/fixtures",
    "lab/reference",
];

/// What goes into the image besides the checkout.
pub(crate) struct Parts<'a> {
    pub(crate) busybox: &'a Path,
    pub(crate) kernel: &'a Kernel,
}

type Image = Archive<BufWriter<File>>;

pub(crate) fn write(file: &Path, workspace: &Workspace, parts: &Parts, lab: &Run) -> Result<()> {
    let mut image = Archive::new(BufWriter::new(File::create(file)?));
    for folder in FOLDERS {
        image.directory(folder)?;
    }
    image.character_device("dev/console", Device { major: 5, minor: 1 })?;
    add(&mut image, "init", &workspace.root().join("tests/lab/init.sh"))?;
    add(&mut image, "bin/busybox", parts.busybox)?;
    image.symlink("bin/sh", "busybox")?;
    add_folder(&mut image, "lab/modules", &parts.kernel.modules(), ".ko")?;
    let order = parts.kernel.module_order(&lab.fittings.modules)?;
    image.file("lab/modules/order", (order.join("\n") + "\n").as_bytes())?;
    add_folder(&mut image, "lab/jobs", &workspace.root().join("examples"), ".toml")?;
    add_folder(&mut image, "lab/plugins", &workspace.plugins(), ".wasm")?;
    add_folder(&mut image, "lab/fixtures", &workspace.root().join("plugins/fixtures"), "")?;
    add_folder(&mut image, "lab/reference", &reference::folder(workspace), "")?;
    for program in power::programs(workspace) {
        if program.is_file() {
            add(&mut image, &format!("bin/{}", run::file_name(&program)), &program)?;
        } else {
            say::note(format!("not built, so not in the lab: {}", program.display()));
        }
    }
    let mut made = BTreeSet::from(FOLDERS.map(str::to_owned));
    for Carried { from, to } in &lab.fittings.files {
        carry(&mut image, to, from, &mut made)?;
    }
    image.file("lab/command", (quote::command(&lab.command) + "\n").as_bytes())?;
    image.file("lab/run", environment(lab).as_bytes())?;
    image.finish()?;
    Ok(())
}

/// What init and the command can ask about the machine they run in, as shell.
fn environment(lab: &Run) -> String {
    let set = lab.set;
    let identities: Vec<&str> =
        lab.fittings.devices.iter().map(|device| device.identity()).collect();
    [
        ("RUN", lab.name.as_str()),
        ("MACHINE", set.machine.name()),
        ("KERNEL", set.release.name()),
        ("PAGES", set.pages.name()),
        ("DEVICES", &identities.join(" ")),
        ("HUGE_PAGES", &lab.fittings.huge_pages.to_string()),
        ("GIANT_PAGES", &lab.fittings.giant_pages.to_string()),
    ]
    .map(|(name, value)| format!("export TCE_LAB_{name}={}\n", quote::word(value)))
    .concat()
}

/// A file, or a folder with all below it, links as links. `made` are the folders there are already.
fn carry(image: &mut Image, to: &str, from: &Path, made: &mut BTreeSet<String>) -> Result<()> {
    make_parents(image, to, made)?;
    let kind = fs::symlink_metadata(from)
        .with_context(|| format!("cannot read {}", from.display()))?
        .file_type();
    if kind.is_symlink() {
        let target = fs::read_link(from)?;
        image.symlink(to, &target.to_string_lossy())?;
    } else if kind.is_dir() {
        let mut entries = fs::read_dir(from)?.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            carry(image, &format!("{to}/{}", name.to_string_lossy()), &entry.path(), made)?;
        }
    } else {
        add(image, to, from)?;
    }
    Ok(())
}

/// The kernel unpacks a file only into a folder that the archive has made before.
fn make_parents(image: &mut Image, name: &str, made: &mut BTreeSet<String>) -> Result<()> {
    for (end, _) in name.match_indices('/') {
        let folder = &name[..end];
        if made.insert(folder.to_owned()) {
            image.directory(folder)?;
        }
    }
    Ok(())
}

fn add_folder(image: &mut Image, name: &str, folder: &Path, ending: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.is_file() && run::file_name(file).ends_with(ending))
        .collect();
    files.sort();
    for file in files {
        add(image, &format!("{name}/{}", run::file_name(&file)), &file)?;
    }
    Ok(())
}

fn add(image: &mut Image, name: &str, file: &Path) -> Result<()> {
    let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    image.file(name, &data).with_context(|| format!("writing {name} into the lab's image"))
}
