//! The emulated machines: which QEMU arguments make them, with which devices behind which bus.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::fittings::Fittings;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Machine {
    /// A POWER9 host without a hypervisor below it, with PHB4.
    Powernv9,
    /// A POWER10 host, with PHB5.
    Powernv10,
    /// As inside a partition.
    Pseries,
}

/// Root ports of a powernv machine. What stands behind each is a group of its own.
const PORTS: usize = 6;

impl Machine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Powernv9 => "powernv9",
            Self::Powernv10 => "powernv10",
            Self::Pseries => "pseries",
        }
    }

    /// Whether the host is without a hypervisor below it.
    pub(crate) fn is_powernv(self) -> bool {
        match self {
            Self::Powernv9 | Self::Powernv10 => true,
            Self::Pseries => false,
        }
    }

    pub(crate) fn set(self, qemu: &mut Command, fittings: &Fittings) -> Result<()> {
        let devices = &fittings.devices;
        if self.is_powernv() {
            let count = devices.len();
            ensure!(count <= PORTS, "{count} devices, but {} has {PORTS} ports", self.name());
            // Without its default devices a powernv machine has no PHBs.
            qemu.args(["-machine", self.name()]);
        } else {
            // Its default VGA and USB devices would share the only group.
            qemu.args(["-machine", "pseries", "-cpu", "power9", "-nodefaults", "-vga", "none"]);
        }
        for (port, device) in devices.iter().enumerate() {
            let bus = self.bus(port, qemu);
            qemu.args(["-device", &format!("{},bus={bus}", device.argument())]);
        }
        qemu.args(["-smp", "1", "-m", &format!("{}M", fittings.memory_mib)]);
        qemu.args(["-display", "none", "-no-reboot"]);
        Ok(())
    }

    /// The bus of a device, so that it is in a group of its own: behind a port, or behind a host bridge that is made for it.
    fn bus(self, number: usize, qemu: &mut Command) -> String {
        match (self, number) {
            (Self::Powernv9 | Self::Powernv10, port) => format!("pcie.{port}"),
            (Self::Pseries, 0) => "pci.0".to_owned(),
            (Self::Pseries, bridge) => {
                let argument = format!("spapr-pci-host-bridge,index={bridge},id=bridge{bridge}");
                qemu.args(["-device", &argument]);
                format!("bridge{bridge}.0")
            }
        }
    }

    /// Whether the emulator's device tree lacks what a real machine's tells.
    pub(crate) fn has_incomplete_tree(self) -> bool {
        self.is_powernv()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fittings::Device;
    use super::*;
    use crate::run;

    fn shown(machine: Machine, fittings: &Fittings) -> Result<String> {
        let mut qemu = Command::new("qemu");
        machine.set(&mut qemu, fittings)?;
        Ok(run::shown(&qemu))
    }

    #[test]
    fn each_device_of_a_powernv_machine_has_a_port_of_its_own() {
        let fittings = Fittings {
            devices: vec![Device::Edu, Device::E1000e],
            ..Fittings::of(Machine::Powernv9)
        };
        let line = shown(Machine::Powernv9, &fittings).unwrap();
        assert!(line.contains("-device edu,dma_mask=0xffffffffffffffff,bus=pcie.0 "), "{line}");
        assert!(line.contains("-device e1000e,romfile=,bus=pcie.1 "), "{line}");
    }

    #[test]
    fn each_further_device_of_a_partition_has_a_host_bridge_of_its_own() {
        let fittings = Fittings { devices: vec![Device::Edu; 2], ..Fittings::of(Machine::Pseries) };
        let line = shown(Machine::Pseries, &fittings).unwrap();
        let second = "-device spapr-pci-host-bridge,index=1,id=bridge1 -device edu,dma_mask=0xffffffffffffffff,bus=bridge1.0 ";
        assert!(line.contains("edu,dma_mask=0xffffffffffffffff,bus=pci.0 "), "{line}");
        assert!(line.contains(second), "{line}");
    }

    #[test]
    fn more_devices_than_ports_are_refused() {
        let devices = vec![Device::Edu; PORTS + 1];
        let fittings = Fittings { devices, ..Fittings::of(Machine::Powernv10) };
        assert!(shown(Machine::Powernv10, &fittings).is_err());
        assert!(shown(Machine::Pseries, &fittings).is_ok());
    }
}
