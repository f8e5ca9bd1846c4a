//! A made-up file tree in a temporary directory, for tests of what is read from `/`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use tce_engine::{
    addr::PageShift,
    kernel::{Platform, SystemFacts},
};

use crate::{machine::VfioMachine, root::Root};

pub(crate) const POWERNV_CPUINFO: &str = concat!(
    "processor\t: 0\ncpu\t\t: POWER9 (raw), altivec supported\n\n",
    "timebase\t: 512000000\nplatform\t: PowerNV\nmodel\t\t: IBM PowerNV (emulated by qemu)\n",
    "machine\t\t: PowerNV IBM PowerNV (emulated by qemu)\nfirmware\t: OPAL\nMMU\t\t: Radix\n",
);
pub(crate) const PSERIES_CPUINFO: &str = concat!(
    "processor\t: 0\ncpu\t\t: POWER9 (architected), altivec supported\n\n",
    "timebase\t: 512000000\nplatform\t: pSeries\nmodel\t\t: IBM pSeries (emulated by qemu)\n",
    "machine\t\t: CHRP IBM pSeries (emulated by qemu)\nMMU\t\t: Radix\n",
);

/// The tree. Dropping it removes it.
pub(crate) struct Tree {
    path: PathBuf,
    root: Root,
}

impl Tree {
    /// An empty one.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tce-vfio-{}-{count}", process::id()));
        fs::create_dir(&path).unwrap();
        Self { root: Root::new(&path), path }
    }

    pub(crate) const fn root(&self) -> &Root {
        &self.root
    }

    /// A POWER machine with this tree, without asking whether it can be one.
    pub(crate) fn machine(&self) -> VfioMachine {
        let facts = SystemFacts {
            platform: Platform::Powernv,
            page_shift: PageShift::K4,
            locked_limit: None,
        };
        VfioMachine::with(self.root.clone(), facts)
    }

    pub(crate) fn directory(&self, path: &str) {
        fs::create_dir_all(self.path.join(path)).unwrap();
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// A PCI device in a group, with `id` as `vendor:device`.
    pub(crate) fn device(&self, address: &str, group: u32, id: &str, driver: Option<&str>) {
        let device = format!("sys/bus/pci/devices/{address}");
        let (vendor, number) = id.split_once(':').unwrap();
        self.file(&format!("{device}/vendor"), &format!("0x{vendor}\n"));
        self.file(&format!("{device}/device"), &format!("0x{number}\n"));
        self.link(
            &format!("{device}/iommu_group"),
            &format!("../../../../kernel/iommu_groups/{group}"),
        );
        self.link(
            &format!("sys/kernel/iommu_groups/{group}/devices/{address}"),
            &format!("../../../../bus/pci/devices/{address}"),
        );
        if let Some(driver) = driver {
            self.link(
                &format!("{device}/driver"),
                &format!("../../../../bus/pci/drivers/{driver}"),
            );
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
