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
        ReadDevice read_device(
            device: DeviceFd, space: DeviceSpace, offset: u64, bytes: &mut [u8]
        ) -> Result<(), Errno>;
        WriteDevice write_device(
            device: DeviceFd, space: DeviceSpace, offset: u64, bytes: &[u8]
        ) -> Result<(), Errno>;
        InterruptInfo interrupt_info(device: DeviceFd, kind: InterruptKind) -> Reply<u32>;
        EnableInterrupts enable_interrupts(
            device: DeviceFd, kind: InterruptKind, event: EventFd
        ) -> Raw;
        DisableInterrupts disable_interrupts(device: DeviceFd, kind: InterruptKind) -> Raw;
        Info info(container: ContainerFd) -> Reply<SpaprInfo>;
        InjectError inject_error(container: ContainerFd, error: InjectedError) -> Raw;
        OpenEvent open_event() -> Result<EventFd, Errno>;
        ReadEvent read_event(event: EventFd) -> Result<u64, Errno>;
        WatchRequests watch_requests(device: DeviceFd, event: EventFd) -> Raw;
        CreateVm create_vm() -> Result<VmFd, Errno>;
        CreateKvmVfio create_kvm_vfio(vm: VmFd) -> Result<KvmVfioFd, Errno>;
        ReadGuestTable read_guest_table(
            table: GuestTableFd, first: u64, tces: &mut [u64]
        ) -> Result<(), Errno>;
    }

    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        self.watch.borrow_mut().meet(Operation::OpenDevice);
        let device = self.kernel.open_device(group, address)?;
        self.watch.borrow_mut().devices.insert(device);
        Ok(device)
    }

    fn device_info(&mut self, device: DeviceFd) -> Reply<DeviceInfo> {
        self.watch.borrow_mut().meet(Operation::DeviceInfo);
        let mut reply = self.kernel.device_info(device);
        if !self.watch.borrow().has_reset {
            reply.out.flags &= !1;
        }
        reply
    }

    fn reset_device(&mut self, device: DeviceFd) -> Raw {
        self.watch.borrow_mut().check_device(device, "reset");
        self.watch.borrow_mut().meet(Operation::ResetDevice);
        self.kernel.reset_device(device)
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        self.watch.borrow_mut().meet(Operation::Eeh);
        let raw = self.kernel.eeh(container, operation);
        if let (EehOperation::GetState, Raw::Returned(state)) = (operation, raw) {
            self.watch.borrow_mut().states_told.push(state);
        }
        raw
    }

    fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        self.watch.borrow_mut().meet(Operation::CreateGuestTable);
        let table = self.kernel.create_guest_table(vm, call)?;
        self.watch.borrow_mut().followed.create(table, &call);
        Ok(table)
    }

    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.watch.borrow_mut().meet(Operation::AddGroup);
        let raw = self.kernel.add_group(link, group);
        self.watch.borrow_mut().has_link_failed |= raw != Raw::OK;
        raw
    }

    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.watch.borrow_mut().meet(Operation::DeleteGroup);
        let raw = self.kernel.delete_group(link, group);
        let mut watch = self.watch.borrow_mut();
        match raw {
            Raw::OK => watch.followed.delete(group),
            _ => watch.has_link_failed = true,
        }
        raw
    }

    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw {
        self.watch.borrow_mut().meet(Operation::AttachGuestTable);
        let raw = self.kernel.attach_guest_table(link, group, table);
        let mut watch = self.watch.borrow_mut();
        match raw {
            Raw::OK => watch.followed.attach(group, table),
            _ => watch.has_link_failed = true,
        }
        raw
    }

    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        self.watch.borrow_mut().forget_descriptor(fd, &mut self.kernel);
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
        self.watch.borrow_mut().check_alone("a group leaves", None);
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
        self.watch.borrow_mut().check_alone("a window goes", None);
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
        self.watch.borrow_mut().check_alone("an unmap", Some(&call));
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
