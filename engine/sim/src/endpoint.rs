//! Partitionable endpoints: an IOMMU group as hardware and firmware know it.

use std::collections::BTreeMap;

use tce_engine::{
    errno::Errno,
    kernel::{EehOperation, GroupNumber, InjectedError},
    machine::GroupDevice,
};

use crate::{
    device::Device,
    eeh::PeState,
    partition::Partition,
    profile::{DmaError, Eeh, Profile},
};

/// `EEH_ERR_FUNC_MAX`.
const INJECTED_FUNCTION_MAX: u32 = 19;
/// `EEH_ERR_TYPE_64`.
const INJECTED_WIDTH_MAX: u32 = 1;

/// The endpoints, by group number.
#[derive(Debug)]
pub(crate) struct Endpoints {
    by_number: BTreeMap<GroupNumber, Endpoint>,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) devices: Vec<Device>,
    pub(crate) state: PeState,
    pub(crate) partition: Partition,
}

impl Endpoints {
    pub(crate) fn new(profile: &Profile) -> Self {
        let endpoint = |devices: &[_]| Endpoint {
            devices: devices.iter().map(Device::new).collect(),
            state: PeState::default(),
            partition: Partition::default(),
        };
        let by_number =
            profile.groups.iter().map(|group| (group.number, endpoint(&group.devices))).collect();
        Self { by_number }
    }

    pub(crate) fn get(&self, number: GroupNumber) -> Option<&Endpoint> {
        self.by_number.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: GroupNumber) -> Option<&mut Endpoint> {
        self.by_number.get_mut(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupNumber, &Endpoint)> {
        self.by_number.iter().map(|(number, endpoint)| (*number, endpoint))
    }

    /// `vfio_spapr_iommu_eeh_ioctl`: without EEH there is no PE to be found.
    pub(crate) fn eeh(
        &mut self,
        number: GroupNumber,
        operation: EehOperation,
        eeh: Eeh,
    ) -> Result<i32, Errno> {
        let endpoint = self.get_mut(number).filter(|_| eeh == Eeh::Enabled);
        let endpoint = endpoint.ok_or(Errno::ENODEV)?;
        // The emulated root ports have no fundamental reset.
        if operation == EehOperation::ResetFundamental {
            return Err(Errno::EIO);
        }
        endpoint.state = endpoint.state.after(operation);
        match operation {
            EehOperation::GetState => Ok(endpoint.state.value()),
            EehOperation::ResetHot | EehOperation::ResetFundamental => {
                endpoint.devices.iter_mut().for_each(Device::reset);
                Ok(0)
            }
            EehOperation::Disable
            | EehOperation::Enable
            | EehOperation::UnfreezeIo
            | EehOperation::UnfreezeDma
            | EehOperation::ResetDeactivate
            | EehOperation::Configure => Ok(0),
        }
    }

    /// `eeh_pe_inject_err`, `pnv_eeh_err_inject`. The emulation's firmware injects no errors (`OPAL_UNSUPPORTED`); on
    /// hardware the error strikes here at once, not with the access that it is meant for.
    pub(crate) fn inject(
        &mut self,
        number: GroupNumber,
        error: InjectedError,
        profile: &Profile,
    ) -> Result<(), Errno> {
        let endpoint = self.get_mut(number).filter(|_| profile.eeh == Eeh::Enabled);
        let endpoint = endpoint.ok_or(Errno::ENODEV)?;
        if error.function > INJECTED_FUNCTION_MAX {
            return Err(Errno::EINVAL);
        }
        if error.width > INJECTED_WIDTH_MAX {
            return Err(Errno::ERANGE);
        }
        match profile.dma_error {
            DmaError::Dropped => Err(Errno::EIO),
            DmaError::FreezesPe => {
                endpoint.state = PeState::Stopped;
                Ok(())
            }
        }
    }
}

impl Endpoint {
    /// Whether the host's drivers leave its DMA to others.
    pub(crate) fn is_free_of_host_drivers(&self) -> bool {
        !self.devices.iter().any(|device| device.profile.blocks_group())
    }

    /// Whether a device is VFIO's, so that `/dev/vfio/N` exists.
    pub(crate) fn has_vfio_device(&self) -> bool {
        self.devices.iter().any(|device| device.profile.is_vfio())
    }

    pub(crate) fn group_devices(&self) -> Vec<GroupDevice> {
        let shown = self.devices.iter().map(|device| GroupDevice {
            address: device.profile.address.clone(),
            driver: device.profile.driver.clone(),
            id: device.profile.id,
            blocks_group: device.profile.blocks_group(),
        });
        shown.collect()
    }
}
