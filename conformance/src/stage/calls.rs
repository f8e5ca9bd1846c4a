//! Steps that are one system call.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, DeviceFd, Extension, Fd, GroupFd, GuestTableCall, GuestTableFd,
        InterruptKind, Kernel, KvmVfioFd, MapCall, MemoryRange, Reply, UnmapCall, VmFd,
    },
};

use crate::{
    outcome::Answer,
    seat::Seat,
    stage::Block,
    step::{File, Place, Step},
};

/// Where no memory is, on any machine.
const NOWHERE: u64 = 1 << 40;

/// The open descriptors.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) open: BTreeMap<File, Fd>,
}

impl Files {
    /// A descriptor, or a number that is none.
    pub(super) fn of(&self, file: File) -> Fd {
        self.open.get(&file).copied().unwrap_or(Fd::new(-1))
    }

    fn opened(&mut self, file: File, fd: Result<Fd, Errno>) -> Answer {
        match fd {
            Ok(fd) => {
                self.open.insert(file, fd);
                Answer::Opened
            }
            Err(errno) => Answer::Failed { errno },
        }
    }

    fn container(&self, file: File) -> ContainerFd {
        ContainerFd::new(self.of(file))
    }

    fn group(&self, file: File) -> GroupFd {
        GroupFd::new(self.of(file))
    }

    fn device(&self, number: u8) -> DeviceFd {
        DeviceFd::new(self.of(File::Device(number)))
    }

    fn link(&self) -> KvmVfioFd {
        KvmVfioFd::new(self.of(File::Link))
    }
}

/// What names of memory and of groups stand for.
pub(super) struct Names<'a> {
    pub(super) blocks: &'a [Block],
    pub(super) seats: &'a [Seat],
}

impl Names<'_> {
    pub(super) fn address(&self, place: Place) -> HostAddr {
        let block = place.block.and_then(|block| self.blocks.get(usize::from(block)));
        let start = block.map_or(NOWHERE, |block| block.range.address.raw());
        HostAddr::new(start.wrapping_add(place.offset))
    }

    fn range(&self, place: Place, size: u64) -> MemoryRange {
        MemoryRange { address: self.address(place), size: Bytes::new(size) }
    }

    fn seat(&self, number: u8) -> Result<&Seat, Errno> {
        self.seats.get(usize::from(number)).ok_or(Errno::ENOENT)
    }
}

/// One system call.
pub(super) fn call<K: Kernel>(
    kernel: &mut K,
    files: &mut Files,
    names: &Names<'_>,
    step: &Step,
) -> Answer {
    match *step {
        Step::OpenContainer { container } => {
            let opened = kernel.open_container().map(ContainerFd::fd);
            files.opened(File::Container(container), opened)
        }
        Step::OpenGroup { group } => {
            let opened = names.seat(group).and_then(|seat| kernel.open_group(seat.group));
            files.opened(File::Group(group), opened.map(GroupFd::fd))
        }
        Step::OpenDevice { device } => {
            let group = files.group(File::Group(device));
            let opened =
                names.seat(device).and_then(|seat| kernel.open_device(group, &seat.address));
            files.opened(File::Device(device), opened.map(DeviceFd::fd))
        }
        Step::Close { file } => {
            let fd = files.open.remove(&file).unwrap_or(Fd::new(-1));
            done(kernel.close(fd))
        }
        Step::CheckExtension { file, extension } => {
            let extension = Extension::from_number(extension);
            kernel.check_extension(files.container(file), extension).into()
        }
        Step::SetIommu { file, backend } => {
            kernel.set_iommu(files.container(file), Extension::from_number(backend)).into()
        }
        Step::GroupStatus { file } => told(kernel.group_status(files.group(file)), |status| {
            Answer::Status { viable: status.viable, in_container: status.in_container }
        }),
        Step::SetContainer { file, container } => {
            kernel.set_container(files.group(file), files.container(container)).into()
        }
        Step::UnsetContainer { file } => kernel.unset_container(files.group(file)).into(),
        Step::ResetDevice { .. }
        | Step::EnableInterrupts { .. }
        | Step::DisableInterrupts { .. } => call_device(kernel, files, step),
        Step::AddGroup { .. }
        | Step::DeleteGroup { .. }
        | Step::AttachTable { .. }
        | Step::CreateVm
        | Step::CreateLink
        | Step::CreateTable { .. } => call_kvm(kernel, files, step),
        _ => call_backend(kernel, files, names, step),
    }
}

/// A call that the container passes to its backend.
fn call_backend<K: Kernel>(
    kernel: &mut K,
    files: &Files,
    names: &Names<'_>,
    step: &Step,
) -> Answer {
    match *step {
        Step::Info { file } => told(kernel.info(files.container(file)), Answer::from),
        Step::Register { file, memory, size } => {
            kernel.register(files.container(file), names.range(memory, size)).into()
        }
        Step::Unregister { file, memory, size } => {
            kernel.unregister(files.container(file), names.range(memory, size)).into()
        }
        Step::Create { file, page_shift, size, levels } => {
            let call = CreateCall { page_shift, size: Bytes::new(size), levels };
            let made = kernel.create(files.container(file), call);
            told(made, |start| Answer::Start { iova: start.raw() })
        }
        Step::Remove { file, start } => {
            kernel.remove(files.container(file), Iova::new(start)).into()
        }
        Step::Map { file, flags, memory, iova, size } => {
            let address = names.address(memory);
            let (iova, size) = (Iova::new(iova), Bytes::new(size));
            kernel.map(files.container(file), MapCall { flags, address, iova, size }).into()
        }
        Step::Unmap { file, iova, size } => {
            let call = UnmapCall { iova: Iova::new(iova), size: Bytes::new(size) };
            kernel.unmap(files.container(file), call).into()
        }
        Step::Eeh { file, operation } => kernel.eeh(files.container(file), operation).into(),
        // Not a call of one process alone: memory, DMA, and what is taken elsewhere.
        _ => Answer::Failed { errno: Errno::EINVAL },
    }
}

fn call_device<K: Kernel>(kernel: &mut K, files: &Files, step: &Step) -> Answer {
    match *step {
        Step::ResetDevice { device } => kernel.reset_device(files.device(device)).into(),
        Step::EnableInterrupts { device, kind } => {
            enable_interrupts(kernel, files.device(device), kind)
        }
        Step::DisableInterrupts { device, kind } => {
            kernel.disable_interrupts(files.device(device), kind).into()
        }
        // Not a call on a device.
        _ => Answer::Failed { errno: Errno::EINVAL },
    }
}

/// Nobody waits for these interrupts, so the event is closed again. The kernel keeps what it counts in.
fn enable_interrupts<K: Kernel>(kernel: &mut K, device: DeviceFd, kind: InterruptKind) -> Answer {
    let event = match kernel.open_event() {
        Ok(event) => event,
        Err(errno) => return Answer::Failed { errno },
    };
    let answer = kernel.enable_interrupts(device, kind, event).into();
    match kernel.close(event.fd()) {
        Ok(()) => answer,
        Err(errno) => Answer::Failed { errno },
    }
}

fn call_kvm<K: Kernel>(kernel: &mut K, files: &mut Files, step: &Step) -> Answer {
    let vm = VmFd::new(files.of(File::Vm));
    match *step {
        Step::CreateVm => {
            let made = kernel.create_vm().map(VmFd::fd);
            files.opened(File::Vm, made)
        }
        Step::CreateLink => {
            let made = kernel.create_kvm_vfio(vm).map(KvmVfioFd::fd);
            files.opened(File::Link, made)
        }
        Step::CreateTable { table, liobn, page_shift, offset, size } => {
            let call = GuestTableCall { liobn, page_shift, offset, size };
            let made = kernel.create_guest_table(vm, call).map(GuestTableFd::fd);
            files.opened(File::Table(table), made)
        }
        Step::AddGroup { group } => kernel.add_group(files.link(), files.group(group)).into(),
        Step::DeleteGroup { group } => kernel.delete_group(files.link(), files.group(group)).into(),
        Step::AttachTable { group, table } => {
            let table = GuestTableFd::new(files.of(table));
            kernel.attach_guest_table(files.link(), files.group(group), table).into()
        }
        _ => Answer::Failed { errno: Errno::EINVAL },
    }
}

fn done(result: Result<(), Errno>) -> Answer {
    match result {
        Ok(()) => Answer::Returned { value: 0 },
        Err(errno) => Answer::Failed { errno },
    }
}

fn told<T>(reply: Reply<T>, tell: impl FnOnce(T) -> Answer) -> Answer {
    match Answer::from(reply.raw) {
        Answer::Returned { value: 0 } => tell(reply.out),
        other => other,
    }
}
