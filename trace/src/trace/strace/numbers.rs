//! The numbers of VFIO's calls, as strace writes them.

use super::line;

/// `VFIO_GET_API_VERSION`, counted from 0 as `VFIO_BASE` is 100.
pub(super) const API_VERSION: u32 = 100;
/// `VFIO_CHECK_EXTENSION`.
pub(super) const CHECK_EXTENSION: u32 = 101;
/// `VFIO_SET_IOMMU`.
pub(super) const SET_IOMMU: u32 = 102;
/// `VFIO_GROUP_UNSET_CONTAINER`.
pub(super) const UNSET_CONTAINER: u32 = 105;
/// `VFIO_GROUP_GET_DEVICE_FD`.
pub(super) const GET_DEVICE_FD: u32 = 106;

/// `VFIO_TYPE` in a request.
const VFIO_TYPE: u64 = 0x3b;
/// The numbers there are.
const NUMBERS: std::ops::RangeInclusive<u64> = 100..=130;

/// The names; several calls share a number, the descriptor decides.
const NAMES: [(&str, u32); 26] = [
    ("VFIO_GET_API_VERSION", API_VERSION),
    ("VFIO_CHECK_EXTENSION", CHECK_EXTENSION),
    ("VFIO_SET_IOMMU", SET_IOMMU),
    ("VFIO_GROUP_GET_STATUS", 103),
    ("VFIO_GROUP_SET_CONTAINER", 104),
    ("VFIO_GROUP_UNSET_CONTAINER", UNSET_CONTAINER),
    ("VFIO_GROUP_GET_DEVICE_FD", GET_DEVICE_FD),
    ("VFIO_DEVICE_GET_INFO", 107),
    ("VFIO_DEVICE_GET_REGION_INFO", 108),
    ("VFIO_DEVICE_GET_IRQ_INFO", 109),
    ("VFIO_DEVICE_SET_IRQS", 110),
    ("VFIO_DEVICE_RESET", 111),
    ("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", 112),
    ("VFIO_IOMMU_SPAPR_TCE_GET_INFO", 112),
    ("VFIO_DEVICE_PCI_HOT_RESET", 113),
    ("VFIO_IOMMU_MAP_DMA", 113),
    ("VFIO_IOMMU_UNMAP_DMA", 114),
    ("VFIO_IOMMU_ENABLE", 115),
    ("VFIO_IOMMU_DISABLE", 116),
    ("VFIO_DEVICE_FEATURE", 117),
    ("VFIO_IOMMU_SPAPR_REGISTER_MEMORY", 117),
    ("VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", 118),
    ("VFIO_IOMMU_SPAPR_TCE_CREATE", 119),
    ("VFIO_IOMMU_SPAPR_TCE_REMOVE", 120),
    ("VFIO_EEH_PE_OP", 121),
    ("VFIO_IOMMU_GET_INFO", 112),
];

/// The number of a request: `VFIO_SET_IOMMU`, `A or B`, `_IOC(_IOC_NONE, 0x3b, 0x71, 0)`, `0x20003b71`. `None` for one
/// that is not VFIO's.
pub(super) fn of_request(text: &str) -> Option<u32> {
    if let Some(parts) = text.strip_prefix("_IOC(") {
        let mut parts = parts.trim_end_matches(')').split(',').map(str::trim).skip(1);
        let (kind, number) = (line::number(parts.next()?)?, line::number(parts.next()?)?);
        return of_parts(kind, number);
    }
    if let Some(request) = line::number(text) {
        return of_parts(request >> 8 & 0xff, request & 0xff);
    }
    text.split(" or ").find_map(|name| {
        NAMES.iter().find(|(known, _)| *known == name.trim()).map(|(_, number)| *number)
    })
}

fn of_parts(kind: u64, number: u64) -> Option<u32> {
    if kind != VFIO_TYPE || !NUMBERS.contains(&number) {
        return None;
    }
    u32::try_from(number).ok()
}

/// The request of a number, as it is on powerpc.
pub(super) fn request(number: u32) -> u64 {
    0x2000_0000 | VFIO_TYPE << 8 | u64::from(number)
}
