//! The seam: each call counted, its ordered fault taken, and the rest left to the machine's state.

use tce_engine::{
    addr::Iova,
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceInfo, DeviceSpace, EehOperation,
        EventFd, Extension, Fd, GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd,
        InjectedError, InterruptKind, Kernel, KvmVfioFd, LockedMemory, MapCall, MemoryRange, Raw,
        Reply, SpaprInfo, SystemFacts, UnmapCall, VmFd,
    },
};

use crate::{
    fault::{Fault, Operation},
    machine::SimMachine,
    process::MmId,
    world::World,
};

/// The machine's kernel, as one process sees it. A clone is the same view.
#[derive(Clone, Debug)]
pub struct SimKernel {
    machine: SimMachine,
}

impl SimKernel {
    pub(crate) const fn new(machine: SimMachine) -> Self {
        Self { machine }
    }

    /// The machine, as the same process has it.
    #[must_use]
    pub const fn machine(&self) -> &SimMachine {
        &self.machine
    }

    /// An `ioctl` whose value is its whole answer.
    fn ioctl(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut World, MmId) -> Result<i32, Errno>,
    ) -> Raw {
        let mut world = self.machine.lock();
        match world.tally.enter(operation).and_then(Fault::before) {
            Some(raw) => raw,
            None => raw_of(call(&mut world, self.machine.process())),
        }
    }

    /// An `ioctl` that fills in a structure.
    fn ask<T: Default>(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut World, MmId) -> Result<T, Errno>,
    ) -> Reply<T> {
        let mut world = self.machine.lock();
        if let Some(raw) = world.tally.enter(operation).and_then(Fault::before) {
            return Reply { raw, out: T::default() };
        }
        match call(&mut world, self.machine.process()) {
            Ok(out) => Reply { raw: Raw::OK, out },
            Err(errno) => Reply { raw: Raw::Failed(errno), out: T::default() },
        }
    }

    /// Any other system call. An ordered value makes no sense here, and fails as `EIO`.
    fn call<T>(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut World, MmId) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut world = self.machine.lock();
        match world.tally.enter(operation).and_then(Fault::before) {
            Some(Raw::Failed(errno)) => Err(errno),
            Some(Raw::Returned(_)) => Err(Errno::EIO),
            None => call(&mut world, self.machine.process()),
        }
    }
}

impl Kernel for SimKernel {
    fn system(&self) -> SystemFacts {
        let world = self.machine.lock();
        SystemFacts {
            platform: world.profile.platform,
            page_shift: world.profile.page_shift,
            locked_limit: world.profile.locked_limit,
        }
    }

    fn locked_memory(&mut self) -> Result<LockedMemory, Errno> {
        self.call(Operation::LockedMemory, |world, caller| {
            let locked = world.mms.get(caller).locked.bytes();
            // The backend charges locked_vm only; nothing of it is in VmPin.
            Ok(LockedMemory { locked, ..LockedMemory::default() })
        })
    }

    fn kind(&mut self, fd: Fd) -> DescriptorKind {
        let world = self.machine.lock();
        world.descriptors.file(fd).map_or(DescriptorKind::Closed, |file| file.kind())
    }

    /// Whatever it returns, the descriptor is gone afterwards, as on Linux (`filp_close`).
    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        let mut world = self.machine.lock();
        let ordered = world.tally.enter(Operation::Close).and_then(Fault::before);
        world.close(fd)?;
        match ordered {
            Some(Raw::Failed(errno)) => Err(errno),
            Some(Raw::Returned(_)) => Err(Errno::EIO),
            None => Ok(()),
        }
    }

    fn open_container(&mut self) -> Result<ContainerFd, Errno> {
        self.call(Operation::OpenContainer, |world, _| world.open_container().map(ContainerFd::new))
    }

    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw {
        self.ioctl(Operation::CheckExtension, |world, _| {
            world.check_extension(container.fd(), extension)
        })
    }

    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw {
        self.ioctl(Operation::SetIommu, |world, _| {
            world.set_iommu(container.fd(), backend).map(|()| 0)
        })
    }

    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno> {
        self.call(Operation::OpenGroup, |world, _| world.open_group(group).map(GroupFd::new))
    }

    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus> {
        self.ask(Operation::GroupStatus, |world, caller| world.group_status(caller, group.fd()))
    }

    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw {
        self.ioctl(Operation::SetContainer, |world, caller| {
            world.set_container(caller, group.fd(), container.fd()).map(|()| 0)
        })
    }

    fn unset_container(&mut self, group: GroupFd) -> Raw {
        self.ioctl(Operation::UnsetContainer, |world, caller| {
            world.unset_container(caller, group.fd()).map(|()| 0)
        })
    }

    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        self.call(Operation::OpenDevice, |world, caller| {
            world.open_device(caller, group.fd(), address).map(DeviceFd::new)
        })
    }

    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        self.call(Operation::ReadDevice, |world, _| {
            world.read_device(device.fd(), space, offset, bytes)
        })
    }

    fn write_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        self.call(Operation::WriteDevice, |world, _| {
            world.write_device(device.fd(), space, offset, bytes)
        })
    }

    fn device_info(&mut self, device: DeviceFd) -> Reply<DeviceInfo> {
        self.ask(Operation::DeviceInfo, |world, _| world.device_info(device.fd()))
    }

    fn reset_device(&mut self, device: DeviceFd) -> Raw {
        self.ioctl(Operation::ResetDevice, |world, _| world.reset_device(device.fd()).map(|()| 0))
    }

    fn interrupt_info(&mut self, device: DeviceFd, kind: InterruptKind) -> Reply<u32> {
        self.ask(Operation::InterruptInfo, |world, _| world.interrupt_count(device.fd(), kind))
    }

    fn enable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind, event: EventFd) -> Raw {
        self.ioctl(Operation::EnableInterrupts, |world, _| {
            world.enable_interrupts(device.fd(), kind, event.fd()).map(|()| 0)
        })
    }

    fn disable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind) -> Raw {
        self.ioctl(Operation::DisableInterrupts, |world, _| {
            world.disable_interrupts(device.fd(), kind).map(|()| 0)
        })
    }

    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo> {
        self.ask(Operation::Info, |world, caller| world.info(caller, container.fd()))
    }

    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.ioctl(Operation::Register, |world, caller| {
            world.register(caller, container.fd(), memory)
        })
    }

    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.ioctl(Operation::Unregister, |world, caller| {
            world.unregister(caller, container.fd(), memory).map(|()| 0)
        })
    }

    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        self.ask(Operation::Create, |world, caller| world.create(caller, container.fd(), &call))
    }

    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        self.ioctl(Operation::Remove, |world, caller| {
            world.remove(caller, container.fd(), start).map(|()| 0)
        })
    }

    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        let caller = self.machine.process();
        let mut world = self.machine.lock();
        let fault = world.tally.enter(Operation::Map);
        let cut = fault.and_then(Fault::cut);
        match fault.and_then(Fault::before) {
            Some(raw) => raw,
            None => raw_of(world.map(caller, container.fd(), &call, cut)),
        }
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        self.ioctl(Operation::Unmap, |world, caller| world.unmap(caller, container.fd(), call))
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        self.ioctl(Operation::Eeh, |world, caller| world.eeh(caller, container.fd(), operation))
    }

    fn inject_error(&mut self, container: ContainerFd, error: InjectedError) -> Raw {
        self.ioctl(Operation::InjectError, |world, caller| {
            world.inject_error(caller, container.fd(), error).map(|()| 0)
        })
    }

    fn open_event(&mut self) -> Result<EventFd, Errno> {
        self.call(Operation::OpenEvent, |world, _| world.open_event().map(EventFd::new))
    }

    fn read_event(&mut self, event: EventFd) -> Result<u64, Errno> {
        self.call(Operation::ReadEvent, |world, _| world.read_event(event.fd()))
    }

    fn watch_requests(&mut self, device: DeviceFd, event: EventFd) -> Raw {
        self.ioctl(Operation::WatchRequests, |world, _| {
            world.watch_requests(device.fd(), event.fd()).map(|()| 0)
        })
    }

    fn create_vm(&mut self) -> Result<VmFd, Errno> {
        self.call(Operation::CreateVm, |world, caller| world.create_vm(caller).map(VmFd::new))
    }

    fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Errno> {
        self.call(Operation::CreateKvmVfio, |world, caller| {
            world.create_link(caller, vm.fd()).map(KvmVfioFd::new)
        })
    }

    fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        self.call(Operation::CreateGuestTable, |world, caller| {
            world.create_guest_table(caller, vm.fd(), call).map(GuestTableFd::new)
        })
    }

    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.ioctl(Operation::AddGroup, |world, caller| {
            world.add_group(caller, link.fd(), group.fd()).map(|()| 0)
        })
    }

    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.ioctl(Operation::DeleteGroup, |world, caller| {
            world.delete_group(caller, link.fd(), group.fd()).map(|()| 0)
        })
    }

    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw {
        self.ioctl(Operation::AttachGuestTable, |world, caller| {
            world.attach_guest_table(caller, link.fd(), group.fd(), table.fd()).map(|()| 0)
        })
    }

    fn read_guest_table(
        &mut self,
        table: GuestTableFd,
        first: u64,
        tces: &mut [u64],
    ) -> Result<(), Errno> {
        self.call(Operation::ReadGuestTable, |world, _| {
            world.read_guest_table(table.fd(), first, tces)
        })
    }
}

fn raw_of(result: Result<i32, Errno>) -> Raw {
    match result {
        Ok(value) => Raw::Returned(value),
        Err(errno) => Raw::Failed(errno),
    }
}
