//! Calls on a device's descriptor.

use serde::{Deserialize, Serialize};

/// What is asked of a device. In a trace its name, or its number (of `VFIO_BASE`) where this project knows no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DeviceOperation {
    /// One with a name.
    Named(DeviceOperationName),
    /// Another, by its number in `linux/vfio.h`, counted from `VFIO_BASE` as there (such as 117).
    Number(u32),
}

/// The names of what is asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceOperationName {
    /// `VFIO_DEVICE_GET_INFO`.
    Info,
    /// `VFIO_DEVICE_GET_REGION_INFO`.
    RegionInfo,
    /// `VFIO_DEVICE_GET_IRQ_INFO`.
    IrqInfo,
    /// `VFIO_DEVICE_SET_IRQS`.
    SetIrqs,
    /// `VFIO_DEVICE_RESET`.
    Reset,
    /// `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`: a container's `GET_INFO`.
    HotResetInfo,
    /// `VFIO_DEVICE_PCI_HOT_RESET`: a container's `MAP_DMA`.
    HotReset,
    /// `VFIO_DEVICE_FEATURE`: a container's `REGISTER_MEMORY`.
    Feature,
}

impl DeviceOperation {
    /// The operation of this number, counted as `linux/vfio.h` does: `VFIO_BASE` (100) and so much.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self::Named(match number {
            107 => DeviceOperationName::Info,
            108 => DeviceOperationName::RegionInfo,
            109 => DeviceOperationName::IrqInfo,
            110 => DeviceOperationName::SetIrqs,
            111 => DeviceOperationName::Reset,
            112 => DeviceOperationName::HotResetInfo,
            113 => DeviceOperationName::HotReset,
            117 => DeviceOperationName::Feature,
            other => return Self::Number(other),
        })
    }
}
