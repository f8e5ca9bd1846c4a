//! Calls that the kernel failed: which, with what arguments, how, and what to do about it.

use std::fmt;

use thiserror::Error;

use crate::{
    addr::Iova,
    errno::Errno,
    kernel::{
        CreateCall, EehOperation, Extension, GroupNumber, GuestTableCall, InterruptKind, MapCall,
        MemoryRange, Raw, UnmapCall,
    },
};

/// The kinds of kernel calls, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Opening, asking for or closing descriptors.
    Descriptor,
    /// `VFIO_CHECK_EXTENSION`, `VFIO_GROUP_GET_STATUS`, `VFIO_IOMMU_SPAPR_TCE_GET_INFO`, what a device can do, the state
    /// of PEs, reading events.
    Query,
    /// `VFIO_GROUP_SET_CONTAINER`, `VFIO_SET_IOMMU`, `VFIO_GROUP_UNSET_CONTAINER`.
    Attach,
    /// Reading or writing a device's registers, what its interrupts do, resets of it or of its PE.
    DeviceAccess,
    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY`.
    Register,
    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY`.
    Unregister,
    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`.
    Create,
    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`.
    Remove,
    /// `VFIO_IOMMU_MAP_DMA`.
    Map,
    /// `VFIO_IOMMU_UNMAP_DMA`.
    Unmap,
    /// What KVM is told: its link to VFIO, groups, and tables of guests.
    Guest,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Descriptor,
        Self::Query,
        Self::Attach,
        Self::DeviceAccess,
        Self::Register,
        Self::Unregister,
        Self::Create,
        Self::Remove,
        Self::Map,
        Self::Unmap,
        Self::Guest,
    ];

    /// Its place in [`Operation::ALL`].
    const fn place(self) -> usize {
        match self {
            Self::Descriptor => 0,
            Self::Query => 1,
            Self::Attach => 2,
            Self::DeviceAccess => 3,
            Self::Register => 4,
            Self::Unregister => 5,
            Self::Create => 6,
            Self::Remove => 7,
            Self::Map => 8,
            Self::Unmap => 9,
            Self::Guest => 10,
        }
    }

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Descriptor => "descriptor",
            Self::Query => "query",
            Self::Attach => "attach",
            Self::DeviceAccess => "device-access",
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Map => "map",
            Self::Unmap => "unmap",
            Self::Guest => "guest",
        }
    }
}

/// How many calls of each kind were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts([u64; Operation::ALL.len()]);

impl CallCounts {
    pub(crate) fn add(&mut self, operation: Operation) {
        self.0[operation.place()] += 1;
    }

    /// The calls of one kind.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.0[operation.place()]
    }

    /// The calls of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// One kernel call with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Open of `/dev/vfio/vfio`.
    OpenContainer,
    /// Open of `/dev/vfio/N`.
    OpenGroup(GroupNumber),
    /// `VFIO_GROUP_GET_DEVICE_FD`.
    OpenDevice(String),
    /// Closing a container, group or device.
    Close(&'static str),
    /// `VFIO_CHECK_EXTENSION`.
    CheckExtension(Extension),
    /// `VFIO_GROUP_GET_STATUS`.
    GroupStatus(GroupNumber),
    /// `VFIO_GROUP_SET_CONTAINER`.
    SetContainer(GroupNumber),
    /// `VFIO_GROUP_UNSET_CONTAINER`.
    UnsetContainer(GroupNumber),
    /// `VFIO_SET_IOMMU`.
    SetIommu,
    /// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`.
    Info,
    /// Opening an eventfd.
    OpenEvent,
    /// Reading an eventfd.
    ReadEvent,
    /// `VFIO_DEVICE_SET_IRQS` of the request event.
    WatchRequests(String),
    /// `VFIO_DEVICE_GET_INFO`.
    DeviceInfo(String),
    /// `VFIO_DEVICE_GET_IRQ_INFO`.
    InterruptInfo {
        /// Of which device.
        device: String,
        /// Of which kind.
        kind: InterruptKind,
    },
    /// `VFIO_DEVICE_SET_IRQS` without data, which takes interrupts off.
    DisableInterrupts {
        /// Of which device.
        device: String,
        /// Of which kind.
        kind: InterruptKind,
    },
    /// Reading or writing the PCI command register.
    CommandRegister(String),
    /// `VFIO_DEVICE_RESET`.
    ResetDevice(String),
    /// `VFIO_EEH_PE_OP`.
    Eeh(EehOperation),
    /// Reading the process's locked memory.
    LockedMemory,
    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY`.
    Register(MemoryRange),
    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY`.
    Unregister(MemoryRange),
    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`.
    Create(CreateCall),
    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`.
    Remove(Iova),
    /// `VFIO_IOMMU_MAP_DMA`.
    Map(MapCall),
    /// `VFIO_IOMMU_UNMAP_DMA`.
    Unmap(UnmapCall),
    /// `KVM_CREATE_DEVICE` of the link to VFIO.
    CreateLink,
    /// `KVM_CREATE_SPAPR_TCE_64`.
    CreateGuestTable(GuestTableCall),
    /// `KVM_DEV_VFIO_GROUP_ADD`.
    AddGroup(GroupNumber),
    /// `KVM_DEV_VFIO_GROUP_DEL`.
    DeleteGroup(GroupNumber),
    /// `KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE`.
    AttachGuestTable(GroupNumber),
    /// Reading a guest's table.
    ReadGuestTable,
}

impl Call {
    /// Its kind.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::OpenContainer
            | Self::OpenGroup(_)
            | Self::OpenDevice(_)
            | Self::Close(_)
            | Self::OpenEvent
            | Self::LockedMemory => Operation::Descriptor,
            Self::CheckExtension(_)
            | Self::GroupStatus(_)
            | Self::Info
            | Self::DeviceInfo(_)
            | Self::InterruptInfo { .. }
            | Self::Eeh(EehOperation::GetState)
            | Self::ReadEvent => Operation::Query,
            Self::SetContainer(_) | Self::UnsetContainer(_) | Self::SetIommu => Operation::Attach,
            Self::CommandRegister(_)
            | Self::WatchRequests(_)
            | Self::DisableInterrupts { .. }
            | Self::ResetDevice(_)
            | Self::Eeh(_) => Operation::DeviceAccess,
            Self::Register(_) => Operation::Register,
            Self::Unregister(_) => Operation::Unregister,
            Self::Create(_) => Operation::Create,
            Self::Remove(_) => Operation::Remove,
            Self::Map(_) => Operation::Map,
            Self::Unmap(_) => Operation::Unmap,
            Self::CreateLink
            | Self::CreateGuestTable(_)
            | Self::AddGroup(_)
            | Self::DeleteGroup(_)
            | Self::AttachGuestTable(_)
            | Self::ReadGuestTable => Operation::Guest,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenContainer => f.write_str("opening /dev/vfio/vfio"),
            Self::OpenGroup(group) => write!(f, "opening /dev/vfio/{group}"),
            Self::OpenDevice(address) => write!(f, "VFIO_GROUP_GET_DEVICE_FD of {address}"),
            Self::Close(what) => write!(f, "closing the {what}"),
            Self::CheckExtension(extension) => write!(f, "VFIO_CHECK_EXTENSION of {extension}"),
            Self::GroupStatus(group) => write!(f, "VFIO_GROUP_GET_STATUS of group {group}"),
            Self::SetContainer(group) => write!(f, "VFIO_GROUP_SET_CONTAINER of group {group}"),
            Self::UnsetContainer(group) => write!(f, "VFIO_GROUP_UNSET_CONTAINER of group {group}"),
            Self::SetIommu => f.write_str("VFIO_SET_IOMMU to VFIO_SPAPR_TCE_v2_IOMMU"),
            Self::Info => f.write_str("VFIO_IOMMU_SPAPR_TCE_GET_INFO"),
            Self::CreateLink => f.write_str("KVM_CREATE_DEVICE of the link to VFIO"),
            Self::CreateGuestTable(GuestTableCall { liobn, page_shift, offset, size }) => write!(
                f,
                "KVM_CREATE_SPAPR_TCE_64 of LIOBN {liobn:#x}, {size} TCEs of 2^{page_shift} bytes from TCE {offset:#x}"
            ),
            Self::AddGroup(group) => write!(f, "KVM_DEV_VFIO_GROUP_ADD of group {group}"),
            Self::DeleteGroup(group) => write!(f, "KVM_DEV_VFIO_GROUP_DEL of group {group}"),
            Self::AttachGuestTable(group) => {
                write!(f, "KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE of group {group}")
            }
            Self::ReadGuestTable => f.write_str("reading a guest's table"),
            Self::OpenEvent => f.write_str("opening an eventfd"),
            Self::ReadEvent => f.write_str("reading an eventfd"),
            Self::WatchRequests(address) => {
                write!(f, "VFIO_DEVICE_SET_IRQS of the request event of {address}")
            }
            Self::DeviceInfo(address) => write!(f, "VFIO_DEVICE_GET_INFO of {address}"),
            Self::InterruptInfo { device, kind } => {
                write!(f, "VFIO_DEVICE_GET_IRQ_INFO of {kind} of {device}")
            }
            Self::DisableInterrupts { device, kind } => {
                write!(f, "VFIO_DEVICE_SET_IRQS, which takes {kind} of {device} off,")
            }
            Self::CommandRegister(address) => write!(f, "the command register of {address}"),
            Self::ResetDevice(address) => write!(f, "VFIO_DEVICE_RESET of {address}"),
            Self::Eeh(operation) => operation.fmt(f),
            Self::LockedMemory => f.write_str("reading the locked memory of the process"),
            Self::Register(range) => memory(f, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY", range),
            Self::Unregister(range) => memory(f, "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", range),
            Self::Create(call) => write!(
                f,
                "VFIO_IOMMU_SPAPR_TCE_CREATE of {} with page shift {} and {} level(s)",
                call.size, call.page_shift, call.levels
            ),
            Self::Remove(start) => write!(f, "VFIO_IOMMU_SPAPR_TCE_REMOVE of {start}"),
            Self::Map(call) => write!(
                f,
                "VFIO_IOMMU_MAP_DMA of {} at IOVA {} to memory at {} (flags {})",
                call.size, call.iova, call.address, call.flags
            ),
            Self::Unmap(call) => {
                write!(f, "VFIO_IOMMU_UNMAP_DMA of {} at IOVA {}", call.size, call.iova)
            }
        }
    }
}

fn memory(f: &mut fmt::Formatter<'_>, name: &str, range: &MemoryRange) -> fmt::Result {
    write!(f, "{name} of {} at {}", range.size, range.address)
}

/// A call that the kernel failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{call} failed: {}", outcome(*.result))]
pub struct Fault {
    /// The call.
    pub call: Call,
    /// What it returned.
    pub result: Raw,
}

fn outcome(result: Raw) -> String {
    match result {
        Raw::Returned(value) => format!("it returned {value}, where 0 is success"),
        Raw::Failed(errno) => errno.to_string(),
    }
}

impl Fault {
    /// The errno, if there was one.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self.result {
            Raw::Failed(errno) => Some(errno),
            Raw::Returned(_) => None,
        }
    }

    /// What the user can do, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        let errno = self.errno()?;
        match (&self.call, errno) {
            (Call::OpenContainer, Errno::ENOENT) => Some(
                "load the modules vfio and vfio_iommu_spapr_tce: `modprobe vfio_iommu_spapr_tce vfio-pci`",
            ),
            (Call::OpenContainer | Call::OpenGroup(_), Errno::EACCES | Errno::EPERM) => {
                Some("run as root, or give this user the device node, for instance by a udev rule")
            }
            (Call::OpenGroup(_), Errno::ENOENT) => Some(
                "bind the group's devices to vfio-pci; `tce doctor` shows the groups there are",
            ),
            (Call::OpenGroup(_), Errno::EBUSY) => {
                Some("another program has the group open: end it first")
            }
            (Call::SetContainer(_), Errno::EPERM | Errno::EBUSY) => {
                Some("another driver owns DMA of a device of this group; `tce doctor` shows which")
            }
            (Call::ResetDevice(_), Errno::EAGAIN) => {
                Some("something else was busy with the device: try again")
            }
            (Call::Register(_) | Call::Create(_), Errno::ENOMEM) => Some(
                "raise the locked-memory limit (`ulimit -l`, LimitMEMLOCK= in systemd), or free memory",
            ),
            (Call::Create(_), Errno::ENODEV) => Some(
                "the firmware made no window, and the kernel asks it for none until the partition boots anew: do that, \
                 and ask for less",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_counted_in_a_place_of_its_own() {
        let places = Operation::ALL.map(Operation::place);
        assert!(places.iter().copied().eq(0..Operation::ALL.len()), "{places:?}");
    }
}
