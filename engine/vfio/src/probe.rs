//! What only a container with a group in it can tell: dynamic windows, page sizes, levels.
//!
//! A probe takes the group from the host (`iommu_group_claim_dma_owner`) and gives it back. It
//! creates no window, registers no memory, and closes whatever it opened, wherever it fails.

use std::fmt;

use tce_engine::{
    errno::Errno,
    kernel::{ContainerFd, Extension, GroupFd, GroupNumber, Kernel, Raw, SpaprInfo},
};

/// A step of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opening `/dev/vfio/vfio`.
    OpenContainer,
    /// Opening `/dev/vfio/N`.
    OpenGroup,
    /// Asking for the group's status.
    Status,
    /// Putting the group into the container.
    SetContainer,
    /// Making the backend.
    SetIommu,
    /// Asking for the facts.
    Info,
    /// Taking the group out again.
    UnsetContainer,
    /// Closing what was opened.
    Close,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenContainer => "opening /dev/vfio/vfio",
            Self::OpenGroup => "opening the group's node",
            Self::Status => "VFIO_GROUP_GET_STATUS",
            Self::SetContainer => "VFIO_GROUP_SET_CONTAINER",
            Self::SetIommu => "VFIO_SET_IOMMU",
            Self::Info => "VFIO_IOMMU_SPAPR_TCE_GET_INFO",
            Self::UnsetContainer => "VFIO_GROUP_UNSET_CONTAINER",
            Self::Close => "closing the descriptors",
        })
    }
}

/// Why a probe had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A device of the group has a driver of the host.
    #[error("the group is not viable: bind every device of it to vfio-pci, or to no driver")]
    NotViable,
    /// The group's node is not there.
    #[error("the group has no node in /dev/vfio: bind a device of it to vfio-pci")]
    NoNode,
    /// Somebody else has it.
    #[error("the group is in use: end the program that has opened it")]
    InUse,
    /// This user may not open the group's node.
    #[error("this user may not open the group's node: run as root, or give the user access to it")]
    NoPermission,
    /// Another step failed.
    #[error("{step} failed: {errno}; the kernel's log may say why")]
    Failed {
        /// Which one.
        step: Step,
        /// What the kernel said.
        errno: Errno,
    },
    /// A call returned a number that is neither success nor an error.
    #[error("{step} returned {value}, which means nothing; report this with the kernel's version")]
    Odd {
        /// Which one.
        step: Step,
        /// What it returned.
        value: i32,
    },
}

/// Asks for a group's facts: flags, page sizes, windows and levels.
///
/// # Errors
/// [`ProbeError`]; the first that came. The group is out of the container again all the same.
pub fn probe(kernel: &mut impl Kernel, group: GroupNumber) -> Result<SpaprInfo, ProbeError> {
    let container = kernel.open_container().map_err(failed(Step::OpenContainer))?;
    let info = probe_in(kernel, container, group);
    let closed = kernel.close(container.fd()).map_err(failed(Step::Close));
    info.and_then(|info| closed.map(|()| info))
}

fn probe_in(
    kernel: &mut impl Kernel,
    container: ContainerFd,
    number: GroupNumber,
) -> Result<SpaprInfo, ProbeError> {
    let group = kernel.open_group(number).map_err(|errno| match errno {
        Errno::ENOENT => ProbeError::NoNode,
        Errno::EBUSY => ProbeError::InUse,
        Errno::EACCES | Errno::EPERM => ProbeError::NoPermission,
        errno => ProbeError::Failed { step: Step::OpenGroup, errno },
    })?;
    let info = probe_with(kernel, container, group);
    let closed = kernel.close(group.fd()).map_err(failed(Step::Close));
    info.and_then(|info| closed.map(|()| info))
}

fn probe_with(
    kernel: &mut impl Kernel,
    container: ContainerFd,
    group: GroupFd,
) -> Result<SpaprInfo, ProbeError> {
    let status = kernel.group_status(group);
    done(Step::Status, status.raw)?;
    if !status.out.viable {
        return Err(ProbeError::NotViable);
    }
    done(Step::SetContainer, kernel.set_container(group, container))?;
    let info = facts(kernel, container);
    let unset = done(Step::UnsetContainer, kernel.unset_container(group));
    info.and_then(|info| unset.map(|()| info))
}

fn facts(kernel: &mut impl Kernel, container: ContainerFd) -> Result<SpaprInfo, ProbeError> {
    done(Step::SetIommu, kernel.set_iommu(container, Extension::SpaprTceV2))?;
    let info = kernel.info(container);
    done(Step::Info, info.raw)?;
    Ok(info.out)
}

fn failed(step: Step) -> impl Fn(Errno) -> ProbeError {
    move |errno| ProbeError::Failed { step, errno }
}

const fn done(step: Step, raw: Raw) -> Result<(), ProbeError> {
    match raw {
        Raw::Returned(0) => Ok(()),
        Raw::Returned(value) => Err(ProbeError::Odd { step, value }),
        Raw::Failed(errno) => Err(ProbeError::Failed { step, errno }),
    }
}

#[cfg(test)]
mod tests {
    use tce_engine::machine::Machine;

    use super::*;
    use crate::testing::Tree;

    fn probed(tree: &Tree) -> (Result<SpaprInfo, ProbeError>, usize) {
        let machine = tree.machine();
        let info = probe(&mut machine.kernel(), GroupNumber(1));
        (info, machine.open_descriptors())
    }

    #[test]
    fn a_probe_without_vfio_fails_at_the_container() {
        let step = Step::OpenContainer;
        let expected = Err(ProbeError::Failed { step, errno: Errno::ENOENT });
        assert_eq!(probed(&Tree::new()), (expected, 0));
    }

    #[test]
    fn a_probe_that_fails_leaves_nothing_open() {
        let tree = Tree::new();
        tree.file("dev/vfio/vfio", "");
        assert_eq!(probed(&tree), (Err(ProbeError::NoNode), 0));
        tree.file("dev/vfio/1", "");
        let step = Step::Status;
        let expected = Err(ProbeError::Failed { step, errno: Errno::ENOTTY });
        assert_eq!(probed(&tree), (expected, 0));
    }

    #[test]
    fn a_positive_answer_is_no_success() {
        let step = Step::SetIommu;
        assert_eq!(done(step, Raw::Returned(1)), Err(ProbeError::Odd { step, value: 1 }));
    }
}
