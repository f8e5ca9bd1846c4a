//! A kernel that notes every call made on it: for programs that are built on the engine and want a trace of
//! themselves without a recorder.

use tce_engine::{
    addr::{Bytes, Iova},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DeviceFd, EehOperation, Extension, Fd, GroupFd, GroupNumber,
        GroupStatus, GuestTableCall, GuestTableFd, InjectedError, Kernel, KvmVfioFd, Layer,
        MapCall, MemoryRange, Raw, Reply, SpaprInfo, UnmapCall, VmFd,
    },
};

use crate::{
    event::{Answer, Call, Event},
    format::Header,
};

/// The process in such a trace: it has only one.
const PROCESS: u32 = 1;

/// A kernel whose calls are given to `note`, each as an event. There is no clock here: an event's time is its number.
#[derive(Debug)]
pub struct NotedKernel<K, F> {
    kernel: K,
    note: F,
    calls: u64,
}

impl<K: Kernel, F: FnMut(Event)> NotedKernel<K, F> {
    /// Notes the calls on a kernel.
    pub const fn new(kernel: K, note: F) -> Self {
        Self { kernel, note, calls: 0 }
    }

    /// The header of a trace of these events.
    pub fn header(&self, command: Vec<String>) -> Header {
        let system = self.kernel.system();
        Header {
            platform: Some(system.platform),
            page_size: Some(system.page_shift.bytes().raw()),
            locked_limit: system.locked_limit,
            ..Header::new(command)
        }
    }

    fn note(&mut self, call: Call, answer: Answer) {
        self.note_with(call, answer, None);
    }

    fn note_with(&mut self, call: Call, answer: Answer, locked: Option<Bytes>) {
        let (time_us, process) = (self.calls, PROCESS);
        self.calls += 1;
        (self.note)(Event {
            time_us,
            duration_us: None,
            process,
            thread: process,
            call,
            answer,
            locked,
            backing: None,
        });
    }

    fn noted(&mut self, call: Call, raw: Raw) -> Raw {
        self.note(call, raw.into());
        raw
    }

    /// Notes a call that changes the locked memory, with what it came to.
    fn charged(&mut self, call: Call, raw: Raw) -> Raw {
        let locked = self.kernel.locked_memory().ok().map(|memory| memory.locked);
        self.note_with(call, raw.into(), locked);
        raw
    }

    fn opened<T: Copy>(
        &mut self,
        call: Call,
        result: Result<T, Errno>,
        fd: impl Fn(T) -> Fd,
    ) -> Result<T, Errno> {
        let answer = match result {
            Ok(opened) => Answer::Returned(fd(opened).raw().into()),
            Err(errno) => Answer::Failed(errno),
        };
        self.note(call, answer);
        result
    }
}

impl<K: Kernel, F: FnMut(Event)> Layer for NotedKernel<K, F> {
    type Below = K;

    fn below(&self) -> &K {
        &self.kernel
    }

    fn below_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        let result = self.kernel.close(fd);
        let answer = result.map_or_else(Answer::Failed, |()| Answer::OK);
        self.note(Call::Close { fd }, answer);
        result
    }

    fn open_container(&mut self) -> Result<ContainerFd, Errno> {
        let result = self.kernel.open_container();
        self.opened(Call::OpenContainer, result, ContainerFd::fd)
    }

    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw {
        let raw = self.kernel.check_extension(container, extension);
        let extension = extension.number();
        self.noted(Call::CheckExtension { container: container.fd(), extension }, raw)
    }

    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw {
        let raw = self.kernel.set_iommu(container, backend);
        let backend = backend.number();
        self.noted(Call::SetIommu { container: container.fd(), backend }, raw)
    }

    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno> {
        let result = self.kernel.open_group(group);
        self.opened(Call::OpenGroup { group: group.0 }, result, GroupFd::fd)
    }

    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus> {
        let reply = self.kernel.group_status(group);
        let flags = u32::from(reply.out.viable) | u32::from(reply.out.in_container) << 1;
        self.note(Call::GroupStatus { group: group.fd(), flags }, reply.raw.into());
        reply
    }

    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw {
        let raw = self.kernel.set_container(group, container);
        self.noted(Call::SetContainer { group: group.fd(), container: container.fd() }, raw)
    }

    fn unset_container(&mut self, group: GroupFd) -> Raw {
        let raw = self.kernel.unset_container(group);
        self.noted(Call::UnsetContainer { group: group.fd() }, raw)
    }

    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        let result = self.kernel.open_device(group, address);
        let call = Call::OpenDevice { group: group.fd(), address: address.to_owned() };
        self.opened(call, result, DeviceFd::fd)
    }

    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo> {
        let reply = self.kernel.info(container);
        let out = reply.out;
        let call = Call::Info {
            container: container.fd(),
            flags: out.flags,
            window_start: Iova::new(out.dma32_window_start.into()),
            window_size: Bytes::new(out.dma32_window_size.into()),
            page_sizes: out.page_sizes,
            windows_max: out.windows_max,
            levels_max: out.levels_max,
        };
        self.note(call, reply.raw.into());
        reply
    }

    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        let raw = self.kernel.register(container, memory);
        let MemoryRange { address, size } = memory;
        self.charged(Call::Register { container: container.fd(), flags: 0, address, size }, raw)
    }

    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        let raw = self.kernel.unregister(container, memory);
        let MemoryRange { address, size } = memory;
        self.charged(Call::Unregister { container: container.fd(), flags: 0, address, size }, raw)
    }

    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        let reply = self.kernel.create(container, call);
        let CreateCall { page_shift, size, levels } = call;
        let (container, start) = (container.fd(), reply.out);
        let call = Call::Create { container, flags: 0, page_shift, size, levels, start };
        self.charged(call, reply.raw);
        reply
    }

    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        let raw = self.kernel.remove(container, start);
        self.charged(Call::Remove { container: container.fd(), flags: 0, start }, raw)
    }

    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        let raw = self.kernel.map(container, call);
        let MapCall { flags, address, iova, size } = call;
        self.noted(Call::Map { container: container.fd(), flags, address, iova, size }, raw)
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        let raw = self.kernel.unmap(container, call);
        let UnmapCall { iova, size } = call;
        self.noted(Call::Unmap { container: container.fd(), flags: 0, iova, size }, raw)
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        let raw = self.kernel.eeh(container, operation);
        let operation = operation.number();
        self.noted(Call::Eeh { container: container.fd(), operation }, raw)
    }

    fn inject_error(&mut self, container: ContainerFd, error: InjectedError) -> Raw {
        let raw = self.kernel.inject_error(container, error);
        let operation = InjectedError::OPERATION;
        self.noted(Call::Eeh { container: container.fd(), operation }, raw)
    }

    fn create_vm(&mut self) -> Result<VmFd, Errno> {
        let result = self.kernel.create_vm();
        self.opened(Call::CreateVm, result, VmFd::fd)
    }

    fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Errno> {
        let result = self.kernel.create_kvm_vfio(vm);
        self.opened(Call::CreateKvmVfio { vm: vm.fd() }, result, KvmVfioFd::fd)
    }

    fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        let result = self.kernel.create_guest_table(vm, call);
        let GuestTableCall { liobn, page_shift, offset, size } = call;
        let call = Call::CreateGuestTable { vm: vm.fd(), liobn, page_shift, offset, size };
        self.opened(call, result, GuestTableFd::fd)
    }

    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        let raw = self.kernel.add_group(link, group);
        self.noted(Call::AddGroup { link: link.fd(), group: group.fd() }, raw)
    }

    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        let raw = self.kernel.delete_group(link, group);
        self.noted(Call::DeleteGroup { link: link.fd(), group: group.fd() }, raw)
    }

    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw {
        let raw = self.kernel.attach_guest_table(link, group, table);
        let (link, group, table) = (link.fd(), group.fd(), table.fd());
        self.noted(Call::AttachGuestTable { link, group, table }, raw)
    }
}
