//! The initramfs of one run: busybox, the modules, our programs, the inputs of the lab suite and the
//! command to run. `tests/lab/init.sh` is its first process.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Run;
use super::cpio::{Archive, Device};
use super::quote;
use crate::setup::kernel::Kernel;
use crate::workspace::Workspace;
use crate::{power, reference, run, say};

const FOLDERS: [&str; 10] = [
    "bin",
    "dev",
    "proc",
    "sys",
    "tmp",
    "lab",
    "lab/jobs",
    "lab/modules",
    "lab/plugins",
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
    add_folder(&mut image, "lab/modules", &parts.kernel.modules(), "")?;
    add_folder(&mut image, "lab/jobs", &workspace.root().join("examples"), ".toml")?;
    add_folder(&mut image, "lab/plugins", &workspace.plugins(), ".wasm")?;
    add_folder(&mut image, "lab/reference", &reference::folder(workspace), "")?;
    for program in power::programs(workspace) {
        if program.is_file() {
            add(&mut image, &format!("bin/{}", run::file_name(&program)), &program)?;
        } else {
            say::note(format!("not built, so not in the lab: {}", program.display()));
        }
    }
    image.file("lab/command", (quote::command(&lab.command) + "\n").as_bytes())?;
    image.file("lab/run", environment(lab).as_bytes())?;
    image.finish()?;
    Ok(())
}

/// What the command can ask about the machine it runs in, as shell.
fn environment(lab: &Run) -> String {
    let set = lab.set;
    [
        ("RUN", lab.name.as_str()),
        ("MACHINE", set.machine.name()),
        ("KERNEL", set.release.name()),
        ("PAGES", set.pages.name()),
    ]
    .map(|(name, value)| format!("export TCE_LAB_{name}={}\n", quote::word(value)))
    .concat()
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
