//! The seam: each call counted, its ordered fault taken, and the rest left to the machine's state.

use tce_engine::{
    addr::Iova,
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceSpace, EehOperation, EventFd,
        Extension, Fd, GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd, Kernel,
        KvmVfioFd, LockedMemory, MapCall, MemoryRange, Raw, Reply, SpaprInfo, SystemFacts,
        UnmapCall, VmFd,
    },
};

use crate::{
    fault::{Fault, Operation},
    machine::SimMachine,
    world::World,
};

/// The machine's kernel, as its process sees it. A clone is the same view.
#[derive(Clone, Debug)]
pub struct SimKernel {
    machine: SimMachine,
}

impl SimKernel {
    pub(crate) const fn new(machine: SimMachine) -> Self {
        Self { machine }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &SimMachine {
        &self.machine
    }

    /// An `ioctl` whose value is its whole answer.
    fn ioctl(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut World) -> Result<i32, Errno>,
    ) -> Raw {
        let mut world = self.machine.lock();
        match world.tally.enter(operation).and_then(Fault::before) {
            Some(raw) => raw,
            None => raw_of(call(&mut world)),
        }
    }

    /// An `ioctl` that fills in a structure.
    fn ask<T: Default>(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut World) -> Result<T, Errno>,
    ) -> Reply<T> {
        let mut world = self.machine.lock();
        if let Some(raw) = world.tally.enter(operation).and_then(Fault::before) {
            return Reply { raw, out: T::default() };
        }
        match call(&mut world) {
            Ok(out) => Reply { raw: Raw::OK, out },
            Err(errno) => Reply { raw: Raw::Failed(errno), out: T::default() },
        }
    }

    /// Any other system call. An ordered value makes no sense here, and fails as `EIO`.
    fn call<T>(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut World) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut world = self.machine.lock();
        match world.tally.enter(operation).and_then(Fault::before) {
            Some(Raw::Failed(errno)) => Err(errno),
            Some(Raw::Returned(_)) => Err(Errno::EIO),
            None => call(&mut world),
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
        self.call(Operation::LockedMemory, |world| {
            let locked = world.process.mm.locked.bytes();
            // The backend charges locked_vm only; nothing of it is in VmPin.
            Ok(LockedMemory { locked, ..LockedMemory::default() })
        })
    }

    fn kind(&mut self, fd: Fd) -> DescriptorKind {
        let world = self.machine.lock();
        world.process.descriptors.file(fd).map_or(DescriptorKind::Closed, |file| file.kind())
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
        self.call(Operation::OpenContainer, |world| world.open_container().map(ContainerFd::new))
    }

    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw {
        self.ioctl(Operation::CheckExtension, |world| {
            world.check_extension(container.fd(), extension)
        })
    }

    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw {
        self.ioctl(Operation::SetIommu, |world| {
            world.set_iommu(container.fd(), backend).map(|()| 0)
        })
    }

    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno> {
        self.call(Operation::OpenGroup, |world| world.open_group(group).map(GroupFd::new))
    }

    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus> {
        self.ask(Operation::GroupStatus, |world| world.group_status(group.fd()))
    }

    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw {
        self.ioctl(Operation::SetContainer, |world| {
            world.set_container(group.fd(), container.fd()).map(|()| 0)
        })
    }

    fn unset_container(&mut self, group: GroupFd) -> Raw {
        self.ioctl(Operation::UnsetContainer, |world| world.unset_container(group.fd()).map(|()| 0))
    }

    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        self.call(Operation::OpenDevice, |world| {
            world.open_device(group.fd(), address).map(DeviceFd::new)
        })
    }

    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        self.call(Operation::ReadDevice, |world| {
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
        self.call(Operation::WriteDevice, |world| {
            world.write_device(device.fd(), space, offset, bytes)
        })
    }

    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo> {
        self.ask(Operation::Info, |world| world.info(container.fd()))
    }

    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.ioctl(Operation::Register, |world| world.register(container.fd(), memory))
    }

    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.ioctl(Operation::Unregister, |world| {
            world.unregister(container.fd(), memory).map(|()| 0)
        })
    }

    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        self.ask(Operation::Create, |world| world.create(container.fd(), &call))
    }

    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        self.ioctl(Operation::Remove, |world| world.remove(container.fd(), start).map(|()| 0))
    }

    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        let mut world = self.machine.lock();
        let fault = world.tally.enter(Operation::Map);
        match fault.and_then(Fault::before) {
            Some(raw) => raw,
            None => raw_of(world.map(container.fd(), &call, fault.and_then(Fault::cut))),
        }
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        self.ioctl(Operation::Unmap, |world| world.unmap(container.fd(), call))
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        self.ioctl(Operation::Eeh, |world| world.eeh(container.fd(), operation))
    }

    fn open_event(&mut self) -> Result<EventFd, Errno> {
        Err(Errno::EBADF)
    }

    fn read_event(&mut self, _event: EventFd) -> Result<u64, Errno> {
        Err(Errno::EBADF)
    }

    fn watch_requests(&mut self, _device: DeviceFd, _event: EventFd) -> Raw {
        Raw::Failed(Errno::EBADF)
    }

    fn create_vm(&mut self) -> Result<VmFd, Errno> {
        Err(Errno::ENOENT)
    }

    fn create_kvm_vfio(&mut self, _vm: VmFd) -> Result<KvmVfioFd, Errno> {
        Err(Errno::EBADF)
    }

    fn create_guest_table(
        &mut self,
        _vm: VmFd,
        _call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        Err(Errno::EBADF)
    }

    fn add_group(&mut self, _link: KvmVfioFd, _group: GroupFd) -> Raw {
        Raw::Failed(Errno::EBADF)
    }

    fn delete_group(&mut self, _link: KvmVfioFd, _group: GroupFd) -> Raw {
        Raw::Failed(Errno::EBADF)
    }

    fn attach_guest_table(
        &mut self,
        _link: KvmVfioFd,
        _group: GroupFd,
        _table: GuestTableFd,
    ) -> Raw {
        Raw::Failed(Errno::EBADF)
    }
}

fn raw_of(result: Result<i32, Errno>) -> Raw {
    match result {
        Ok(value) => Raw::Returned(value),
        Err(errno) => Raw::Failed(errno),
    }
}
