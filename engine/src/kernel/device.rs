//! What a VFIO device tells of itself, and its interrupts.

use std::fmt;

/// `VFIO_DEVICE_GET_INFO`'s answer (`struct vfio_device_info`), as far as it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Bit 0 (`VFIO_DEVICE_FLAGS_RESET`): [`Kernel::reset_device`](super::Kernel::reset_device) works.
    pub flags: u32,
    /// Kinds of interrupts that can be asked about, those included of which the device has none.
    pub interrupt_kinds: u32,
}

impl DeviceInfo {
    /// Whether `flags` says that the function can be reset.
    #[must_use]
    pub const fn can_reset(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// A kind of interrupts of a PCI device. A device has interrupts of one kind switched on, or of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterruptKind {
    /// `VFIO_PCI_INTX_IRQ_INDEX`: the legacy line.
    Intx,
    /// `VFIO_PCI_MSI_IRQ_INDEX`: message-signalled.
    Msi,
    /// `VFIO_PCI_MSIX_IRQ_INDEX`: message-signalled, from a table.
    Msix,
}

impl InterruptKind {
    /// All of them, each in the place of its number in `linux/vfio.h`.
    pub const ALL: [Self; 3] = [Self::Intx, Self::Msi, Self::Msix];

    /// Its number in `linux/vfio.h`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Intx => 0,
            Self::Msi => 1,
            Self::Msix => 2,
        }
    }
}

impl fmt::Display for InterruptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intx => "INTx",
            Self::Msi => "MSI",
            Self::Msix => "MSI-X",
        })
    }
}
