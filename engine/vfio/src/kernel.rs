//! The raw operations, on the real kernel.

use std::{ffi::CString, io::Read as _, os::fd::OwnedFd, sync::Arc};

use nix::sys::eventfd::EfdFlags;

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
    abi::{self, Call, argsz, kvm},
    descriptors::{self, Descriptor, errno_of, from_nix},
    device, function, guest,
    ioctl::{self, Plain},
    machine::Shared,
    memory::Ground,
    system::Status,
};

/// A view of this process on its kernel. Views of one machine share descriptors and memory.
///
/// Descriptors have their real numbers, and are close-on-exec. Operations go to descriptors of this
/// machine only, and answer `EBADF` for all others. Containers and groups are asked whatever the
/// caller wants to ask them; other files, a device among them, answer `ENOTTY` to what is not
/// theirs without being asked.
#[derive(Debug)]
pub struct VfioKernel {
    shared: Arc<Shared>,
}

impl VfioKernel {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes over a descriptor that a launcher or another process passed to this one. It keeps its
    /// number, and becomes close-on-exec. What it is, [`Kernel::kind`] says.
    #[must_use]
    pub fn adopt(&mut self, fd: OwnedFd) -> Fd {
        self.shared.descriptors.adopt(fd)
    }

    fn open(&self, node: &str) -> Result<Fd, Errno> {
        let descriptor = descriptors::open(&self.shared.root.path(node))?;
        Ok(self.shared.descriptors.insert(descriptor))
    }

    fn on(&self, fd: Fd, call: impl FnOnce(&Descriptor) -> Raw) -> Raw {
        match self.shared.descriptors.get(fd) {
            Ok(descriptor) => call(&descriptor),
            Err(errno) => Raw::Failed(errno),
        }
    }

    /// An event for the first interrupt of an index.
    fn watch(&self, device: DeviceFd, index: u32, event: EventFd) -> Raw {
        match self.shared.descriptors.get(event.fd()) {
            Ok(event) => self.on(device.fd(), |device| function::watch(device, index, &event)),
            Err(errno) => Raw::Failed(errno),
        }
    }

    fn ask_device<T: Default>(
        &self,
        device: DeviceFd,
        ask: impl FnOnce(&Descriptor) -> Reply<T>,
    ) -> Reply<T> {
        match self.shared.descriptors.get(device.fd()) {
            Ok(device) => ask(&device),
            Err(errno) => Reply { raw: Raw::Failed(errno), out: T::default() },
        }
    }

    fn eeh_operation(&self, container: ContainerFd, op: u32, err: abi::vfio_eeh_pe_err) -> Raw {
        let mut eeh = abi::vfio_eeh_pe_op {
            argsz: argsz::<abi::vfio_eeh_pe_op>(),
            flags: 0,
            op,
            __bindgen_anon_1: abi::vfio_eeh_pe_op__bindgen_ty_1 { err },
        };
        self.ask(container.fd(), &abi::EEH_PE_OP, &mut eeh)
    }

    fn set_attribute<T: Plain>(&self, link: KvmVfioFd, attribute: u64, value: &T) -> Raw {
        self.on(link.fd(), |descriptor| ioctl::set_attribute(descriptor, attribute, value))
    }

    fn ask<T: Plain>(&self, fd: Fd, call: &Call<T>, argument: &mut T) -> Raw {
        self.on(fd, |descriptor| ioctl::with(descriptor, call, argument))
    }
}

impl Kernel for VfioKernel {
    fn system(&self) -> SystemFacts {
        self.shared.facts
    }

    fn locked_memory(&mut self) -> Result<LockedMemory, Errno> {
        Status::read(&self.shared.root).map(|status| status.memory)
    }

    fn kind(&mut self, fd: Fd) -> DescriptorKind {
        descriptors::kind_of(fd)
    }

    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        self.shared.descriptors.close(fd)
    }

    fn open_container(&mut self) -> Result<ContainerFd, Errno> {
        self.open("dev/vfio/vfio").map(ContainerFd::new)
    }

    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw {
        self.on(container.fd(), |descriptor| {
            ioctl::with_number(descriptor, &abi::CHECK_EXTENSION, extension.number())
        })
    }

    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw {
        self.on(container.fd(), |descriptor| {
            ioctl::with_number(descriptor, &abi::SET_IOMMU, backend.number())
        })
    }

    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno> {
        self.open(&format!("dev/vfio/{group}")).map(GroupFd::new)
    }

    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus> {
        let mut status =
            abi::vfio_group_status { argsz: argsz::<abi::vfio_group_status>(), flags: 0 };
        let raw = self.ask(group.fd(), &abi::GROUP_GET_STATUS, &mut status);
        let out = GroupStatus {
            viable: status.flags & abi::VFIO_GROUP_FLAGS_VIABLE != 0,
            in_container: status.flags & abi::VFIO_GROUP_FLAGS_CONTAINER_SET != 0,
        };
        Reply { raw, out }
    }

    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw {
        // Held, so that the number stays what it is during the call. A number that is not ours, the
        // kernel judges.
        let _held = self.shared.descriptors.get(container.fd());
        self.ask(group.fd(), &abi::GROUP_SET_CONTAINER, &mut container.fd().raw())
    }

    fn unset_container(&mut self, group: GroupFd) -> Raw {
        self.on(group.fd(), |descriptor| ioctl::plain(descriptor, &abi::GROUP_UNSET_CONTAINER))
    }

    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        let name = CString::new(address).map_err(|_| Errno::ENODEV)?;
        let group = self.shared.descriptors.get(group.fd())?;
        let fd = ioctl::device_fd(&group, &name)?;
        Ok(DeviceFd::new(self.shared.descriptors.insert(fd.into())))
    }

    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        device::read(&*self.shared.descriptors.get(device.fd())?, space, offset, bytes)
    }

    fn write_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        device::write(&*self.shared.descriptors.get(device.fd())?, space, offset, bytes)
    }

    fn device_info(&mut self, device: DeviceFd) -> Reply<DeviceInfo> {
        self.ask_device(device, function::info)
    }

    fn reset_device(&mut self, device: DeviceFd) -> Raw {
        self.on(device.fd(), function::reset)
    }

    fn interrupt_info(&mut self, device: DeviceFd, kind: InterruptKind) -> Reply<u32> {
        self.ask_device(device, |device| function::interrupt_count(device, kind))
    }

    fn enable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind, event: EventFd) -> Raw {
        self.watch(device, kind.number(), event)
    }

    fn disable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind) -> Raw {
        self.on(device.fd(), |device| function::disable(device, kind.number()))
    }

    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo> {
        let mut info = abi::vfio_iommu_spapr_tce_info {
            argsz: argsz::<abi::vfio_iommu_spapr_tce_info>(),
            ..Default::default()
        };
        let raw = self.ask(container.fd(), &abi::IOMMU_SPAPR_TCE_GET_INFO, &mut info);
        let out = SpaprInfo {
            flags: info.flags,
            dma32_window_start: info.dma32_window_start,
            dma32_window_size: info.dma32_window_size,
            page_sizes: info.ddw.pgsizes,
            windows_max: info.ddw.max_dynamic_windows_supported,
            levels_max: info.ddw.levels,
        };
        Reply { raw, out }
    }

    /// Passes on memory of the machine, memory [vouched for](crate::VfioMachine::vouch_for), and
    /// ranges that the kernel refuses by their numbers. Any other is `EFAULT`, as if there were
    /// no memory.
    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        let ground = self.shared.memory.ground(memory, self.shared.facts.page_shift);
        match ground {
            Ok(Ground::Block { .. } | Ground::Vouched | Ground::Refused) => {
                self.ask(container.fd(), &abi::IOMMU_SPAPR_REGISTER_MEMORY, &mut range(memory))
            }
            Err(errno) => self.on(container.fd(), |_| Raw::Failed(errno)),
        }
    }

    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.ask(container.fd(), &abi::IOMMU_SPAPR_UNREGISTER_MEMORY, &mut range(memory))
    }

    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        let mut create = abi::vfio_iommu_spapr_tce_create {
            argsz: argsz::<abi::vfio_iommu_spapr_tce_create>(),
            page_shift: call.page_shift,
            window_size: call.size.raw(),
            levels: call.levels,
            ..Default::default()
        };
        let raw = self.ask(container.fd(), &abi::IOMMU_SPAPR_TCE_CREATE, &mut create);
        Reply { raw, out: Iova::new(create.start_addr) }
    }

    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        let mut remove = abi::vfio_iommu_spapr_tce_remove {
            argsz: argsz::<abi::vfio_iommu_spapr_tce_remove>(),
            flags: 0,
            start_addr: start.raw(),
        };
        self.ask(container.fd(), &abi::IOMMU_SPAPR_TCE_REMOVE, &mut remove)
    }

    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        let mut map = abi::vfio_iommu_type1_dma_map {
            argsz: argsz::<abi::vfio_iommu_type1_dma_map>(),
            flags: call.flags,
            vaddr: call.address.raw(),
            iova: call.iova.raw(),
            size: call.size.raw(),
        };
        self.ask(container.fd(), &abi::IOMMU_MAP_DMA, &mut map)
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        let mut unmap = abi::vfio_iommu_type1_dma_unmap {
            argsz: argsz::<abi::vfio_iommu_type1_dma_unmap>(),
            iova: call.iova.raw(),
            size: call.size.raw(),
            ..Default::default()
        };
        self.ask(container.fd(), &abi::IOMMU_UNMAP_DMA, &mut unmap)
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        self.eeh_operation(container, operation.number(), abi::vfio_eeh_pe_err::default())
    }

    fn inject_error(&mut self, container: ContainerFd, error: InjectedError) -> Raw {
        let error = abi::vfio_eeh_pe_err {
            type_: error.width,
            func: error.function,
            addr: error.address,
            mask: error.mask,
        };
        self.eeh_operation(container, InjectedError::OPERATION, error)
    }

    fn open_event(&mut self) -> Result<EventFd, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = nix::sys::eventfd::EventFd::from_value_and_flags(0, flags);
        let event = OwnedFd::from(event.map_err(from_nix)?);
        Ok(EventFd::new(self.shared.descriptors.insert(event.into())))
    }

    fn read_event(&mut self, event: EventFd) -> Result<u64, Errno> {
        let event = self.shared.descriptors.get(event.fd())?;
        let mut count = [0; 8];
        match event.file().read(&mut count).map_err(errno_of)? {
            8 => Ok(u64::from_ne_bytes(count)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn watch_requests(&mut self, device: DeviceFd, event: EventFd) -> Raw {
        self.watch(device, abi::VFIO_PCI_REQ_IRQ_INDEX, event)
    }

    fn create_vm(&mut self) -> Result<VmFd, Errno> {
        let hypervisor = descriptors::open(&self.shared.root.path("dev/kvm"))?;
        let vm = ioctl::create_vm(&hypervisor)?;
        Ok(VmFd::new(self.shared.descriptors.insert(vm.into())))
    }

    fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Errno> {
        let vm = self.shared.descriptors.get(vm.fd())?;
        let link = ioctl::create_kvm_vfio(&vm)?;
        Ok(KvmVfioFd::new(self.shared.descriptors.insert(link.into())))
    }

    fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        let vm = self.shared.descriptors.get(vm.fd())?;
        let mut arguments = kvm::CreateSpaprTce {
            liobn: call.liobn,
            page_shift: call.page_shift,
            flags: 0,
            offset: call.offset,
            size: call.size,
        };
        let table = ioctl::create_guest_table(&vm, &mut arguments)?;
        let table = Descriptor::from(table).with_guest_tces(call.size);
        Ok(GuestTableFd::new(self.shared.descriptors.insert(table)))
    }

    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.set_attribute(link, kvm::attribute::ADD, &group.fd().raw())
    }

    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.set_attribute(link, kvm::attribute::DEL, &group.fd().raw())
    }

    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw {
        let both = kvm::GroupAndTable { group: group.fd().raw(), table: table.fd().raw() };
        self.set_attribute(link, kvm::attribute::SET_SPAPR_TCE, &both)
    }

    fn read_guest_table(
        &mut self,
        table: GuestTableFd,
        first: u64,
        tces: &mut [u64],
    ) -> Result<(), Errno> {
        let table = self.shared.descriptors.get(table.fd())?;
        guest::read_table(&table, first, tces, self.shared.facts.page_shift)
    }
}

fn range(memory: MemoryRange) -> abi::vfio_iommu_spapr_register_memory {
    abi::vfio_iommu_spapr_register_memory {
        argsz: argsz::<abi::vfio_iommu_spapr_register_memory>(),
        flags: 0,
        vaddr: memory.address.raw(),
        size: memory.size.raw(),
    }
}
