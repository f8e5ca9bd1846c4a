//! VFIO containers: the shell of `drivers/vfio/container.c`, with or without a backend inside.
//!
//! A container lives while its descriptor or a group holds it (`vfio_container::kref`). The backend lives while groups
//! are attached; the shell's life says nothing about it.

use crate::{backend::Backend, group::GroupId};

/// Names a container of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContainerId(pub(crate) u32);

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) descriptor: Descriptor,
    /// Its groups, newest first.
    pub(crate) groups: Vec<GroupId>,
    /// `iommu_driver` and `iommu_data`.
    pub(crate) backend: Option<Backend>,
}

/// Whether a file's descriptor is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    Open,
    Closed,
}

impl Container {
    pub(crate) const fn new() -> Self {
        Self { descriptor: Descriptor::Open, groups: Vec::new(), backend: None }
    }

    /// Whether nothing holds it any more.
    pub(crate) fn is_unheld(&self) -> bool {
        self.descriptor == Descriptor::Closed && self.groups.is_empty()
    }
}
