//! The seam to the kernel: the raw operations of VFIO's sPAPR TCE v2 backend.
//!
//! Arguments are typed, results are raw: what the system call returned and its errno, as they came. Nothing is
//! checked here and nothing is interpreted; that is the engine's work above the seam. The real kernel (`tce-vfio`)
//! and the simulated one (`tce-sim`) implement [`Kernel`]; an implementation is the view of one process on its
//! kernel, and a descriptor of it means nothing to another.

use std::fmt;

mod descriptor;
mod device;
mod eeh;
mod layer;

pub use descriptor::{
    ContainerFd, DescriptorKind, DeviceFd, EventFd, Fd, GroupFd, GuestTableFd, KvmVfioFd, VmFd,
};
pub use device::{DeviceInfo, InterruptKind};
pub use eeh::{EehOperation, InjectedError};
pub use layer::Layer;

use crate::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
};

/// What one `ioctl` returned. Anything but `Returned(0)` is a failure to the engine, positive numbers included:
/// `MAP_DMA` and `UNMAP_DMA` answer +1 to a misaligned or overlong range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A value that was not -1.
    Returned(i32),
    /// -1, with this errno.
    Failed(Errno),
}

impl Raw {
    /// Plain success.
    pub const OK: Self = Self::Returned(0);
}

/// What an `ioctl` returned, and what it wrote into its structure. `out` means nothing unless the call succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// The result.
    pub raw: Raw,
    /// The structure's answer.
    pub out: T,
}

/// The number of an IOMMU group: on POWER, of a partitionable endpoint (PE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNumber(pub u32);

impl fmt::Display for GroupNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What `VFIO_CHECK_EXTENSION` asks for, and `VFIO_SET_IOMMU` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `VFIO_SPAPR_TCE_IOMMU`, the first version of the backend.
    SpaprTceV1,
    /// `VFIO_EEH`, enhanced error handling.
    Eeh,
    /// `VFIO_SPAPR_TCE_v2_IOMMU`, the backend this project drives.
    SpaprTceV2,
    /// Another number of `linux/vfio.h`: one of another backend, or of none.
    Other(u32),
}

impl Extension {
    /// Its number in `linux/vfio.h`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::SpaprTceV1 => 2,
            Self::Eeh => 5,
            Self::SpaprTceV2 => 7,
            Self::Other(number) => number,
        }
    }

    /// The extension of this number.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            2 => Self::SpaprTceV1,
            5 => Self::Eeh,
            7 => Self::SpaprTceV2,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpaprTceV1 => f.write_str("VFIO_SPAPR_TCE_IOMMU"),
            Self::Eeh => f.write_str("VFIO_EEH"),
            Self::SpaprTceV2 => f.write_str("VFIO_SPAPR_TCE_v2_IOMMU"),
            Self::Other(number) => write!(f, "extension {number}"),
        }
    }
}

/// `VFIO_GROUP_GET_STATUS`'s answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// Every device of the group is bound to a VFIO driver or to none.
    pub viable: bool,
    /// The group is in a container.
    pub in_container: bool,
}

/// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`'s answer (`struct vfio_iommu_spapr_tce_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaprInfo {
    /// Bit 0 (`VFIO_IOMMU_SPAPR_INFO_DDW`): the three last fields are filled in.
    pub flags: u32,
    /// Start of the default 32-bit window, whether it exists now or not.
    pub dma32_window_start: u32,
    /// Its size in bytes.
    pub dma32_window_size: u32,
    /// One bit for each TCE page size: bit `s` stands for `1 << s` bytes.
    pub page_sizes: u64,
    /// Windows a container can have; `u32::MAX` where the firmware would not tell.
    pub windows_max: u32,
    /// Table levels the platform speaks of. More than really work.
    pub levels_max: u32,
}

impl SpaprInfo {
    /// Whether `flags` says that dynamic windows exist.
    #[must_use]
    pub const fn has_dynamic_windows(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// A range of the process's memory, for `REGISTER_MEMORY` and `UNREGISTER_MEMORY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryRange {
    /// Its first byte.
    pub address: HostAddr,
    /// Its size.
    pub size: Bytes,
}

/// `VFIO_IOMMU_SPAPR_TCE_CREATE`'s arguments. The kernel chooses slot and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateCall {
    /// The TCE page's shift, unchecked.
    pub page_shift: u32,
    /// The window's size.
    pub size: Bytes,
    /// Levels of the table.
    pub levels: u32,
}

/// Flag of [`MapCall`]: the device may read.
pub const MAP_READ: u32 = 1;
/// Flag of [`MapCall`]: the device may write.
pub const MAP_WRITE: u32 = 2;

/// `VFIO_IOMMU_MAP_DMA`'s arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapCall {
    /// [`MAP_READ`] and [`MAP_WRITE`], or whatever the caller wants to see refused.
    pub flags: u32,
    /// The memory.
    pub address: HostAddr,
    /// Where the device will find it.
    pub iova: Iova,
    /// How much.
    pub size: Bytes,
}

/// `VFIO_IOMMU_UNMAP_DMA`'s arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapCall {
    /// From here.
    pub iova: Iova,
    /// This much.
    pub size: Bytes,
}

/// `KVM_CREATE_SPAPR_TCE_64`'s arguments, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTableCall {
    /// The table's name in hypercalls: logical I/O bus number. One table of a virtual machine has it.
    pub liobn: u64,
    /// The shift of the guest's TCE page.
    pub page_shift: u32,
    /// Where the guest's window starts, in its TCE pages.
    pub offset: u64,
    /// How large it is, in its TCE pages.
    pub size: u64,
}

/// A part of a device that can be read and written through its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSpace {
    /// A base address register's region, 0 to 5.
    Bar(u8),
    /// PCI configuration space.
    Config,
}

/// What the kernel counts against the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockedMemory {
    /// Charged against the locked-memory limit (`VmLck`): registered memory and tables.
    pub locked: Bytes,
    /// Pinned pages the kernel counts apart (`VmPin`).
    pub pinned: Bytes,
}

/// Which firmware interface the kernel drives its tables through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// On bare metal, through OPAL.
    Powernv,
    /// Inside a logical partition, through hypervisor calls.
    Pseries,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Powernv => "powernv",
            Self::Pseries => "pseries",
        })
    }
}

/// What does not change while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemFacts {
    /// The platform.
    pub platform: Platform,
    /// The kernel's page.
    pub page_shift: PageShift,
    /// The process's locked-memory limit; `None` where it has none (`CAP_IPC_LOCK`, or unlimited).
    pub locked_limit: Option<Bytes>,
}

/// The raw operations of one process on its kernel.
///
/// Each operation is one system call. Calls on one container must not run at the same time: the kernel takes no lock
/// for most of them (`vfio_fops_unl_ioctl`), hence `&mut self`.
///
/// A kernel that stands in front of another and passes most calls on implements [`Layer`] instead.
#[expect(clippy::missing_errors_doc, reason = "an errno is a result here, as the kernel gave it")]
pub trait Kernel {
    /// What does not change while the process runs.
    fn system(&self) -> SystemFacts;

    /// What the kernel counts against the process now.
    fn locked_memory(&mut self) -> Result<LockedMemory, Errno>;

    /// What a descriptor is.
    fn kind(&mut self, fd: Fd) -> DescriptorKind;

    /// Closes a descriptor of any kind. When a container's last group is closed, the kernel takes everything down
    /// (`tce_iommu_release`); as long as a group is in the container, closing the container's own descriptor does not.
    fn close(&mut self, fd: Fd) -> Result<(), Errno>;

    /// Opens `/dev/vfio/vfio`.
    fn open_container(&mut self) -> Result<ContainerFd, Errno>;

    /// `VFIO_CHECK_EXTENSION`.
    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw;

    /// `VFIO_SET_IOMMU`: makes the backend, which needs a group.
    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw;

    /// Opens `/dev/vfio/N`. A group has one opener at a time (`EBUSY`).
    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno>;

    /// `VFIO_GROUP_GET_STATUS`.
    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus>;

    /// `VFIO_GROUP_SET_CONTAINER`.
    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw;

    /// `VFIO_GROUP_UNSET_CONTAINER`: `EBUSY` while a device of the group is open. The last group takes the backend
    /// with it (`vfio_group_detach_container`).
    fn unset_container(&mut self, group: GroupFd) -> Raw;

    /// `VFIO_GROUP_GET_DEVICE_FD`, by the device's PCI address, such as `0000:01:00.0`.
    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno>;

    /// Reads device registers, as the bytes lie there.
    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno>;

    /// Writes device registers.
    fn write_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno>;

    /// `VFIO_DEVICE_GET_INFO`.
    fn device_info(&mut self, device: DeviceFd) -> Reply<DeviceInfo>;

    /// `VFIO_DEVICE_RESET`: resets the function and restores its configuration space, so bus mastering stays as it was
    /// (`pci_try_reset_function`). `EINVAL` where the function has no reset (`vfio_pci_ioctl_reset`).
    fn reset_device(&mut self, device: DeviceFd) -> Raw;

    /// `VFIO_DEVICE_GET_IRQ_INFO`: how many interrupts of a kind the device has.
    fn interrupt_info(&mut self, device: DeviceFd, kind: InterruptKind) -> Reply<u32>;

    /// `VFIO_DEVICE_SET_IRQS` with one event, for the first interrupt of a kind, as a driver does. `EINVAL` while
    /// another kind is on.
    fn enable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind, event: EventFd) -> Raw;

    /// `VFIO_DEVICE_SET_IRQS` without data: takes all interrupts of a kind off. `EINVAL` while they are not on, too
    /// (`vfio_pci_set_intx_trigger`, `vfio_pci_set_msi_trigger`).
    fn disable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind) -> Raw;

    /// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`.
    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo>;

    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY`: pins and charges. Of a range that is mapped only at its start it returns how
    /// many pages it had pinned, a positive number, and has registered nothing.
    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw;

    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY`. Its 0 is no proof: memory that is still mapped leaks.
    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw;

    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`; the answer is the new window's start.
    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova>;

    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`: any address inside a window removes it.
    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw;

    /// `VFIO_IOMMU_MAP_DMA`. Only the first page is checked against the window: an overrun writes past the table.
    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw;

    /// `VFIO_IOMMU_UNMAP_DMA`.
    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw;

    /// `VFIO_EEH_PE_OP` on every group of the container.
    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw;

    /// `VFIO_EEH_PE_INJECT_ERR` on every group of the container (`pnv_eeh_err_inject`). `ENODEV` without EEH, `EINVAL`
    /// and `ERANGE` for a function and a width that do not exist, `EIO` where the firmware injects none.
    fn inject_error(&mut self, container: ContainerFd, error: InjectedError) -> Raw;

    /// `eventfd`, one that does not block.
    fn open_event(&mut self) -> Result<EventFd, Errno>;

    /// Takes what was counted since the last time; `EAGAIN` if nothing was.
    fn read_event(&mut self, event: EventFd) -> Result<u64, Errno>;

    /// `VFIO_DEVICE_SET_IRQS` of `VFIO_PCI_REQ_IRQ_INDEX`: the event counts when the kernel wants the device back,
    /// because its driver is unbound or the device is unplugged, and waits for its descriptors to be closed
    /// (`vfio_pci_core_request`).
    fn watch_requests(&mut self, device: DeviceFd, event: EventFd) -> Raw;

    /// `KVM_CREATE_VM` of a virtual machine that uses the hardware's hypervisor mode. `ENOENT` without `/dev/kvm`.
    fn create_vm(&mut self) -> Result<VmFd, Errno>;

    /// `KVM_CREATE_DEVICE` of the link to VFIO; a virtual machine has one (`EBUSY`).
    fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Errno>;

    /// `KVM_CREATE_SPAPR_TCE_64`.
    fn create_guest_table(&mut self, vm: VmFd, call: GuestTableCall)
    -> Result<GuestTableFd, Errno>;

    /// `KVM_DEV_VFIO_GROUP_ADD`: KVM holds the group's file from now on.
    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw;

    /// `KVM_DEV_VFIO_GROUP_DEL`: ends the acceleration of all the group's windows.
    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw;

    /// `KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE`: from now on the guest sets the TCEs of the group's window at the same place
    /// (`kvm_spapr_tce_attach_iommu_group`).
    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw;

    /// What the guest has set in its table, from the TCE of this number on: 0 where it has set nothing
    /// (`kvm_spapr_tce_mmap`). `EINVAL` outside of the table, `ENODEV` for another descriptor.
    fn read_guest_table(
        &mut self,
        table: GuestTableFd,
        first: u64,
        tces: &mut [u64],
    ) -> Result<(), Errno>;
}
