//! Making a call on the simulated kernel.

use tce_engine::{
    errno::Errno,
    kernel::{
        CreateCall, EehOperation, Extension, Fd, GroupNumber, GuestTableCall, Kernel, MapCall,
        MemoryRange, Raw, UnmapCall,
    },
};

use crate::event::{Answer, Call, Event};

use super::{File, Replay, Simulated};

impl Replay {
    /// Makes a call. `None` for calls that the simulated kernel has nothing to say to.
    pub(super) fn execute(&mut self, event: &Event) -> Option<Simulated> {
        let process = event.process;
        match &event.call {
            Call::Close { fd } => {
                if let Some(file) = self.descriptors.close(process, *fd) {
                    self.shut(process, file);
                }
                None
            }
            Call::Duplicate { fd } => {
                let copy = event.answer.descriptor()?;
                if let Some(replaced) = self.descriptors.duplicate(process, *fd, copy) {
                    self.shut(process, replaced);
                }
                None
            }
            Call::Fork { child } => {
                self.descriptors.inherit(process, *child);
                None
            }
            Call::Exit => {
                for fd in self.descriptors.of(process) {
                    if let Some(file) = self.descriptors.close(process, fd) {
                        self.shut(process, file);
                    }
                }
                None
            }
            call => self
                .open(event)
                .or_else(|| self.group_call(event))
                .or_else(|| self.container_call(process, call))
                .or_else(|| self.link_call(process, call)),
        }
    }

    /// Calls that make a descriptor.
    fn open(&mut self, event: &Event) -> Option<Simulated> {
        let process = event.process;
        let opened = match &event.call {
            Call::OpenContainer => {
                let opened = self.kernel(process).open_container();
                if let (Ok(opened), Some(fd)) = (opened, event.answer.descriptor()) {
                    self.add_container(process, fd, opened);
                }
                return Some(opened_as(opened.map(|it| it.fd())));
            }
            Call::OpenGroup { group } => {
                let opened = self.kernel(process).open_group(GroupNumber(*group));
                opened.map(|fd| File::Group(fd, *group))
            }
            Call::OpenDevice { group, address } => {
                let group = self.group(process, *group)?;
                self.kernel(process).open_device(group, address).map(File::Device)
            }
            Call::CreateVm => self.kernel(process).create_vm().map(File::Vm),
            Call::CreateKvmVfio { vm } => {
                let Some(File::Vm(vm)) = self.file(process, *vm) else { return None };
                self.kernel(process).create_kvm_vfio(vm).map(File::Link)
            }
            Call::CreateGuestTable { vm, liobn, page_shift, offset, size } => {
                let Some(File::Vm(vm)) = self.file(process, *vm) else { return None };
                let call = GuestTableCall {
                    liobn: *liobn,
                    page_shift: *page_shift,
                    offset: *offset,
                    size: *size,
                };
                self.kernel(process).create_guest_table(vm, call).map(File::Table)
            }
            _ => return None,
        };
        let fd = opened.map(File::fd);
        match (opened, event.answer.descriptor()) {
            (Ok(file), Some(recorded)) => self.put(process, recorded, file),
            (Ok(file), None) => self.shut(process, file),
            (Err(_), _) => {}
        }
        Some(opened_as(fd))
    }

    fn group_call(&mut self, event: &Event) -> Option<Simulated> {
        let process = event.process;
        let raw = match &event.call {
            Call::GroupStatus { group, .. } => {
                let group = self.group(process, *group)?;
                self.kernel(process).group_status(group).raw
            }
            Call::SetContainer { group, container } => {
                let (Some(File::Group(group, number)), Some(File::Container(fd, id))) =
                    (self.file(process, *group), self.file(process, *container))
                else {
                    return None;
                };
                let raw = self.kernel(process).set_container(group, fd);
                if raw == Raw::OK && self.members.insert(number, id).is_none() {
                    self.containers.get_mut(id.0)?.groups += 1;
                }
                raw
            }
            Call::UnsetContainer { group } => {
                let Some(File::Group(fd, number)) = self.file(process, *group) else {
                    return None;
                };
                let raw = self.kernel(process).unset_container(fd);
                if raw == Raw::OK {
                    self.withdraw(number);
                }
                raw
            }
            _ => return None,
        };
        Some(Simulated::of(raw.into()))
    }

    fn container_call(&mut self, process: u32, call: &Call) -> Option<Simulated> {
        let Some(File::Container(fd, _)) = self.file(process, call.container()?) else {
            return None;
        };
        if call.flags().is_some_and(|flags| flags != 0) {
            return Some(Simulated::of(Answer::Failed(Errno::EINVAL)));
        }
        let kernel = self.kernel(process);
        let raw = match *call {
            Call::CheckExtension { extension, .. } => {
                kernel.check_extension(fd, Extension::from_number(extension))
            }
            Call::SetIommu { backend, .. } => kernel.set_iommu(fd, Extension::from_number(backend)),
            Call::Info { .. } => kernel.info(fd).raw,
            Call::Register { address, size, .. } => {
                kernel.register(fd, MemoryRange { address, size })
            }
            Call::Unregister { address, size, .. } => {
                kernel.unregister(fd, MemoryRange { address, size })
            }
            Call::Create { page_shift, size, levels, .. } => {
                let reply = kernel.create(fd, CreateCall { page_shift, size, levels });
                let start = (reply.raw == Raw::OK).then_some(reply.out);
                return Some(Simulated { start, ..Simulated::of(reply.raw.into()) });
            }
            Call::Remove { start, .. } => kernel.remove(fd, start),
            Call::Map { flags, address, iova, size, .. } => {
                kernel.map(fd, MapCall { flags, address, iova, size })
            }
            Call::Unmap { iova, size, .. } => kernel.unmap(fd, UnmapCall { iova, size }),
            Call::Eeh { operation, .. } => kernel.eeh(fd, EehOperation::from_number(operation)?),
            _ => return None,
        };
        Some(Simulated::of(raw.into()))
    }

    fn link_call(&mut self, process: u32, call: &Call) -> Option<Simulated> {
        let (link, group) = match call {
            Call::AddGroup { link, group }
            | Call::DeleteGroup { link, group }
            | Call::AttachGuestTable { link, group, .. } => (*link, *group),
            _ => return None,
        };
        let Some(File::Link(link)) = self.file(process, link) else { return None };
        let group = self.group(process, group)?;
        let raw = match call {
            Call::AddGroup { .. } => self.kernel(process).add_group(link, group),
            Call::DeleteGroup { .. } => self.kernel(process).delete_group(link, group),
            Call::AttachGuestTable { table, .. } => {
                let Some(File::Table(table)) = self.file(process, *table) else { return None };
                self.kernel(process).attach_guest_table(link, group, table)
            }
            _ => return None,
        };
        Some(Simulated::of(raw.into()))
    }

    /// Undoes what the recorded kernel did not do.
    pub(super) fn follow(&mut self, event: &Event, simulated: Simulated) {
        if event.answer.is_zero() || !simulated.answer.is_zero() {
            return;
        }
        let process = event.process;
        let Some(File::Container(fd, _)) =
            event.call.container().and_then(|fd| self.file(process, fd))
        else {
            return;
        };
        // Whether that succeeds changes nothing: the difference has been told.
        let _ = match event.call {
            Call::Create { .. } => match simulated.start {
                Some(start) => self.kernel(process).remove(fd, start),
                None => return,
            },
            Call::Register { address, size, .. } => {
                self.kernel(process).unregister(fd, MemoryRange { address, size })
            }
            Call::Map { iova, size, .. } => {
                self.kernel(process).unmap(fd, UnmapCall { iova, size })
            }
            _ => return,
        };
    }

    fn file(&self, process: u32, fd: Fd) -> Option<File> {
        self.descriptors.get(process, fd).copied()
    }

    fn group(&self, process: u32, fd: Fd) -> Option<tce_engine::kernel::GroupFd> {
        match self.file(process, fd) {
            Some(File::Group(fd, _)) => Some(fd),
            _ => None,
        }
    }
}

fn opened_as(opened: Result<Fd, Errno>) -> Simulated {
    match opened {
        Ok(fd) => {
            let answer = Answer::Returned(fd.raw().into());
            Simulated { opened: Some(fd), ..Simulated::of(answer) }
        }
        Err(errno) => Simulated::of(Answer::Failed(errno)),
    }
}
