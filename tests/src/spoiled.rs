//! A kernel some of whose calls are spoiled on their way: the engine asks for what is right, and the kernel, the real one
//! too, is asked for something that it fails. So a failure in the middle of a batch can be had on any machine.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceInfo, DeviceSpace, EehOperation,
        EventFd, Extension, Fd, GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd,
        InjectedError, InterruptKind, Kernel, KvmVfioFd, LockedMemory, MapCall, MemoryRange, Raw,
        Reply, SpaprInfo, SystemFacts, UnmapCall, VmFd,
    },
};

/// How a call is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// It maps the memory here instead. An unmap stays as it is.
    Memory(HostAddr),
    /// Its bus address lies inside a page, to which the kernel says +1.
    Misaligned,
}

/// Says which calls are spoiled. Clones say it together.
#[derive(Clone, Debug, Default)]
pub struct Saboteur(Rc<RefCell<VecDeque<Option<Spoil>>>>);

impl Saboteur {
    /// Spoils the coming calls of `MAP_DMA` and `UNMAP_DMA`, one after the other; `None` leaves one as it is.
    pub fn spoil(&self, coming: impl IntoIterator<Item = Option<Spoil>>) {
        *self.0.borrow_mut() = coming.into_iter().collect();
    }

    /// How many of the calls that were to be spoiled, or left as they are, have not come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.borrow().len()
    }

    fn next(&self) -> Option<Spoil> {
        self.0.borrow_mut().pop_front().flatten()
    }
}

/// A kernel whose `MAP_DMA` and `UNMAP_DMA` a [`Saboteur`] may spoil. All other calls go through.
#[derive(Debug)]
pub struct SpoiledKernel<K> {
    kernel: K,
    saboteur: Saboteur,
}

impl<K: Kernel> SpoiledKernel<K> {
    /// A kernel in the hands of a saboteur.
    pub const fn new(kernel: K, saboteur: Saboteur) -> Self {
        Self { kernel, saboteur }
    }
}

/// A bus address that is in the same page, but not at its start.
fn misaligned(iova: Iova) -> Iova {
    iova.checked_add(Bytes::new(1)).expect("a page has more than one byte")
}

impl<K: Kernel> Kernel for SpoiledKernel<K> {
    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        let call = match self.saboteur.next() {
            Some(Spoil::Memory(address)) => MapCall { address, ..call },
            Some(Spoil::Misaligned) => MapCall { iova: misaligned(call.iova), ..call },
            None => call,
        };
        self.kernel.map(container, call)
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        let call = match self.saboteur.next() {
            Some(Spoil::Misaligned) => UnmapCall { iova: misaligned(call.iova), ..call },
            Some(Spoil::Memory(_)) | None => call,
        };
        self.kernel.unmap(container, call)
    }

    fn system(&self) -> SystemFacts {
        self.kernel.system()
    }

    fn locked_memory(&mut self) -> Result<LockedMemory, Errno> {
        self.kernel.locked_memory()
    }

    fn kind(&mut self, fd: Fd) -> DescriptorKind {
        self.kernel.kind(fd)
    }

    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        self.kernel.close(fd)
    }

    fn open_container(&mut self) -> Result<ContainerFd, Errno> {
        self.kernel.open_container()
    }

    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw {
        self.kernel.check_extension(container, extension)
    }

    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw {
        self.kernel.set_iommu(container, backend)
    }

    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno> {
        self.kernel.open_group(group)
    }

    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus> {
        self.kernel.group_status(group)
    }

    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw {
        self.kernel.set_container(group, container)
    }

    fn unset_container(&mut self, group: GroupFd) -> Raw {
        self.kernel.unset_container(group)
    }

    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        self.kernel.open_device(group, address)
    }

    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        self.kernel.read_device(device, space, offset, bytes)
    }

    fn write_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        self.kernel.write_device(device, space, offset, bytes)
    }

    fn device_info(&mut self, device: DeviceFd) -> Reply<DeviceInfo> {
        self.kernel.device_info(device)
    }

    fn reset_device(&mut self, device: DeviceFd) -> Raw {
        self.kernel.reset_device(device)
    }

    fn interrupt_info(&mut self, device: DeviceFd, kind: InterruptKind) -> Reply<u32> {
        self.kernel.interrupt_info(device, kind)
    }

    fn enable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind, event: EventFd) -> Raw {
        self.kernel.enable_interrupts(device, kind, event)
    }

    fn disable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind) -> Raw {
        self.kernel.disable_interrupts(device, kind)
    }

    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo> {
        self.kernel.info(container)
    }

    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.kernel.register(container, memory)
    }

    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.kernel.unregister(container, memory)
    }

    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        self.kernel.create(container, call)
    }

    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        self.kernel.remove(container, start)
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        self.kernel.eeh(container, operation)
    }

    fn inject_error(&mut self, container: ContainerFd, error: InjectedError) -> Raw {
        self.kernel.inject_error(container, error)
    }

    fn open_event(&mut self) -> Result<EventFd, Errno> {
        self.kernel.open_event()
    }

    fn read_event(&mut self, event: EventFd) -> Result<u64, Errno> {
        self.kernel.read_event(event)
    }

    fn watch_requests(&mut self, device: DeviceFd, event: EventFd) -> Raw {
        self.kernel.watch_requests(device, event)
    }

    fn create_vm(&mut self) -> Result<VmFd, Errno> {
        self.kernel.create_vm()
    }

    fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Errno> {
        self.kernel.create_kvm_vfio(vm)
    }

    fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        self.kernel.create_guest_table(vm, call)
    }

    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.kernel.add_group(link, group)
    }

    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.kernel.delete_group(link, group)
    }

    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw {
        self.kernel.attach_guest_table(link, group, table)
    }

    fn read_guest_table(
        &mut self,
        table: GuestTableFd,
        first: u64,
        tces: &mut [u64],
    ) -> Result<(), Errno> {
        self.kernel.read_guest_table(table, first, tces)
    }
}
