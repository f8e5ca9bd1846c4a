//! Groups and devices of a profile.

use tce_engine::{kernel::GroupNumber, machine::VFIO_PCI};

/// QEMU's educational device.
const EDU_ID: (u16, u16) = (0x1234, 0x11e8);
/// A Broadcom BCM5719.
const NIC_ID: (u16, u16) = (0x14e4, 0x1657);
/// Drivers that leave DMA to others (`driver_managed_dma`), so that they do not block a group.
const HARMLESS_DRIVERS: [&str; 3] = [VFIO_PCI, "pci-stub", "pcieport"];

/// What a device does when it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceModel {
    /// QEMU's `edu`: registers and DMA.
    Edu,
    /// Configuration space only.
    Inert,
}

/// A device on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Its PCI address.
    pub address: String,
    /// PCI vendor and device number.
    pub id: (u16, u16),
    /// The driver that holds it, if any.
    pub driver: Option<String>,
    /// What it does.
    pub model: DeviceModel,
}

impl DeviceProfile {
    /// An `edu` bound to `vfio-pci`.
    #[must_use]
    pub fn edu(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            id: EDU_ID,
            driver: Some(VFIO_PCI.to_owned()),
            model: DeviceModel::Edu,
        }
    }

    /// A network card bound to the host's `tg3`.
    #[must_use]
    pub fn host_nic(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            id: NIC_ID,
            driver: Some("tg3".to_owned()),
            model: DeviceModel::Inert,
        }
    }

    /// The same with another driver, or none.
    #[must_use]
    pub fn with_driver(self, driver: Option<&str>) -> Self {
        Self { driver: driver.map(str::to_owned), ..self }
    }

    /// Its place on the bus as `struct vfio_pci_dependent_device` packs it: domain, bus, device and function.
    pub(crate) fn place(&self) -> u64 {
        let mut numbers =
            self.address.split([':', '.']).map(|part| u64::from_str_radix(part, 16).unwrap_or(0));
        let [domain, bus, slot, function] = [(); 4].map(|()| numbers.next().unwrap_or(0));
        domain | bus << 16 | (slot << 3 | function) << 24
    }

    /// Whether VFIO holds it.
    pub(crate) fn is_vfio(&self) -> bool {
        self.driver.as_deref() == Some(VFIO_PCI)
    }

    /// Whether it owns its group's DMA for the host (`iommu_device_use_default_domain`).
    pub(crate) fn blocks_group(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| !HARMLESS_DRIVERS.contains(&driver))
    }
}

/// An IOMMU group: on POWER, a partitionable endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupProfile {
    /// Its number.
    pub number: GroupNumber,
    /// What is in it.
    pub devices: Vec<DeviceProfile>,
}

/// One `edu` behind each of two host bridges, numbered as on the emulated machines.
pub(super) fn powernv_groups() -> Vec<GroupProfile> {
    vec![edu_group(0, "0000:01:00.0"), edu_group(1, "0001:01:00.0")]
}

/// One `edu` on the partition's only bus.
pub(super) fn pseries_groups() -> Vec<GroupProfile> {
    vec![edu_group(0, "0000:00:00.0")]
}

fn edu_group(number: u32, address: &str) -> GroupProfile {
    GroupProfile { number: GroupNumber(number), devices: vec![DeviceProfile::edu(address)] }
}
