//! A made-up file tree, for what is read from `/`.

use std::{fs, path::Path};

use tce_vfio::Root;

use super::Folder;

/// The tree of a POWER machine. Dropping it removes it.
pub(crate) struct Tree(Folder);

impl Tree {
    /// A machine with this kernel, and without VFIO.
    pub(crate) fn power(release: &str) -> Self {
        let tree = Self(Folder::new());
        tree.file("proc/cpuinfo", "platform\t: PowerNV\nmachine\t\t: PowerNV 8335-GTH\n");
        tree.file("proc/sys/kernel/osrelease", release);
        let status = "VmLck:\t0 kB\nVmPin:\t0 kB\nCapEff:\t0000000000000000\n";
        tree.file("proc/self/status", status);
        tree
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.0.path(path);
        let folder = Path::new(&path).parent().expect("a file in a folder");
        fs::create_dir_all(folder).expect("a writable folder");
        fs::write(path, text).expect("a writable folder");
    }

    pub(crate) fn root(&self) -> Root {
        Root::new(self.0.path(""))
    }
}
