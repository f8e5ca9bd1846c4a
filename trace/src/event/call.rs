//! The calls, with their arguments.

use serde::{Deserialize, Serialize};
use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::Fd,
};

use super::DeviceOperation;
use crate::hex;

/// A call that matters to DMA windows, with its arguments; those that the kernel filled in are as they were after the
/// call, and mean something only if it succeeded.
///
/// Descriptors are numbers of the process that made the call. A descriptor that the program got by other ways than
/// these calls (passed over a socket, inherited from before the recording) shows up without having been opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Call {
    /// Open of `/dev/vfio/vfio`; the answer is the descriptor.
    OpenContainer,
    /// Open of `/dev/vfio/N`; the answer is the descriptor.
    OpenGroup {
        /// The group's number.
        group: u32,
    },
    /// A descriptor of these was closed, also by `close_range`, by being replaced (`dup2`) or by an exec.
    Close {
        /// The descriptor.
        #[serde(with = "hex::fd")]
        fd: Fd,
    },
    /// `dup`, `dup2`, `dup3` or `fcntl(F_DUPFD…)`; the answer is the new descriptor. What it replaced is closed by an
    /// event before.
    Duplicate {
        /// The descriptor.
        #[serde(with = "hex::fd")]
        fd: Fd,
    },
    /// The process made another one that inherited its descriptors (`fork`, `vfork`, `clone` without `CLONE_FILES`).
    Fork {
        /// The new process.
        child: u32,
    },
    /// The process ended: all its descriptors are closed, its memory is gone. The answer is 0.
    Exit,
    /// `VFIO_GET_API_VERSION`; the answer is the version.
    ApiVersion {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
    },
    /// `VFIO_CHECK_EXTENSION`.
    CheckExtension {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// The extension's number in `linux/vfio.h`.
        extension: u32,
    },
    /// `VFIO_SET_IOMMU`.
    SetIommu {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// The backend's number in `linux/vfio.h`; 7 is `VFIO_SPAPR_TCE_v2_IOMMU`.
        backend: u32,
    },
    /// `VFIO_GROUP_GET_STATUS`.
    GroupStatus {
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
        /// As answered: bit 0 viable, bit 1 in a container.
        flags: u32,
    },
    /// `VFIO_GROUP_SET_CONTAINER`.
    SetContainer {
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
    },
    /// `VFIO_GROUP_UNSET_CONTAINER`.
    UnsetContainer {
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
    },
    /// `VFIO_GROUP_GET_DEVICE_FD`; the answer is the descriptor.
    OpenDevice {
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
        /// The device's address, such as `0000:01:00.0`.
        address: String,
    },
    /// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`, with the structure as answered.
    Info {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Bit 0 (`VFIO_IOMMU_SPAPR_INFO_DDW`): the three last fields are filled in.
        flags: u32,
        /// Start of the default 32-bit window.
        #[serde(with = "hex")]
        window_start: Iova,
        /// Its size.
        #[serde(with = "hex")]
        window_size: Bytes,
        /// One bit for each TCE page size.
        #[serde(with = "hex")]
        page_sizes: u64,
        /// Windows a container can have.
        windows_max: u32,
        /// Table levels the platform speaks of.
        levels_max: u32,
    },
    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY`.
    Register {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Flags; the kernel takes none.
        flags: u32,
        /// The first byte.
        #[serde(with = "hex")]
        address: HostAddr,
        /// The size.
        #[serde(with = "hex")]
        size: Bytes,
    },
    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY`.
    Unregister {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Flags; the kernel takes none.
        flags: u32,
        /// The first byte.
        #[serde(with = "hex")]
        address: HostAddr,
        /// The size.
        #[serde(with = "hex")]
        size: Bytes,
    },
    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`.
    Create {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Flags; the kernel takes none.
        flags: u32,
        /// The TCE page's shift.
        page_shift: u32,
        /// The window's size.
        #[serde(with = "hex")]
        size: Bytes,
        /// Levels of its table.
        levels: u32,
        /// Its start, as answered.
        #[serde(with = "hex")]
        start: Iova,
    },
    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`.
    Remove {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Flags; the kernel takes none.
        flags: u32,
        /// An address in the window.
        #[serde(with = "hex")]
        start: Iova,
    },
    /// `VFIO_IOMMU_MAP_DMA`.
    Map {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Bit 0: the device may read; bit 1: it may write.
        flags: u32,
        /// The memory.
        #[serde(with = "hex")]
        address: HostAddr,
        /// Where the device finds it.
        #[serde(with = "hex")]
        iova: Iova,
        /// The size.
        #[serde(with = "hex")]
        size: Bytes,
    },
    /// `VFIO_IOMMU_UNMAP_DMA`.
    Unmap {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// Flags; the kernel takes none.
        flags: u32,
        /// The start.
        #[serde(with = "hex")]
        iova: Iova,
        /// The size.
        #[serde(with = "hex")]
        size: Bytes,
    },
    /// `VFIO_IOMMU_ENABLE`, of the backend's first version.
    Enable {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
    },
    /// `VFIO_IOMMU_DISABLE`, of the backend's first version.
    Disable {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
    },
    /// `VFIO_EEH_PE_OP`.
    Eeh {
        /// The container.
        #[serde(with = "hex::fd")]
        container: Fd,
        /// The operation's number in `linux/vfio.h`.
        operation: u32,
    },
    /// `KVM_CREATE_VM`; the answer is the descriptor.
    CreateVm,
    /// `KVM_CREATE_DEVICE` of `KVM_DEV_TYPE_VFIO`; the answer is the descriptor that the kernel wrote.
    CreateKvmVfio {
        /// The virtual machine.
        #[serde(with = "hex::fd")]
        vm: Fd,
    },
    /// `KVM_CREATE_SPAPR_TCE_64`; the answer is the descriptor.
    CreateGuestTable {
        /// The virtual machine.
        #[serde(with = "hex::fd")]
        vm: Fd,
        /// The table's name in hypercalls.
        #[serde(with = "hex")]
        liobn: u64,
        /// The guest's TCE page's shift.
        page_shift: u32,
        /// Where the guest's window starts, in its TCE pages.
        #[serde(with = "hex")]
        offset: u64,
        /// How large it is, in its TCE pages.
        #[serde(with = "hex")]
        size: u64,
    },
    /// `KVM_DEV_VFIO_GROUP_ADD`.
    AddGroup {
        /// The virtual machine's link to VFIO.
        #[serde(with = "hex::fd")]
        link: Fd,
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
    },
    /// `KVM_DEV_VFIO_GROUP_DEL`.
    DeleteGroup {
        /// The virtual machine's link to VFIO.
        #[serde(with = "hex::fd")]
        link: Fd,
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
    },
    /// `KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE`.
    AttachGuestTable {
        /// The virtual machine's link to VFIO.
        #[serde(with = "hex::fd")]
        link: Fd,
        /// The group.
        #[serde(with = "hex::fd")]
        group: Fd,
        /// The guest's table.
        #[serde(with = "hex::fd")]
        table: Fd,
    },
    /// A call on a device's descriptor, where the container's numbers mean other things.
    Device {
        /// The device.
        #[serde(with = "hex::fd")]
        device: Fd,
        /// What was asked.
        operation: DeviceOperation,
    },
    /// Another call on one of these descriptors, or one whose arguments could not be read.
    Other {
        /// The descriptor.
        #[serde(with = "hex::fd")]
        fd: Fd,
        /// The whole request number, as this architecture has it.
        #[serde(with = "hex")]
        request: u64,
    },
}

impl Call {
    /// Its name in a trace, such as `unset-container`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OpenContainer => "open-container",
            Self::OpenGroup { .. } => "open-group",
            Self::Close { .. } => "close",
            Self::Duplicate { .. } => "duplicate",
            Self::Fork { .. } => "fork",
            Self::Exit => "exit",
            Self::ApiVersion { .. } => "api-version",
            Self::CheckExtension { .. } => "check-extension",
            Self::SetIommu { .. } => "set-iommu",
            Self::GroupStatus { .. } => "group-status",
            Self::SetContainer { .. } => "set-container",
            Self::UnsetContainer { .. } => "unset-container",
            Self::OpenDevice { .. } => "open-device",
            Self::Info { .. } => "info",
            Self::Register { .. } => "register",
            Self::Unregister { .. } => "unregister",
            Self::Create { .. } => "create",
            Self::Remove { .. } => "remove",
            Self::Map { .. } => "map",
            Self::Unmap { .. } => "unmap",
            Self::Enable { .. } => "enable",
            Self::Disable { .. } => "disable",
            Self::Eeh { .. } => "eeh",
            Self::CreateVm => "create-vm",
            Self::CreateKvmVfio { .. } => "create-kvm-vfio",
            Self::CreateGuestTable { .. } => "create-guest-table",
            Self::AddGroup { .. } => "add-group",
            Self::DeleteGroup { .. } => "delete-group",
            Self::AttachGuestTable { .. } => "attach-guest-table",
            Self::Device { .. } => "device",
            Self::Other { .. } => "other",
        }
    }

    /// The container it is on.
    #[must_use]
    pub const fn container(&self) -> Option<Fd> {
        match self {
            Self::ApiVersion { container }
            | Self::CheckExtension { container, .. }
            | Self::SetIommu { container, .. }
            | Self::SetContainer { container, .. }
            | Self::Info { container, .. }
            | Self::Register { container, .. }
            | Self::Unregister { container, .. }
            | Self::Create { container, .. }
            | Self::Remove { container, .. }
            | Self::Map { container, .. }
            | Self::Unmap { container, .. }
            | Self::Enable { container }
            | Self::Disable { container }
            | Self::Eeh { container, .. } => Some(*container),
            _ => None,
        }
    }

    /// The group it is on.
    #[must_use]
    pub const fn group(&self) -> Option<Fd> {
        match self {
            Self::GroupStatus { group, .. }
            | Self::SetContainer { group, .. }
            | Self::UnsetContainer { group }
            | Self::OpenDevice { group, .. }
            | Self::AddGroup { group, .. }
            | Self::DeleteGroup { group, .. }
            | Self::AttachGuestTable { group, .. } => Some(*group),
            _ => None,
        }
    }

    /// The flags of a call whose flags the kernel wants to be 0.
    #[must_use]
    pub const fn flags(&self) -> Option<u32> {
        match self {
            Self::Register { flags, .. }
            | Self::Unregister { flags, .. }
            | Self::Create { flags, .. }
            | Self::Remove { flags, .. }
            | Self::Unmap { flags, .. } => Some(*flags),
            _ => None,
        }
    }
}
