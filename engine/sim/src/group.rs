//! VFIO groups: `struct vfio_group` of `drivers/vfio/group.c`.

use tce_engine::kernel::GroupNumber;

use crate::container::{ContainerId, Descriptor};

/// Names a group object. One that went away and came back is another object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub(crate) u32);

/// A group object.
#[derive(Debug)]
pub(crate) struct VfioGroup {
    pub(crate) number: GroupNumber,
    pub(crate) presence: Presence,
    pub(crate) descriptor: Descriptor,
    pub(crate) container: Option<ContainerId>,
    /// Open device descriptors; each holds the group's file and counts as a user of the container.
    pub(crate) open_devices: u32,
    /// Links of KVM's that hold the group's file.
    pub(crate) links: u32,
}

/// Whether the group's devices are still VFIO's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// They are.
    Present,
    /// An unbind waits for the open devices (`vfio_unregister_group_dev`).
    Leaving,
    /// They are not: `iommu_group` is NULL (`vfio_device_remove_group`).
    Gone,
}

impl VfioGroup {
    pub(crate) const fn new(number: GroupNumber) -> Self {
        Self {
            number,
            presence: Presence::Present,
            descriptor: Descriptor::Closed,
            container: None,
            open_devices: 0,
            links: 0,
        }
    }

    /// `opened_file`: devices and KVM hold the file even when its own descriptor is closed.
    pub(crate) fn is_open(&self) -> bool {
        self.descriptor == Descriptor::Open || self.open_devices > 0 || self.links > 0
    }
}
