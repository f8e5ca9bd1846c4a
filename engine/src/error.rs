//! What can go wrong, by whose fault.

use std::fmt;

use thiserror::Error;

use crate::{
    addr::Bytes,
    fault::Fault,
    freeze::FreezeRefusal,
    growth::GrowthRefusal,
    guest::LoanRefusal,
    iova::AddressRefusal,
    kernel::{DescriptorKind, GroupNumber},
    layout::LayoutRefusal,
    lease::LeaseRefusal,
    region::{RegionId, RegionRefusal},
    window::{Claim, ClaimRefusal, WindowId},
};

/// Why the engine did not do something.
///
/// A `Fault`, a `Batch` or a `Registration` means that the kernel failed a call; all others mean that the caller asked for something that
/// cannot be. They come before any call is made for it, but for what only the kernel can tell: that a group is not
/// viable or has no backend for us, that a window came to lie elsewhere ([`LayoutRefusal::Unreachable`]), and that a
/// partition's firmware has less than was asked for ([`LayoutRefusal::FirmwareHasLess`]; whatever a window's fallback is
/// refused for comes after that too), that a device does not answer ([`DeviceRefusal::Silent`]), and what state PEs are in
/// ([`FreezeRefusal`]).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The container has no group, so it has no backend: no windows, no regions, no leases.
    #[error("the container has no group attached, so it has no backend: attach a group first")]
    NoBackend,
    /// A group cannot be attached or detached.
    #[error(transparent)]
    Group(#[from] GroupRefusal),
    /// A device cannot be reset.
    #[error(transparent)]
    Device(#[from] DeviceRefusal),
    /// The PEs' state cannot be told, or they cannot be recovered.
    #[error(transparent)]
    Freeze(#[from] FreezeRefusal),
    /// A layout cannot be made.
    #[error(transparent)]
    Layout(#[from] LayoutRefusal),
    /// Memory cannot be registered, unregistered or mapped.
    #[error(transparent)]
    Region(#[from] RegionRefusal),
    /// A lease cannot be granted or used.
    #[error(transparent)]
    Lease(#[from] LeaseRefusal),
    /// A batch cannot be applied.
    #[error(transparent)]
    Edit(#[from] EditRefusal),
    /// A bus address cannot be given out or taken back.
    #[error(transparent)]
    Addresses(#[from] AddressRefusal),
    /// A lease cannot grow.
    #[error(transparent)]
    Growth(#[from] GrowthRefusal),
    /// A lease cannot be lent to a guest.
    #[error(transparent)]
    Loan(#[from] LoanRefusal),
    /// The kernel failed a call. What it did not do has not been noted; the operation says how far it came.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The kernel failed a call of a batch.
    #[error(transparent)]
    Batch(#[from] Box<BatchFailure>),
    /// The kernel failed to register a piece of memory, and to take back others.
    #[error(transparent)]
    Registration(#[from] Box<RegistrationFailure>),
    /// A group has left, and the kernel failed to map again what the others had.
    #[error(transparent)]
    Parting(#[from] Box<PartingFailure>),
}

impl Error {
    /// The kernel's part in it, if it had one.
    #[must_use]
    pub const fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Batch(failure) => Some(&failure.fault),
            Self::Registration(failure) => Some(&failure.fault),
            Self::Parting(failure) => Some(&failure.fault),
            Self::Layout(LayoutRefusal::FirmwareHasLess { fault, .. }) => Some(fault),
            _ => None,
        }
    }
}

/// Why a descriptor is no container for us, or a group cannot come or go.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupRefusal {
    /// The descriptor is something else.
    #[error("descriptor {fd} is {found}, where a VFIO container is needed")]
    NotAContainer {
        /// The descriptor.
        fd: i32,
        /// What it is.
        found: DescriptorKind,
    },
    /// The container came with a backend, whose windows and memory nobody here knows.
    #[error("descriptor {fd} is a container that somebody uses already: give a fresh one")]
    ContainerInUse {
        /// The descriptor.
        fd: i32,
    },
    /// The kernel's VFIO has no sPAPR TCE v2 backend.
    #[error(
        "this kernel has no sPAPR TCE v2 backend: load the module vfio_iommu_spapr_tce, on POWER"
    )]
    NoSuchBackend,
    /// The backend makes no windows of its own.
    #[error(
        "the backend of group {0} has no dynamic windows (DDW): the firmware does not offer them"
    )]
    NoDynamicWindows(GroupNumber),
    /// Some device of the group is with a host driver.
    #[error(
        "group {0} is not viable: a device of it is bound to a host driver; bind all its devices to \
         vfio-pci (`tce doctor` shows which block it)"
    )]
    NotViable(GroupNumber),
    /// The group is attached already, or is not.
    #[error("group {group} {}", if *.attached { "is attached already" } else { "is not attached" })]
    Attached {
        /// The group.
        group: GroupNumber,
        /// Whether it is attached.
        attached: bool,
    },
    /// A platform that has one group per container.
    #[error("group {0} needs a container of its own: a pseries kernel takes one group each")]
    OneGroupOnly(GroupNumber),
    /// Detaching one of several groups clears every TCE of the others.
    #[error(
        "group {0} cannot leave while others stay: the kernel would clear all their mappings with it; if their \
         devices may be stopped for a moment, let it part instead"
    )]
    OthersPresent(GroupNumber),
    /// There are no others to part from.
    #[error("group {0} is the container's last: detach it, which ends every lease")]
    LastGroup(GroupNumber),
}

/// Why a device is not reset, which it has to be before its next holder.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceRefusal {
    /// Neither the function nor its PE can be reset.
    #[error(
        "{address} may still hold what another holder left in it, and can be reset neither by itself nor with its PE: \
         close it and open it anew (detach its group and attach it again), upon which the kernel resets what it can"
    )]
    NoReset {
        /// The device's PCI address.
        address: String,
    },
    /// It does not answer, so a reset of its function would tell nothing.
    #[error(
        "{address} does not answer, so it cannot be reset: its PE is frozen, which a recovery ends, or it is gone, and \
         its group has to leave"
    )]
    Silent {
        /// The device's PCI address.
        address: String,
    },
}

/// Why a batch is not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditRefusal {
    /// The window does not admit a range.
    #[error("edit {edit}: {refusal}")]
    Claim {
        /// Which edit of the batch, from 0.
        edit: usize,
        /// Why.
        refusal: ClaimRefusal,
    },
    /// The lease does not allow it.
    #[error("edit {edit}: {refusal}")]
    Lease {
        /// Which edit.
        edit: usize,
        /// Why.
        refusal: LeaseRefusal,
    },
    /// The region cannot be mapped so.
    #[error("edit {edit}: {refusal}")]
    Region {
        /// Which edit.
        edit: usize,
        /// Why.
        refusal: RegionRefusal,
    },
    /// The range is closed, because the kernel's TCEs there are not known.
    #[error(
        "edit {edit}: the range of {claim} is quarantined: an earlier failure could not be undone there"
    )]
    Quarantined {
        /// Which edit.
        edit: usize,
        /// The quarantined range.
        claim: Claim,
    },
    /// The lease is growing, and the range has to be as the old one is.
    #[error(
        "edit {edit}: {claim} is kept as {old} is while the lease grows: use the old addresses, or finish first"
    )]
    InImage {
        /// Which edit.
        edit: usize,
        /// The range.
        claim: Claim,
        /// The old range.
        old: Claim,
    },
    /// The lease is growing, and the edit cannot be made in the new window as well.
    #[error("the lease is growing into {window}, where it cannot be done too: {refusal}")]
    Growing {
        /// The new window.
        window: WindowId,
        /// Why.
        refusal: Box<EditRefusal>,
    },
    /// Too many edits.
    #[error("a batch of {0} edits is too long; {max} is the most", max = crate::edit::BATCH_EDITS_MAX)]
    TooMany(usize),
}

/// A registration of several pieces that the kernel failed half-way, and that could not be undone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{fault}; taking back what was registered failed too ({second}), so {left} of {region} stay registered: \
     unregister it again"
)]
pub struct RegistrationFailure {
    /// The call that failed first.
    pub fault: Fault,
    /// The region. Nothing can be mapped to it.
    pub region: RegionId,
    /// How much of it is still registered.
    pub left: Bytes,
    /// The call of the taking back that failed, or why none was made.
    pub second: Error,
}

/// A batch that the kernel failed half-way.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{fault}; {outcome}")]
pub struct BatchFailure {
    /// The first call that failed.
    pub fault: Fault,
    /// What became of the batch.
    pub outcome: Undone,
}

/// A group that left others, some of whose mappings could not be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "group {group} has left, and with it the kernel cleared the mappings of the others; making them anew failed \
     ({fault}): {} ranges are quarantined until their leases end", .quarantined.len()
)]
pub struct PartingFailure {
    /// The group that left.
    pub group: GroupNumber,
    /// The first call that failed.
    pub fault: Fault,
    /// What is not mapped any more.
    pub quarantined: Vec<Quarantined>,
}

/// What became of a batch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// Everything is as it was before the batch.
    Restored,
    /// It could not be undone everywhere. These ranges, one for a window, take no edits until their lease has ended.
    Quarantined(Vec<Quarantined>),
}

/// A range whose TCEs are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The window.
    pub window: WindowId,
    /// The range.
    pub claim: Claim,
    /// The call of the undoing that failed as well.
    pub fault: Fault,
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored => f.write_str("all that the batch had changed was put back"),
            Self::Quarantined(ranges) => ranges.iter().enumerate().try_for_each(|(at, range)| {
                let Quarantined { window, claim, fault } = range;
                let and = if at > 0 { "; " } else { "" };
                write!(
                    f,
                    "{and}putting back failed too ({fault}), so {claim} of {window} is quarantined until its lease ends"
                )
            }),
        }
    }
}
