//! Steps: raw operations on files and memory that have short names, so that the same step can be taken on any machine.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};
use tce_engine::{
    addr::PageShift,
    kernel::{EehOperation, InterruptKind},
    machine,
};

use crate::notation::hex;

/// A descriptor by its place: containers, groups, devices and tables are numbered. A group's number is its place among
/// the groups of the machine that have a device for us, and so is a device's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, SerializeDisplay, DeserializeFromStr,
)]
pub enum File {
    /// `c0`: a container.
    Container(u8),
    /// `g0`: a group.
    Group(u8),
    /// `d0`: the device of the group of the same number.
    Device(u8),
    /// `vm`: a virtual machine.
    Vm,
    /// `link`: its link to VFIO.
    Link,
    /// `t0`: a guest's table.
    Table(u8),
    /// `none`: no open descriptor.
    Nothing,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(number) => write!(f, "c{number}"),
            Self::Group(number) => write!(f, "g{number}"),
            Self::Device(number) => write!(f, "d{number}"),
            Self::Vm => f.write_str("vm"),
            Self::Link => f.write_str("link"),
            Self::Table(number) => write!(f, "t{number}"),
            Self::Nothing => f.write_str("none"),
        }
    }
}

/// A name in a file that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {what}")]
pub struct UnknownName {
    name: String,
    what: &'static str,
}

impl FromStr for File {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName {
            name: name.to_owned(),
            what: "descriptor, such as c0, g1, d0, t2, vm, link or none",
        };
        let numbered = |letter| name.strip_prefix(letter).and_then(|number| number.parse().ok());
        match name {
            "vm" => Ok(Self::Vm),
            "link" => Ok(Self::Link),
            "none" => Ok(Self::Nothing),
            _ => numbered('c')
                .map(Self::Container)
                .or_else(|| numbered('g').map(Self::Group))
                .or_else(|| numbered('d').map(Self::Device))
                .or_else(|| numbered('t').map(Self::Table))
                .ok_or_else(unknown),
        }
    }
}

/// A place in memory: `m2+0x1000` is in the third block that was allocated, `nowhere+0x0` is where nothing is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
pub struct Place {
    /// The block; `None` is where nothing is mapped.
    pub block: Option<u8>,
    /// Bytes from its start. May lead outside.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => write!(f, "m{block}+{:#x}", self.offset),
            None => write!(f, "nowhere+{:#x}", self.offset),
        }
    }
}

impl FromStr for Place {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let parse = || {
            let (block, offset) = name.split_once("+0x")?;
            let offset = u64::from_str_radix(offset, 16).ok()?;
            let block = match block {
                "nowhere" => None,
                numbered => Some(numbered.strip_prefix('m')?.parse().ok()?),
            };
            Some(Self { block, offset })
        };
        parse().ok_or_else(|| UnknownName {
            name: name.to_owned(),
            what: "place in memory, such as m0+0x1000 or nowhere+0x0",
        })
    }
}

/// What backs a block of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// Anonymous memory in system pages.
    Anonymous,
    /// A memory file in system pages.
    Memfd,
    /// Huge pages of 2 MiB.
    Huge2M,
    /// Huge pages of 1 GiB.
    Huge1G,
}

impl From<Backing> for machine::Backing {
    fn from(backing: Backing) -> Self {
        match backing {
            Backing::Anonymous => Self::Anonymous,
            Backing::Memfd => Self::Memfd,
            Backing::Huge2M => Self::Hugetlb(PageShift::M2),
            Backing::Huge1G => Self::Hugetlb(PageShift::G1),
        }
    }
}

/// The names of [`EehOperation`]'s variants in files.
#[derive(Serialize, Deserialize)]
#[serde(remote = "EehOperation", rename_all = "kebab-case")]
enum EehName {
    Disable,
    Enable,
    UnfreezeIo,
    UnfreezeDma,
    GetState,
    ResetDeactivate,
    ResetHot,
    ResetFundamental,
    Configure,
}

/// The names of [`InterruptKind`]'s variants in files.
#[derive(Serialize, Deserialize)]
#[serde(remote = "InterruptKind", rename_all = "kebab-case")]
enum InterruptName {
    Intx,
    Msi,
    Msix,
}

/// One step. Arguments are what the kernel gets, sensible or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the arguments are those of tce_engine::kernel's operations")]
pub enum Step {
    /// Memory, each 4 KiB of its first 4 MiB marked. Blocks are numbered in the order of their steps.
    Allocate {
        backing: Backing,
        #[serde(with = "hex")]
        size: u64,
    },
    OpenContainer {
        container: u8,
    },
    OpenGroup {
        group: u8,
    },
    OpenDevice {
        device: u8,
    },
    Close {
        file: File,
    },
    CheckExtension {
        file: File,
        extension: u32,
    },
    SetIommu {
        file: File,
        backend: u32,
    },
    GroupStatus {
        file: File,
    },
    SetContainer {
        file: File,
        container: File,
    },
    UnsetContainer {
        file: File,
    },
    Info {
        file: File,
    },
    Register {
        file: File,
        memory: Place,
        #[serde(with = "hex")]
        size: u64,
    },
    Unregister {
        file: File,
        memory: Place,
        #[serde(with = "hex")]
        size: u64,
    },
    Create {
        file: File,
        page_shift: u32,
        #[serde(with = "hex")]
        size: u64,
        levels: u32,
    },
    Remove {
        file: File,
        #[serde(with = "hex")]
        start: u64,
    },
    Map {
        file: File,
        flags: u32,
        memory: Place,
        #[serde(with = "hex")]
        iova: u64,
        #[serde(with = "hex")]
        size: u64,
    },
    Unmap {
        file: File,
        #[serde(with = "hex")]
        iova: u64,
        #[serde(with = "hex")]
        size: u64,
    },
    Eeh {
        file: File,
        #[serde(with = "EehName")]
        operation: EehOperation,
    },
    ResetDevice {
        device: u8,
    },
    EnableInterrupts {
        device: u8,
        #[serde(with = "InterruptName")]
        kind: InterruptKind,
    },
    DisableInterrupts {
        device: u8,
        #[serde(with = "InterruptName")]
        kind: InterruptKind,
    },
    CreateVm,
    CreateLink,
    CreateTable {
        table: u8,
        #[serde(with = "hex")]
        liobn: u64,
        page_shift: u32,
        #[serde(with = "hex")]
        offset: u64,
        #[serde(with = "hex")]
        size: u64,
    },
    AddGroup {
        group: File,
    },
    DeleteGroup {
        group: File,
    },
    AttachTable {
        group: File,
        table: File,
    },
    /// The device reads `bytes` bytes at `from`, then writes them to `to`; then the processor looks at as many bytes at
    /// `watch`, and puts the marks back.
    Transfer {
        device: u8,
        #[serde(with = "hex")]
        from: u64,
        #[serde(with = "hex")]
        to: u64,
        bytes: u16,
        watch: Place,
    },
    /// The step, taken by another process that has inherited the descriptors.
    Elsewhere {
        step: Box<Step>,
    },
}

impl fmt::Display for Step {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocate { backing, size } => write!(f, "allocate {backing:?} {size:#x}"),
            Self::OpenContainer { container } => write!(f, "open {}", File::Container(*container)),
            Self::OpenGroup { group } => write!(f, "open {}", File::Group(*group)),
            Self::OpenDevice { device } => write!(f, "open {}", File::Device(*device)),
            Self::Close { file } => write!(f, "close {file}"),
            Self::CheckExtension { file, extension } => {
                write!(f, "CHECK_EXTENSION {file} {extension}")
            }
            Self::SetIommu { file, backend } => write!(f, "SET_IOMMU {file} {backend}"),
            Self::GroupStatus { file } => write!(f, "GROUP_GET_STATUS {file}"),
            Self::SetContainer { file, container } => {
                write!(f, "GROUP_SET_CONTAINER {file} {container}")
            }
            Self::UnsetContainer { file } => write!(f, "GROUP_UNSET_CONTAINER {file}"),
            Self::Info { file } => write!(f, "TCE_GET_INFO {file}"),
            Self::Register { file, memory, size } => {
                write!(f, "REGISTER_MEMORY {file} {memory} size {size:#x}")
            }
            Self::Unregister { file, memory, size } => {
                write!(f, "UNREGISTER_MEMORY {file} {memory} size {size:#x}")
            }
            Self::Create { file, page_shift, size, levels } => {
                write!(f, "TCE_CREATE {file} shift {page_shift} size {size:#x} levels {levels}")
            }
            Self::Remove { file, start } => write!(f, "TCE_REMOVE {file} {start:#x}"),
            Self::Map { file, flags, memory, iova, size } => {
                write!(f, "MAP_DMA {file} flags {flags} {memory} at {iova:#x} size {size:#x}")
            }
            Self::Unmap { file, iova, size } => {
                write!(f, "UNMAP_DMA {file} {iova:#x} size {size:#x}")
            }
            Self::Eeh { file, operation } => write!(f, "EEH_PE_OP {file} {operation:?}"),
            Self::ResetDevice { device } => write!(f, "DEVICE_RESET {}", File::Device(*device)),
            Self::EnableInterrupts { device, kind } => {
                write!(f, "DEVICE_SET_IRQS {} {kind:?} on", File::Device(*device))
            }
            Self::DisableInterrupts { device, kind } => {
                write!(f, "DEVICE_SET_IRQS {} {kind:?} off", File::Device(*device))
            }
            Self::CreateVm => f.write_str("KVM_CREATE_VM"),
            Self::CreateLink => f.write_str("KVM_CREATE_DEVICE"),
            Self::CreateTable { table, liobn, page_shift, offset, size } => write!(
                f,
                "KVM_CREATE_SPAPR_TCE_64 {} liobn {liobn:#x} shift {page_shift} offset {offset:#x} size {size:#x}",
                File::Table(*table)
            ),
            Self::AddGroup { group } => write!(f, "KVM_DEV_VFIO_GROUP_ADD {group}"),
            Self::DeleteGroup { group } => write!(f, "KVM_DEV_VFIO_GROUP_DEL {group}"),
            Self::AttachTable { group, table } => {
                write!(f, "KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE {group} {table}")
            }
            Self::Transfer { device, from, to, bytes, watch } => write!(
                f,
                "DMA {} {bytes} bytes from {from:#x} to {to:#x}, seen at {watch}",
                File::Device(*device)
            ),
            Self::Elsewhere { step } => write!(f, "in another process: {step}"),
        }
    }
}
