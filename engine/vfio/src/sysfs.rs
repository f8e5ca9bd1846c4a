//! Groups and devices, as sysfs shows them.

use tce_engine::{
    kernel::GroupNumber,
    machine::{GroupDevice, MachineError},
};

use crate::root::Root;

/// The group of a PCI device.
pub(crate) fn group_of(root: &Root, address: &str) -> Result<GroupNumber, MachineError> {
    let device = format!("sys/bus/pci/devices/{address}");
    if !is_plain_name(address) || !root.has(&device) {
        return Err(MachineError::NoDevice(address.to_owned()));
    }
    root.link_name(format!("{device}/iommu_group"))
        .and_then(|number| number.parse().ok())
        .map(GroupNumber)
        .ok_or_else(|| MachineError::NoGroup(address.to_owned()))
}

/// The devices of a group.
pub(crate) fn devices_of(root: &Root, group: GroupNumber) -> Vec<GroupDevice> {
    let devices = format!("sys/kernel/iommu_groups/{group}/devices");
    root.names(&devices).into_iter().map(|name| device(root, &devices, name)).collect()
}

/// Every group, in ascending order.
pub(crate) fn groups(root: &Root) -> Vec<GroupNumber> {
    let names = root.names("sys/kernel/iommu_groups");
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(GroupNumber).collect()
}

fn device(root: &Root, devices: &str, address: String) -> GroupDevice {
    let directory = format!("{devices}/{address}");
    let number = |file: &str| {
        let text = root.text(format!("{directory}/{file}")).unwrap_or_default();
        u16::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or_default()
    };
    let driver = root.link_name(format!("{directory}/driver"));
    GroupDevice {
        id: (number("vendor"), number("device")),
        blocks_group: driver.as_deref().is_some_and(takes_dma),
        driver,
        address,
    }
}

/// Whether a driver uses its device's DMA itself, so that the group cannot be given to user space
/// (`pci_dma_configure`: all drivers but those with `driver_managed_dma`).
fn takes_dma(driver: &str) -> bool {
    let name = driver.replace('-', "_");
    let manages_dma = matches!(name.as_str(), "pci_stub" | "pcieport" | "vfio_pci")
        || name.ends_with("_vfio_pci");
    !manages_dma
}

/// Whether a device's name is just that: no way out of the directory of devices.
fn is_plain_name(address: &str) -> bool {
    let plain = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    address.contains(':') && address.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn tree() -> Tree {
        let tree = Tree::new();
        tree.device("0000:01:00.0", 3, "1234:11e8", Some("vfio-pci"));
        tree.device("0001:01:00.0", 12, "8086:10d3", Some("e1000e"));
        tree.device("0001:01:00.1", 12, "8086:10d3", None);
        tree.directory("sys/bus/pci/devices/0002:00:00.0");
        tree
    }

    #[test]
    fn a_device_knows_its_group() {
        assert_eq!(group_of(tree().root(), "0001:01:00.1"), Ok(GroupNumber(12)));
    }

    #[test]
    fn unknown_devices_and_devices_without_a_group_are_told_apart() {
        let tree = tree();
        let root = tree.root();
        let unknown = "0009:01:00.0".to_owned();
        assert_eq!(group_of(root, &unknown), Err(MachineError::NoDevice(unknown)));
        let alone = "0002:00:00.0".to_owned();
        assert_eq!(group_of(root, &alone), Err(MachineError::NoGroup(alone)));
    }

    #[test]
    fn a_path_is_no_device() {
        let tree = tree();
        let root = tree.root();
        for address in ["", ".", "..", "../devices/0000:01:00.0", "0000:01:00.0/", "/"] {
            assert_eq!(group_of(root, address), Err(MachineError::NoDevice(address.to_owned())));
        }
    }

    #[test]
    fn groups_come_in_the_order_of_their_numbers() {
        assert_eq!(groups(tree().root()), [GroupNumber(3), GroupNumber(12)]);
        assert_eq!(groups(Tree::new().root()), []);
    }

    #[test]
    fn a_group_shows_who_blocks_it() {
        let devices = devices_of(tree().root(), GroupNumber(12));
        let [holder, free] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!((holder.driver.as_deref(), holder.blocks_group), (Some("e1000e"), true));
        assert_eq!(holder.id, (0x8086, 0x10d3));
        assert_eq!((free.driver.as_deref(), free.blocks_group), (None, false));
    }

    #[test]
    fn a_group_that_is_not_there_has_no_devices() {
        assert_eq!(devices_of(tree().root(), GroupNumber(4)), []);
    }

    #[test]
    fn drivers_that_leave_dma_alone_block_nothing() {
        for driver in ["vfio-pci", "mlx5_vfio_pci", "nvgrace-gpu-vfio-pci", "pci-stub", "pcieport"]
        {
            assert!(!takes_dma(driver), "{driver}");
        }
        for driver in ["nvme", "e1000e", "vfio", "xhci_hcd"] {
            assert!(takes_dma(driver), "{driver}");
        }
    }
}
