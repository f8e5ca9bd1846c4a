//! The link between a virtual machine and VFIO: groups that are lent to KVM, and windows whose TCEs a guest sets
//! (`virt/kvm/vfio.c`).

use tce_engine::{errno::Errno, kernel::Fd};

use super::World;
use crate::{
    descriptor::File,
    group::{GroupId, Presence},
    kvm::{GuestTable, GuestTableId, LinkedFile, LinkedGroup, VfioFile, VmId},
    process::MmId,
    window::TableId,
};

impl World {
    /// `kvm_vfio_file_add`.
    pub(crate) fn add_group(&mut self, caller: MmId, link: Fd, file: Fd) -> Result<(), Errno> {
        let vm = self.link_of(caller, link)?;
        let file = self.vfio_file(file)?.ok_or(Errno::EINVAL)?;
        let files = self.linked_files(vm)?;
        if files.iter().any(|linked| linked.file == file) {
            return Err(Errno::EEXIST);
        }
        files.push(LinkedFile { file, group: LinkedGroup::Unknown });
        if let VfioFile::Group(id) = file
            && let Some(group) = self.groups.get_mut(&id)
        {
            group.links += 1;
        }
        Ok(())
    }

    /// `kvm_vfio_file_del`.
    pub(crate) fn delete_group(&mut self, caller: MmId, link: Fd, file: Fd) -> Result<(), Errno> {
        let vm = self.link_of(caller, link)?;
        let at = self.place_in_link(vm, file)?;
        let linked = self.linked_files(vm)?.remove(at);
        self.end_leases(vm, linked.group);
        self.let_go(linked.file);
        Ok(())
    }

    /// `kvm_vfio_file_set_spapr_tce`.
    pub(crate) fn attach_guest_table(
        &mut self,
        caller: MmId,
        link: Fd,
        file: Fd,
        table: Fd,
    ) -> Result<(), Errno> {
        let vm = self.link_of(caller, link)?;
        let at = self.place_in_link(vm, file)?;
        let group = self.know_group(vm, at)?;
        self.lease(vm, table, group)
    }

    /// `kvm_vfio_release`. Its files go when the call returns, the newest first (`task_work_run`).
    pub(super) fn close_link(&mut self, vm: VmId) {
        let link = self.kvm.vms.get_mut(&vm).and_then(|vm| vm.link.take());
        let files = link.map(|link| link.files).unwrap_or_default();
        for linked in &files {
            self.end_leases(vm, linked.group);
        }
        for linked in files.into_iter().rev() {
            self.let_go(linked.file);
        }
        self.kvm.drop_vm_if_unheld(vm);
    }

    /// The virtual machine of a link (`kvm_device_ioctl`).
    fn link_of(&self, caller: MmId, fd: Fd) -> Result<VmId, Errno> {
        let File::KvmVfio(id) = *self.descriptors.file(fd)? else { return Err(Errno::ENOTTY) };
        self.check_vm_caller(caller, id)?;
        Ok(id)
    }

    /// The file of a descriptor, if a link takes its kind.
    fn vfio_file(&self, fd: Fd) -> Result<Option<VfioFile>, Errno> {
        Ok(match self.descriptors.file(fd)? {
            File::Group(id) => Some(VfioFile::Group(*id)),
            File::Device(file) if self.profile.kernel.links_take_devices() => {
                Some(VfioFile::Device(*file))
            }
            _ => None,
        })
    }

    fn linked_files(&mut self, vm: VmId) -> Result<&mut Vec<LinkedFile>, Errno> {
        let link = self.kvm.vms.get_mut(&vm).and_then(|vm| vm.link.as_mut());
        link.map(|link| &mut link.files).ok_or(Errno::EBADF)
    }

    fn place_in_link(&mut self, vm: VmId, fd: Fd) -> Result<usize, Errno> {
        let file = self.vfio_file(fd)?.ok_or(Errno::ENOENT)?;
        let mut files = self.linked_files(vm)?.iter();
        files.position(|linked| linked.file == file).ok_or(Errno::ENOENT)
    }

    /// `kvm_vfio_file_iommu_group`: a device's file has none to tell, nor has a group that the host took back.
    fn know_group(&mut self, vm: VmId, at: usize) -> Result<GroupId, Errno> {
        let linked = *self.linked_files(vm)?.get(at).ok_or(Errno::ENOENT)?;
        if let LinkedGroup::Known(id) = linked.group {
            return Ok(id);
        }
        let id = match linked.file {
            VfioFile::Group(id) => Some(id),
            VfioFile::Device(_) => None,
        };
        let group = id.and_then(|id| self.groups.get(&id));
        let present = group.is_some_and(|group| group.presence != Presence::Gone);
        let Some(id) = id.filter(|_| present) else {
            self.log.warn("kvm_vfio_file_set_spapr_tce: the file has no IOMMU group");
            return Err(Errno::EIO);
        };
        self.linked_files(vm)?[at].group = LinkedGroup::Known(id);
        Ok(id)
    }

    /// `kvm_spapr_tce_attach_iommu_group`: the group's first window that fits.
    fn lease(&mut self, vm: VmId, table: Fd, group: GroupId) -> Result<(), Errno> {
        let id = match *self.descriptors.file(table)? {
            File::GuestTable(id) => Some(id),
            _ => None,
        };
        let ours = self.kvm.vms.get(&vm).map_or(&[][..], |vm| &vm.tables);
        let id = id.filter(|id| ours.contains(id)).ok_or(Errno::EINVAL)?;
        let hardware = self.fitting_table(id, group).ok_or(Errno::EINVAL)?;
        if let Some(table) = self.kvm.tables.get_mut(&id) {
            table.hold(hardware);
        }
        Ok(())
    }

    fn fitting_table(&mut self, id: GuestTableId, group: GroupId) -> Option<TableId> {
        let table = self.kvm.tables.get(&id)?;
        let Some(container) = self.groups.get(&group)?.container else {
            if may_fit_the_hosts_window(table) {
                let what =
                    "GROUP_SET_SPAPR_TCE of a group in no container: a guest sets the host's TCEs";
                self.log.corrupt(what.to_owned());
            }
            return None;
        };
        let backend = self.containers.get(&container)?.backend.as_ref()?;
        let (_, window) = backend.windows().find(|(_, window)| table.fits(window))?;
        Some(window.id)
    }

    /// The tables of a group's windows (`table_group->tables`).
    fn tables_of(&self, group: GroupId) -> Vec<TableId> {
        let container = self.groups.get(&group).and_then(|group| group.container);
        let shell = container.and_then(|container| self.containers.get(&container));
        let backend = shell.and_then(|shell| shell.backend.as_ref());
        backend.into_iter().flat_map(|backend| backend.windows()).map(|(_, it)| it.id).collect()
    }

    /// Ends a virtual machine's leases of a group's windows, as far as they are still there.
    fn end_leases(&mut self, vm: VmId, group: LinkedGroup) {
        match group {
            LinkedGroup::Known(id) => {
                let hardware = self.tables_of(id);
                self.kvm.release(vm, &hardware);
            }
            LinkedGroup::Unknown => {
                self.log.warn("kvm_spapr_tce_release_vfio_group: the file never had a lease");
            }
        }
    }

    /// A link holds a file no more.
    fn let_go(&mut self, file: VfioFile) {
        match file {
            VfioFile::Group(id) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.links = group.links.saturating_sub(1);
                }
                self.release_group_file(id);
            }
            VfioFile::Device(device) => {
                let is_open =
                    self.descriptors.iter().any(|(_, open)| *open == File::Device(device));
                if !is_open && !self.kvm.links(file) {
                    self.close_device(device);
                }
            }
        }
    }
}

/// Whether a guest's table could take hold of the window that the host has for its own drivers while a group is in no
/// container: it starts at 0, and its page and size depend on the host.
const fn may_fit_the_hosts_window(table: &GuestTable) -> bool {
    table.call.offset == 0
}
