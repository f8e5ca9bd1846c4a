//! The emulated machines: which QEMU arguments make them, with which devices behind which bus.

use std::process::Command;

use clap::ValueEnum;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Machine {
    /// A POWER9 host without a hypervisor below it, with PHB4.
    Powernv9,
    /// A POWER10 host, with PHB5.
    Powernv10,
    /// As inside a partition.
    Pseries,
}

/// A device whose DMA a test can trigger from a few registers; by default it reaches only 28 bits.
const EDU: &str = "edu,dma_mask=0xffffffffffffffff";

impl Machine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Powernv9 => "powernv9",
            Self::Powernv10 => "powernv10",
            Self::Pseries => "pseries",
        }
    }

    pub(crate) fn set(self, qemu: &mut Command) {
        match self {
            // Without its default devices a powernv machine has no PHBs. Each root port is a group.
            Self::Powernv9 | Self::Powernv10 => {
                qemu.args(["-machine", self.name()]);
                for bus in ["pcie.0", "pcie.1"] {
                    qemu.args(["-device", &format!("{EDU},bus={bus}")]);
                }
            }
            // Its default VGA and USB devices would share the only group.
            Self::Pseries => {
                qemu.args(["-machine", "pseries", "-cpu", "power9", "-nodefaults"]);
                qemu.args(["-vga", "none", "-device", EDU]);
            }
        }
        qemu.args(["-smp", "1", "-m", "2G", "-display", "none", "-no-reboot"]);
    }

    /// Whether the emulator's device tree lacks what a real machine's tells.
    pub(crate) fn has_incomplete_tree(self) -> bool {
        matches!(self, Self::Powernv9 | Self::Powernv10)
    }
}
