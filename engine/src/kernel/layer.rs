//! Kernels in front of other kernels: for who wants to see, change or fail some calls on their way.

use super::{
    ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceInfo, DeviceSpace, EehOperation,
    EventFd, Extension, Fd, GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd,
    InjectedError, InterruptKind, Kernel, KvmVfioFd, LockedMemory, MapCall, MemoryRange, Raw,
    Reply, SpaprInfo, SystemFacts, UnmapCall, VmFd,
};
use crate::{addr::Iova, errno::Errno};

/// Defines [`Layer`], and what makes a [`Kernel`] of each, from the list of operations that both have.
macro_rules! layer {
    ($($name:ident($($argument:ident: $type:ty),*) -> $out:ty;)*) => {
        /// A kernel in front of another one, to which every call goes on that it does not define itself.
        ///
        /// Who implements this is a [`Kernel`]. Those operations that are defined here take the place of the other
        /// kernel's; they reach it through [`Layer::below_mut`].
        #[expect(clippy::missing_errors_doc, reason = "an errno is a result here, as the kernel gave it")]
        pub trait Layer {
            /// What is below.
            type Below: Kernel;

            /// The kernel below.
            fn below(&self) -> &Self::Below;

            /// The kernel below, to make calls on.
            fn below_mut(&mut self) -> &mut Self::Below;

            $(
                #[doc = concat!("What becomes of [`Kernel::", stringify!($name), "`]: it goes on.")]
                fn $name(&mut self, $($argument: $type),*) -> $out {
                    self.below_mut().$name($($argument),*)
                }
            )*
        }

        impl<L: Layer> Kernel for L {
            fn system(&self) -> SystemFacts {
                self.below().system()
            }

            $(
                fn $name(&mut self, $($argument: $type),*) -> $out {
                    Layer::$name(self, $($argument),*)
                }
            )*
        }
    };
}

layer! {
    locked_memory() -> Result<LockedMemory, Errno>;
    kind(fd: Fd) -> DescriptorKind;
    close(fd: Fd) -> Result<(), Errno>;
    open_container() -> Result<ContainerFd, Errno>;
    check_extension(container: ContainerFd, extension: Extension) -> Raw;
    set_iommu(container: ContainerFd, backend: Extension) -> Raw;
    open_group(group: GroupNumber) -> Result<GroupFd, Errno>;
    group_status(group: GroupFd) -> Reply<GroupStatus>;
    set_container(group: GroupFd, container: ContainerFd) -> Raw;
    unset_container(group: GroupFd) -> Raw;
    open_device(group: GroupFd, address: &str) -> Result<DeviceFd, Errno>;
    read_device(
        device: DeviceFd, space: DeviceSpace, offset: u64, bytes: &mut [u8]
    ) -> Result<(), Errno>;
    write_device(
        device: DeviceFd, space: DeviceSpace, offset: u64, bytes: &[u8]
    ) -> Result<(), Errno>;
    device_info(device: DeviceFd) -> Reply<DeviceInfo>;
    reset_device(device: DeviceFd) -> Raw;
    interrupt_info(device: DeviceFd, kind: InterruptKind) -> Reply<u32>;
    enable_interrupts(device: DeviceFd, kind: InterruptKind, event: EventFd) -> Raw;
    disable_interrupts(device: DeviceFd, kind: InterruptKind) -> Raw;
    info(container: ContainerFd) -> Reply<SpaprInfo>;
    register(container: ContainerFd, memory: MemoryRange) -> Raw;
    unregister(container: ContainerFd, memory: MemoryRange) -> Raw;
    create(container: ContainerFd, call: CreateCall) -> Reply<Iova>;
    remove(container: ContainerFd, start: Iova) -> Raw;
    map(container: ContainerFd, call: MapCall) -> Raw;
    unmap(container: ContainerFd, call: UnmapCall) -> Raw;
    eeh(container: ContainerFd, operation: EehOperation) -> Raw;
    inject_error(container: ContainerFd, error: InjectedError) -> Raw;
    open_event() -> Result<EventFd, Errno>;
    read_event(event: EventFd) -> Result<u64, Errno>;
    watch_requests(device: DeviceFd, event: EventFd) -> Raw;
    create_vm() -> Result<VmFd, Errno>;
    create_kvm_vfio(vm: VmFd) -> Result<KvmVfioFd, Errno>;
    create_guest_table(vm: VmFd, call: GuestTableCall) -> Result<GuestTableFd, Errno>;
    add_group(link: KvmVfioFd, group: GroupFd) -> Raw;
    delete_group(link: KvmVfioFd, group: GroupFd) -> Raw;
    attach_guest_table(link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw;
    read_guest_table(table: GuestTableFd, first: u64, tces: &mut [u64]) -> Result<(), Errno>;
}
