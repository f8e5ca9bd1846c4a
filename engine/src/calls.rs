//! The kernel as the engine uses it: each call counted, and anything but plain success a [`Fault`].

use crate::{
    addr::{Bytes, Iova},
    errno::Errno,
    fault::{Call, CallCounts, Fault, Operation},
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, EehOperation, EventFd, Extension, Fd,
        GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd, Kernel, KvmVfioFd,
        LockedMemory, MapCall, MemoryRange, Raw, SpaprInfo, SystemFacts, UnmapCall, VmFd,
    },
};

mod command;
mod device;

pub(crate) use command::Line;
pub(crate) use device::{Abilities, DeviceRef, FunctionReset};

pub(crate) struct Calls<K> {
    kernel: K,
    counts: CallCounts,
}

impl<K: Kernel> Calls<K> {
    pub(crate) fn new(kernel: K) -> Self {
        Self { kernel, counts: CallCounts::default() }
    }

    pub(crate) const fn counts(&self) -> &CallCounts {
        &self.counts
    }

    pub(crate) fn system(&self) -> SystemFacts {
        self.kernel.system()
    }

    pub(crate) fn kind(&mut self, fd: Fd) -> DescriptorKind {
        self.kernel.kind(fd)
    }

    /// The locked memory, without counting: it is bookkeeping of ours, not a step of the work.
    pub(crate) fn locked(&mut self) -> Result<LockedMemory, Fault> {
        self.kernel.locked_memory().map_err(|errno| fault(Call::LockedMemory, errno))
    }

    pub(crate) fn open_container(&mut self) -> Result<ContainerFd, Fault> {
        self.counts.add(Operation::Descriptor);
        self.kernel.open_container().map_err(|errno| fault(Call::OpenContainer, errno))
    }

    pub(crate) fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Fault> {
        self.counts.add(Operation::Descriptor);
        self.kernel.open_group(group).map_err(|errno| fault(Call::OpenGroup(group), errno))
    }

    pub(crate) fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Fault> {
        self.counts.add(Operation::Descriptor);
        self.kernel
            .open_device(group, address)
            .map_err(|errno| fault(Call::OpenDevice(address.to_owned()), errno))
    }

    pub(crate) fn close(&mut self, fd: Fd, what: &'static str) -> Result<(), Fault> {
        self.counts.add(Operation::Descriptor);
        self.kernel.close(fd).map_err(|errno| fault(Call::Close(what), errno))
    }

    /// What `VFIO_CHECK_EXTENSION` answers: 1 is yes, 0 is no.
    pub(crate) fn has_extension(
        &mut self,
        container: ContainerFd,
        extension: Extension,
    ) -> Result<bool, Fault> {
        self.counts.add(Operation::Query);
        match self.kernel.check_extension(container, extension) {
            Raw::Returned(1) => Ok(true),
            Raw::OK => Ok(false),
            result => Err(Fault { call: Call::CheckExtension(extension), result }),
        }
    }

    pub(crate) fn group_status(
        &mut self,
        fd: GroupFd,
        group: GroupNumber,
    ) -> Result<GroupStatus, Fault> {
        self.counts.add(Operation::Query);
        let reply = self.kernel.group_status(fd);
        check(reply.raw, || Call::GroupStatus(group)).map(|()| reply.out)
    }

    pub(crate) fn set_container(
        &mut self,
        fd: GroupFd,
        group: GroupNumber,
        container: ContainerFd,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::Attach);
        check(self.kernel.set_container(fd, container), || Call::SetContainer(group))
    }

    pub(crate) fn unset_container(&mut self, fd: GroupFd, group: GroupNumber) -> Result<(), Fault> {
        self.counts.add(Operation::Attach);
        check(self.kernel.unset_container(fd), || Call::UnsetContainer(group))
    }

    pub(crate) fn set_iommu(&mut self, container: ContainerFd) -> Result<(), Fault> {
        self.counts.add(Operation::Attach);
        let raw = self.kernel.set_iommu(container, Extension::SpaprTceV2);
        check(raw, || Call::SetIommu)
    }

    pub(crate) fn info(&mut self, container: ContainerFd) -> Result<SpaprInfo, Fault> {
        self.counts.add(Operation::Query);
        let reply = self.kernel.info(container);
        check(reply.raw, || Call::Info).map(|()| reply.out)
    }

    pub(crate) fn register(&mut self, fd: ContainerFd, range: MemoryRange) -> Result<(), Fault> {
        self.counts.add(Operation::Register);
        check(self.kernel.register(fd, range), || Call::Register(range))
    }

    pub(crate) fn unregister(&mut self, fd: ContainerFd, range: MemoryRange) -> Result<(), Fault> {
        self.counts.add(Operation::Unregister);
        check(self.kernel.unregister(fd, range), || Call::Unregister(range))
    }

    pub(crate) fn create(&mut self, fd: ContainerFd, call: CreateCall) -> Result<Iova, Fault> {
        self.counts.add(Operation::Create);
        let reply = self.kernel.create(fd, call);
        check(reply.raw, || Call::Create(call)).map(|()| reply.out)
    }

    pub(crate) fn remove(&mut self, fd: ContainerFd, start: Iova) -> Result<(), Fault> {
        self.counts.add(Operation::Remove);
        check(self.kernel.remove(fd, start), || Call::Remove(start))
    }

    pub(crate) fn map(&mut self, fd: ContainerFd, call: MapCall) -> Result<(), Fault> {
        self.counts.add(Operation::Map);
        check(self.kernel.map(fd, call), || Call::Map(call))
    }

    pub(crate) fn unmap(&mut self, fd: ContainerFd, call: UnmapCall) -> Result<(), Fault> {
        self.counts.add(Operation::Unmap);
        check(self.kernel.unmap(fd, call), || Call::Unmap(call))
    }

    pub(crate) fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Fault> {
        self.counts.add(Operation::Guest);
        self.kernel.create_kvm_vfio(vm).map_err(|errno| fault(Call::CreateLink, errno))
    }

    pub(crate) fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Fault> {
        self.counts.add(Operation::Guest);
        let made = self.kernel.create_guest_table(vm, call);
        made.map_err(|errno| fault(Call::CreateGuestTable(call), errno))
    }

    pub(crate) fn add_group(
        &mut self,
        link: KvmVfioFd,
        fd: GroupFd,
        group: GroupNumber,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::Guest);
        check(self.kernel.add_group(link, fd), || Call::AddGroup(group))
    }

    pub(crate) fn delete_group(
        &mut self,
        link: KvmVfioFd,
        fd: GroupFd,
        group: GroupNumber,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::Guest);
        check(self.kernel.delete_group(link, fd), || Call::DeleteGroup(group))
    }

    pub(crate) fn attach_guest_table(
        &mut self,
        link: KvmVfioFd,
        fd: GroupFd,
        group: GroupNumber,
        table: GuestTableFd,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::Guest);
        let raw = self.kernel.attach_guest_table(link, fd, table);
        check(raw, || Call::AttachGuestTable(group))
    }

    pub(crate) fn read_guest_table(
        &mut self,
        table: GuestTableFd,
        first: u64,
        tces: &mut [u64],
    ) -> Result<(), Fault> {
        self.counts.add(Operation::Guest);
        let read = self.kernel.read_guest_table(table, first, tces);
        read.map_err(|errno| fault(Call::ReadGuestTable, errno))
    }

    pub(crate) fn open_event(&mut self) -> Result<EventFd, Fault> {
        self.counts.add(Operation::Descriptor);
        self.kernel.open_event().map_err(|errno| fault(Call::OpenEvent, errno))
    }

    /// Whether an event has counted anything since it was last asked.
    pub(crate) fn has_counted(&mut self, event: EventFd) -> Result<bool, Fault> {
        self.counts.add(Operation::Query);
        match self.kernel.read_event(event) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(fault(Call::ReadEvent, errno)),
        }
    }

    pub(crate) fn watch_requests(
        &mut self,
        device: DeviceFd,
        address: &str,
        event: EventFd,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::DeviceAccess);
        let raw = self.kernel.watch_requests(device, event);
        check(raw, || Call::WatchRequests(address.to_owned()))
    }

    /// `VFIO_EEH_PE_GET_STATE`: the state is what the call returns.
    pub(crate) fn pe_state(&mut self, container: ContainerFd) -> Result<i32, Fault> {
        self.counts.add(Operation::Query);
        match self.kernel.eeh(container, EehOperation::GetState) {
            Raw::Returned(value) => Ok(value),
            result => Err(Fault { call: Call::Eeh(EehOperation::GetState), result }),
        }
    }

    /// Any other operation of EEH, on every group of the container.
    pub(crate) fn eeh(
        &mut self,
        container: ContainerFd,
        operation: EehOperation,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::DeviceAccess);
        check(self.kernel.eeh(container, operation), || Call::Eeh(operation))
    }

    /// Makes a call and tells what it charged. Fails only if the call was not made.
    pub(crate) fn charged<T>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Charged<T>, Fault> {
        let before = self.locked()?.locked;
        let result = call(self);
        // What the call did counts, whether or not its charge can be read.
        let after = self.locked().ok().map(|after| after.locked);
        let charged = after.map(|after| after.checked_sub(before).unwrap_or_default());
        Ok(Charged { result, charged })
    }

    /// Makes a call and tells what it gave back. The call is made whether or not that can be read: what is taken down
    /// waits for nothing.
    pub(crate) fn released<T>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Released<T> {
        let before = self.locked().ok();
        let result = call(self);
        let after = self.locked().ok();
        let read = before.zip(after);
        let released = read.map(|(before, after)| before.locked.checked_sub(after.locked));
        Released { result, released: released.map(Option::unwrap_or_default) }
    }
}

/// A call that was made, and by how much the process's locked memory has grown with it, if that could be read.
pub(crate) struct Charged<T> {
    pub(crate) result: Result<T, Fault>,
    pub(crate) charged: Option<Bytes>,
}

/// A call that was made, and by how much the process's locked memory has shrunk with it, if that could be read.
pub(crate) struct Released<T> {
    pub(crate) result: Result<T, Fault>,
    pub(crate) released: Option<Bytes>,
}

fn fault(call: Call, errno: Errno) -> Fault {
    Fault { call, result: Raw::Failed(errno) }
}

fn check(raw: Raw, call: impl FnOnce() -> Call) -> Result<(), Fault> {
    if raw == Raw::OK { Ok(()) } else { Err(Fault { call: call(), result: raw }) }
}
