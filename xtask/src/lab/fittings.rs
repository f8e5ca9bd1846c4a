//! What a machine of the lab is fitted with: devices, memory, kernel modules and files, beyond what
//! every one has.

use std::path::PathBuf;

use clap::ValueEnum;

use super::machine::Machine;

/// The machine's memory where nobody asks for more.
pub(crate) const MEMORY_MIB: u32 = 2048;

/// Huge pages of 2 MiB that are reserved where nobody asks for more.
pub(crate) const HUGE_PAGES: u32 = 16;

/// What makes a host's virtual machines. A partition has none.
const KVM: &str = "kvm_hv";

/// A PCI device that is handed to `vfio-pci`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Device {
    /// A device whose DMA a test can trigger from a few registers.
    Edu,
    /// Intel's 82574 network adapter, which DPDK drives.
    E1000e,
}

impl Device {
    /// QEMU's name of it, with its settings. An `edu` reaches only 28 bits by default. A boot ROM would
    /// be one more file to have, and POWER's firmware runs none.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Edu => "edu,dma_mask=0xffffffffffffffff",
            Self::E1000e => "e1000e,romfile=",
        }
    }

    /// Vendor and device, as sysfs prints them.
    pub(crate) fn identity(self) -> &'static str {
        match self {
            Self::Edu => "0x1234:0x11e8",
            Self::E1000e => "0x8086:0x10d3",
        }
    }
}

/// A file or a folder of this machine that is carried into the lab.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) from: PathBuf,
    /// Where it stands in the lab, without a leading slash.
    pub(crate) to: String,
}

/// What a machine is fitted with.
#[derive(Clone, Debug)]
pub(crate) struct Fittings {
    /// Each stands behind a port or a host bridge of its own, in this order, and so in a group of its own.
    pub(crate) devices: Vec<Device>,
    pub(crate) memory_mib: u32,
    /// Huge pages of 2 MiB reserved at boot.
    pub(crate) huge_pages: u32,
    /// The same of 1 GiB.
    pub(crate) giant_pages: u32,
    /// Modules that are inserted after VFIO's, each after what it depends on.
    pub(crate) modules: Vec<String>,
    pub(crate) files: Vec<Carried>,
}

impl Fittings {
    /// The usual ones: two groups with an `edu` each; KVM where there can be.
    pub(crate) fn of(machine: Machine) -> Self {
        Self {
            devices: vec![Device::Edu; 2],
            memory_mib: MEMORY_MIB,
            huge_pages: HUGE_PAGES,
            giant_pages: 0,
            modules: if machine.is_powernv() { vec![KVM.to_owned()] } else { Vec::new() },
            files: Vec::new(),
        }
    }
}
