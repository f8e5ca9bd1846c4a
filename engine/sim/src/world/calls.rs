//! The calls that a container passes to its backend.

use tce_engine::{
    addr::Iova,
    errno::Errno,
    kernel::{
        CreateCall, EehOperation, Extension, Fd, InjectedError, MapCall, MemoryRange, Platform,
        SpaprInfo, UnmapCall,
    },
};

use super::World;
use crate::{
    backend::{Backend, Host, MapCut},
    descriptor::{DeviceFile, File},
    process::MmId,
    profile::Eeh,
};

impl World {
    /// `vfio_container_ioctl_check_extension`: answers with and without a backend.
    pub(crate) fn check_extension(&self, fd: Fd, extension: Extension) -> Result<i32, Errno> {
        self.container_of(fd)?;
        Ok(match extension {
            Extension::SpaprTceV1 | Extension::SpaprTceV2 => 1,
            Extension::Eeh => i32::from(self.profile.eeh == Eeh::Enabled),
            Extension::Other(_) => 0,
        })
    }

    /// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`. A device knows the number as `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`.
    pub(crate) fn info(&mut self, caller: MmId, fd: Fd) -> Result<SpaprInfo, Errno> {
        if let Ok(File::Device(file)) = self.descriptors.file(fd) {
            return self.hot_reset_info(*file);
        }
        self.on_backend(caller, fd, |backend, host| Ok(backend.info(host.profile)))
    }

    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY`.
    pub(crate) fn register(
        &mut self,
        caller: MmId,
        fd: Fd,
        range: MemoryRange,
    ) -> Result<i32, Errno> {
        self.on_backend(caller, fd, |backend, host| backend.register(range, host))
    }

    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY`.
    pub(crate) fn unregister(
        &mut self,
        caller: MmId,
        fd: Fd,
        range: MemoryRange,
    ) -> Result<(), Errno> {
        self.on_backend(caller, fd, |backend, host| backend.unregister(range, host))
    }

    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`.
    pub(crate) fn create(
        &mut self,
        caller: MmId,
        fd: Fd,
        call: &CreateCall,
    ) -> Result<Iova, Errno> {
        self.on_backend(caller, fd, |backend, host| backend.create(call, host))
    }

    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`.
    pub(crate) fn remove(&mut self, caller: MmId, fd: Fd, start: Iova) -> Result<(), Errno> {
        self.on_backend(caller, fd, |backend, host| backend.remove(start, host))
    }

    /// `VFIO_IOMMU_MAP_DMA`. A device knows the number as `VFIO_DEVICE_PCI_HOT_RESET`, which takes no flags and as
    /// many groups as the call can't name.
    pub(crate) fn map(
        &mut self,
        caller: MmId,
        fd: Fd,
        call: &MapCall,
        cut: Option<MapCut>,
    ) -> Result<i32, Errno> {
        if self.is_device(fd) {
            return Err(Errno::EINVAL);
        }
        self.on_backend(caller, fd, |backend, host| backend.map(call, cut, host))
    }

    /// `VFIO_IOMMU_UNMAP_DMA`.
    pub(crate) fn unmap(&mut self, caller: MmId, fd: Fd, call: UnmapCall) -> Result<i32, Errno> {
        self.on_backend(caller, fd, |backend, host| backend.unmap(call, host))
    }

    /// `VFIO_EEH_PE_OP`.
    pub(crate) fn eeh(
        &mut self,
        caller: MmId,
        fd: Fd,
        operation: EehOperation,
    ) -> Result<i32, Errno> {
        self.on_backend(caller, fd, |backend, host| backend.eeh(operation, host))
    }

    /// `VFIO_EEH_PE_INJECT_ERR`.
    pub(crate) fn inject_error(
        &mut self,
        caller: MmId,
        fd: Fd,
        error: InjectedError,
    ) -> Result<(), Errno> {
        self.on_backend(caller, fd, |backend, host| backend.inject_error(error, host))
    }

    fn on_backend<T>(
        &mut self,
        caller: MmId,
        fd: Fd,
        call: impl FnOnce(&mut Backend, &mut Host<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let id = self.container_of(fd)?;
        let (backend, mut host) = self.backend(id, caller)?;
        backend.admits(caller)?;
        call(backend, &mut host)
    }

    /// `vfio_pci_ioctl_get_pci_hot_reset_info`, read as what the caller asked for. A partition's bus has no reset.
    fn hot_reset_info(&self, file: DeviceFile) -> Result<SpaprInfo, Errno> {
        let number = self.groups.get(&file.group).ok_or(Errno::ENODEV)?.number;
        let endpoint = self.endpoints.get(number).ok_or(Errno::ENODEV)?;
        let device = endpoint.devices.get(file.device).ok_or(Errno::ENODEV)?;
        match self.profile.platform {
            Platform::Pseries => Err(Errno::ENODEV),
            Platform::Powernv => Ok(SpaprInfo {
                // One device is affected: of this group, at this place on the bus.
                dma32_window_start: 1,
                dma32_window_size: number.0,
                page_sizes: device.profile.place(),
                ..SpaprInfo::default()
            }),
        }
    }

    fn is_device(&self, fd: Fd) -> bool {
        matches!(self.descriptors.file(fd), Ok(File::Device(_)))
    }
}
