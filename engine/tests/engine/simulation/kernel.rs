//! The simulated kernel with a watch on it, and faults in its calls.

use std::{cell::RefCell, rc::Rc};

use tce_engine::{
    addr::{Bytes, Iova},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceInfo, DeviceSpace, EehOperation,
        EventFd, Extension, Fd, GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd,
        InjectedError, InterruptKind, Kernel, KvmVfioFd, LockedMemory, MapCall, MemoryRange, Raw,
        Reply, SpaprInfo, SystemFacts, UnmapCall, VmFd,
    },
};
use tce_sim::{Operation, SimKernel};

use super::{canary::Lie, watch::Watch};

/// The watch is shared with who checks.
pub(super) struct WatchedKernel {
    kernel: SimKernel,
    watch: Rc<RefCell<Watch>>,
}

impl WatchedKernel {
    pub(super) const fn new(kernel: SimKernel, watch: Rc<RefCell<Watch>>) -> Self {
        Self { kernel, watch }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.watch.borrow().lies(lie)
    }
}

/// Calls that are only met by faults.
macro_rules! met {
    ($($operation:ident $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(fn $name(&mut self, $($arg: $type),*) -> $out {
            self.watch.borrow_mut().meet(Operation::$operation);
            self.kernel.$name($($arg),*)
        })*
    };
}

impl Kernel for WatchedKernel {
    fn system(&self) -> SystemFacts {
        self.kernel.system()
    }

    fn kind(&mut self, fd: Fd) -> DescriptorKind {
        self.kernel.kind(fd)
    }

    met! {
        LockedMemory locked_memory() -> Result<LockedMemory, Errno>;
        OpenContainer open_container() -> Result<ContainerFd, Errno>;
        CheckExtension check_extension(container: ContainerFd, extension: Extension) -> Raw;
        SetIommu set_iommu(container: ContainerFd, backend: Extension) -> Raw;
        OpenGroup open_group(group: GroupNumber) -> Result<GroupFd, Errno>;
        GroupStatus group_status(group: GroupFd) -> Reply<GroupStatus>;
        SetContainer set_container(group: GroupFd, container: ContainerFd) -> Raw;
        OpenDevice open_device(group: GroupFd, address: &str) -> Result<DeviceFd, Errno>;
        ReadDevice read_device(
            device: DeviceFd, space: DeviceSpace, offset: u64, bytes: &mut [u8]
        ) -> Result<(), Errno>;
        WriteDevice write_device(
            device: DeviceFd, space: DeviceSpace, offset: u64, bytes: &[u8]
        ) -> Result<(), Errno>;
        DeviceInfo device_info(device: DeviceFd) -> Reply<DeviceInfo>;
        ResetDevice reset_device(device: DeviceFd) -> Raw;
        InterruptInfo interrupt_info(device: DeviceFd, kind: InterruptKind) -> Reply<u32>;
        EnableInterrupts enable_interrupts(
            device: DeviceFd, kind: InterruptKind, event: EventFd
        ) -> Raw;
        DisableInterrupts disable_interrupts(device: DeviceFd, kind: InterruptKind) -> Raw;
        Info info(container: ContainerFd) -> Reply<SpaprInfo>;
        Eeh eeh(container: ContainerFd, operation: EehOperation) -> Raw;
        InjectError inject_error(container: ContainerFd, error: InjectedError) -> Raw;
        OpenEvent open_event() -> Result<EventFd, Errno>;
        ReadEvent read_event(event: EventFd) -> Result<u64, Errno>;
        WatchRequests watch_requests(device: DeviceFd, event: EventFd) -> Raw;
        CreateVm create_vm() -> Result<VmFd, Errno>;
        CreateKvmVfio create_kvm_vfio(vm: VmFd) -> Result<KvmVfioFd, Errno>;
        CreateGuestTable create_guest_table(
            vm: VmFd, call: GuestTableCall
        ) -> Result<GuestTableFd, Errno>;
        AddGroup add_group(link: KvmVfioFd, group: GroupFd) -> Raw;
        DeleteGroup delete_group(link: KvmVfioFd, group: GroupFd) -> Raw;
        AttachGuestTable attach_guest_table(
            link: KvmVfioFd, group: GroupFd, table: GuestTableFd
        ) -> Raw;
        ReadGuestTable read_guest_table(
            table: GuestTableFd, first: u64, tces: &mut [u64]
        ) -> Result<(), Errno>;
    }

    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        self.watch.borrow_mut().meet(Operation::Close);
        let cleared = self.watch.borrow().before_release();
        let closed = self.kernel.close(fd);
        self.watch.borrow_mut().after_release(cleared);
        closed
    }

    fn unset_container(&mut self, group: GroupFd) -> Raw {
        // A group that the host has taken back is in no container: the kernel says so, and nothing else.
        let status = self.kernel.group_status(group).raw;
        if status != Raw::Failed(Errno::ENODEV) {
            self.watch.borrow_mut().meet(Operation::UnsetContainer);
        }
        let cleared = self.watch.borrow().before_release();
        let raw = self.kernel.unset_container(group);
        self.watch.borrow_mut().after_release(cleared);
        raw
    }

    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        let (fired, before) = self.watch.borrow_mut().before_register();
        let raw = self.kernel.register(container, memory);
        self.watch.borrow_mut().after_register(memory, fired, before, raw);
        raw
    }

    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        let (fired, before) = self.watch.borrow_mut().before_unregister(container, memory);
        let raw = self.kernel.unregister(container, memory);
        self.watch.borrow_mut().after_unregister(memory, fired, before, raw);
        raw
    }

    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        let (fired, before) = self.watch.borrow_mut().before_create(container);
        let reply = self.kernel.create(container, call);
        self.watch.borrow_mut().after_create(container, fired, &call, before, reply.raw);
        reply
    }

    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        let fired = self.watch.borrow_mut().meet(Operation::Remove);
        let raw = self.kernel.remove(container, start);
        self.watch.borrow_mut().after_remove(container, fired, raw);
        raw
    }

    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        if self.watch.borrow().is_wiped && self.lies(Lie::LeavesAWipe) {
            self.watch.borrow_mut().note_map(&call);
            return Raw::OK;
        }
        let (fired, set) = self.watch.borrow_mut().before_map();
        let pages = self.watch.borrow().page_of(container, call.iova);
        let shorter = call.size.checked_sub(Bytes::new(pages)).filter(|size| !size.is_zero());
        let made = match shorter {
            Some(size) if self.lies(Lie::MapsOneTceLess) => MapCall { size, ..call },
            _ => call,
        };
        let raw = self.kernel.map(container, made);
        if raw != Raw::OK && self.lies(Lie::HidesAFailedMap) {
            return Raw::OK;
        }
        self.watch.borrow_mut().after_map(container, &call, fired, set, raw);
        raw
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        let fired = self.watch.borrow_mut().meet(Operation::Unmap);
        if self.lies(Lie::DropsAnUnmap) {
            self.watch.borrow_mut().note_unmap(&call);
            return Raw::OK;
        }
        let raw = self.kernel.unmap(container, call);
        self.watch.borrow_mut().after_unmap(&call, fired, raw);
        raw
    }
}
