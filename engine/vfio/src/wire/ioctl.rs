//! What an `ioctl` on one of VFIO's or KVM's descriptors asks, and how it was answered.
//!
//! Structures are read as the kernel reads them: as much as an operation needs at least, whatever `argsz` says, and
//! what came later only if `argsz` includes it. Never more than the structure.

use std::mem::offset_of;

use nix::request_code_none;
use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::{DescriptorKind, Fd},
};
use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE};

use super::low;
use crate::abi::{
    kvm, vfio_eeh_pe_op, vfio_group_status, vfio_iommu_spapr_register_memory,
    vfio_iommu_spapr_tce_create, vfio_iommu_spapr_tce_info, vfio_iommu_spapr_tce_remove,
    vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap,
};

/// The longest name of a device that is read.
const NAME_BYTES_MAX: usize = 64;

/// The memory of the program that made a call.
pub trait Memory {
    /// Copies from it; how many bytes, up to the first that cannot be read.
    fn read(&self, address: u64, bytes: &mut [u8]) -> usize;
}

/// An `ioctl` by what it means to the descriptor it was made on. What the kernel fills in is as it stands in the
/// program's memory at the time of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of linux/vfio.h and linux/kvm.h")]
pub enum Ioctl {
    /// `VFIO_GET_API_VERSION`.
    ApiVersion,
    /// `VFIO_CHECK_EXTENSION`.
    CheckExtension { extension: u32 },
    /// `VFIO_SET_IOMMU`.
    SetIommu { backend: u32 },
    /// `VFIO_GROUP_GET_STATUS`; the flags are answered.
    GroupStatus { flags: u32 },
    /// `VFIO_GROUP_SET_CONTAINER`.
    SetContainer { container: Fd },
    /// `VFIO_GROUP_UNSET_CONTAINER`.
    UnsetContainer,
    /// `VFIO_GROUP_GET_DEVICE_FD`.
    OpenDevice { address: String },
    /// `VFIO_IOMMU_SPAPR_TCE_GET_INFO`; all is answered. The three last are 0 if the program's structure ends before.
    Info {
        flags: u32,
        window_start: Iova,
        window_size: Bytes,
        page_sizes: u64,
        windows_max: u32,
        levels_max: u32,
    },
    /// `VFIO_IOMMU_SPAPR_REGISTER_MEMORY`.
    Register { flags: u32, address: HostAddr, size: Bytes },
    /// `VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY`.
    Unregister { flags: u32, address: HostAddr, size: Bytes },
    /// `VFIO_IOMMU_SPAPR_TCE_CREATE`; the start is answered.
    Create { flags: u32, page_shift: u32, size: Bytes, levels: u32, start: Iova },
    /// `VFIO_IOMMU_SPAPR_TCE_REMOVE`.
    Remove { flags: u32, start: Iova },
    /// `VFIO_IOMMU_MAP_DMA`.
    Map { flags: u32, address: HostAddr, iova: Iova, size: Bytes },
    /// `VFIO_IOMMU_UNMAP_DMA`.
    Unmap { flags: u32, iova: Iova, size: Bytes },
    /// `VFIO_IOMMU_ENABLE`.
    Enable,
    /// `VFIO_IOMMU_DISABLE`.
    Disable,
    /// `VFIO_EEH_PE_OP`.
    Eeh { operation: u32 },
    /// Any on a device; the number is counted as `linux/vfio.h` does, from `VFIO_BASE` (100).
    Device { number: u32 },
    /// `KVM_CREATE_VM`.
    CreateVm,
    /// `KVM_CREATE_DEVICE` of a link to VFIO; the descriptor is answered.
    CreateKvmVfio { link: Fd },
    /// `KVM_CREATE_SPAPR_TCE_64`.
    CreateGuestTable { liobn: u64, page_shift: u32, offset: u64, size: u64 },
    /// `KVM_DEV_VFIO_GROUP_ADD`.
    AddGroup { group: Fd },
    /// `KVM_DEV_VFIO_GROUP_DEL`.
    DeleteGroup { group: Fd },
    /// `KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE`.
    AttachGuestTable { group: Fd, table: Fd },
    /// Another one, or one whose argument cannot be read.
    Other,
}

impl Ioctl {
    /// Reads a call: its request on a descriptor of this kind, with its argument, which is often an address in the
    /// program's memory. `None` if it has nothing to do with VFIO.
    pub fn read(
        kind: &DescriptorKind,
        request: u32,
        argument: u64,
        memory: &dyn Memory,
    ) -> Option<Self> {
        let program = Program { memory, argument };
        match kind {
            DescriptorKind::Container | DescriptorKind::Group => {
                let number = vfio_number(request)?;
                Some(program.container_or_group(number).unwrap_or(Self::Other))
            }
            DescriptorKind::Device => vfio_number(request).map(|number| Self::Device { number }),
            DescriptorKind::Hypervisor => is(request, &kvm::CREATE_VM).then_some(Self::CreateVm),
            DescriptorKind::VirtualMachine if is(request, &kvm::CREATE_DEVICE) => {
                program.create_device()
            }
            DescriptorKind::VirtualMachine if is(request, &kvm::CREATE_SPAPR_TCE_64) => {
                Some(program.create_guest_table().unwrap_or(Self::Other))
            }
            DescriptorKind::KvmVfio if is(request, &kvm::SET_DEVICE_ATTR) => {
                Some(program.set_attribute().unwrap_or(Self::Other))
            }
            _ => None,
        }
    }

    /// Whether the kernel writes an answer into the program's memory.
    #[must_use]
    pub const fn is_answered_in_memory(&self) -> bool {
        matches!(
            self,
            Self::GroupStatus { .. }
                | Self::Info { .. }
                | Self::Create { .. }
                | Self::CreateKvmVfio { .. }
        )
    }
}

/// The number of a request of VFIO's, counted from `VFIO_BASE` as in `linux/vfio.h`.
fn vfio_number(request: u32) -> Option<u32> {
    let number = request & 0xff;
    let ours = request & !0xff == low(request_code_none!(VFIO_TYPE, 0));
    (ours && number >= VFIO_BASE).then_some(number)
}

fn is<A>(request: u32, call: &crate::abi::Call<A>) -> bool {
    request == low(call.request())
}

/// A program's call: its argument, and the memory that it may point into.
struct Program<'a> {
    memory: &'a dyn Memory,
    argument: u64,
}

impl Program<'_> {
    fn container_or_group(&self, number: u32) -> Option<Ioctl> {
        Some(match number.checked_sub(VFIO_BASE)? {
            0 => Ioctl::ApiVersion,
            1 => Ioctl::CheckExtension { extension: low(self.argument) },
            2 => Ioctl::SetIommu { backend: low(self.argument) },
            3 => {
                let status = self.structure::<{ size_of::<vfio_group_status>() }>()?;
                Ioctl::GroupStatus { flags: status.u32(offset_of!(vfio_group_status, flags)) }
            }
            4 => Ioctl::SetContainer { container: self.structure::<4>()?.fd(0) },
            5 => Ioctl::UnsetContainer,
            6 => Ioctl::OpenDevice { address: self.name()? },
            12 => self.info()?,
            13 => self.map()?,
            14 => self.unmap()?,
            15 => Ioctl::Enable,
            16 => Ioctl::Disable,
            17 => {
                let (flags, address, size) = self.range()?;
                Ioctl::Register { flags, address, size }
            }
            18 => {
                let (flags, address, size) = self.range()?;
                Ioctl::Unregister { flags, address, size }
            }
            19 => self.create()?,
            20 => self.remove()?,
            // The structure's end is for the injection of errors only.
            21 => Ioctl::Eeh {
                operation: self.structure::<12>()?.u32(offset_of!(vfio_eeh_pe_op, op)),
            },
            _ => return None,
        })
    }

    fn info(&self) -> Option<Ioctl> {
        type Info = vfio_iommu_spapr_tce_info;
        const FIRST_VERSION: usize = offset_of!(Info, ddw);
        let first = self.structure::<FIRST_VERSION>()?;
        let whole = usize::try_from(first.u32(0)).is_ok_and(|argsz| argsz >= size_of::<Info>());
        let mut bytes = [0; size_of::<Info>()];
        bytes[..FIRST_VERSION].copy_from_slice(&first.0);
        let info = if whole { self.structure()? } else { Structure(bytes) };
        let windows = offset_of!(Info, ddw);
        Some(Ioctl::Info {
            flags: info.u32(offset_of!(Info, flags)),
            window_start: Iova::new(info.u32(offset_of!(Info, dma32_window_start)).into()),
            window_size: Bytes::new(info.u32(offset_of!(Info, dma32_window_size)).into()),
            page_sizes: info.u64(windows),
            windows_max: info.u32(windows + 8),
            levels_max: info.u32(windows + 12),
        })
    }

    fn map(&self) -> Option<Ioctl> {
        type Map = vfio_iommu_type1_dma_map;
        let map = self.structure::<{ size_of::<Map>() }>()?;
        Some(Ioctl::Map {
            flags: map.u32(offset_of!(Map, flags)),
            address: HostAddr::new(map.u64(offset_of!(Map, vaddr))),
            iova: Iova::new(map.u64(offset_of!(Map, iova))),
            size: Bytes::new(map.u64(offset_of!(Map, size))),
        })
    }

    fn unmap(&self) -> Option<Ioctl> {
        type Unmap = vfio_iommu_type1_dma_unmap;
        let unmap = self.structure::<{ size_of::<Unmap>() }>()?;
        Some(Ioctl::Unmap {
            flags: unmap.u32(offset_of!(Unmap, flags)),
            iova: Iova::new(unmap.u64(offset_of!(Unmap, iova))),
            size: Bytes::new(unmap.u64(offset_of!(Unmap, size))),
        })
    }

    fn range(&self) -> Option<(u32, HostAddr, Bytes)> {
        type Range = vfio_iommu_spapr_register_memory;
        let range = self.structure::<{ size_of::<Range>() }>()?;
        Some((
            range.u32(offset_of!(Range, flags)),
            HostAddr::new(range.u64(offset_of!(Range, vaddr))),
            Bytes::new(range.u64(offset_of!(Range, size))),
        ))
    }

    fn create(&self) -> Option<Ioctl> {
        type Create = vfio_iommu_spapr_tce_create;
        let create = self.structure::<{ size_of::<Create>() }>()?;
        Some(Ioctl::Create {
            flags: create.u32(offset_of!(Create, flags)),
            page_shift: create.u32(offset_of!(Create, page_shift)),
            size: Bytes::new(create.u64(offset_of!(Create, window_size))),
            levels: create.u32(offset_of!(Create, levels)),
            start: Iova::new(create.u64(offset_of!(Create, start_addr))),
        })
    }

    fn remove(&self) -> Option<Ioctl> {
        type Remove = vfio_iommu_spapr_tce_remove;
        let remove = self.structure::<{ size_of::<Remove>() }>()?;
        Some(Ioctl::Remove {
            flags: remove.u32(offset_of!(Remove, flags)),
            start: Iova::new(remove.u64(offset_of!(Remove, start_addr))),
        })
    }

    fn create_device(&self) -> Option<Ioctl> {
        let device = self.structure::<{ size_of::<kvm::CreateDevice>() }>()?;
        let is_link = device.u32(offset_of!(kvm::CreateDevice, kind)) == kvm::DEV_TYPE_VFIO;
        let link = device.fd(offset_of!(kvm::CreateDevice, fd));
        is_link.then_some(Ioctl::CreateKvmVfio { link })
    }

    fn create_guest_table(&self) -> Option<Ioctl> {
        type Table = kvm::CreateSpaprTce;
        let table = self.structure::<{ size_of::<Table>() }>()?;
        Some(Ioctl::CreateGuestTable {
            liobn: table.u64(offset_of!(Table, liobn)),
            page_shift: table.u32(offset_of!(Table, page_shift)),
            offset: table.u64(offset_of!(Table, offset)),
            size: table.u64(offset_of!(Table, size)),
        })
    }

    fn set_attribute(&self) -> Option<Ioctl> {
        type Attribute = kvm::DeviceAttribute;
        let attribute = self.structure::<{ size_of::<Attribute>() }>()?;
        if attribute.u32(offset_of!(Attribute, group)) != kvm::DEV_VFIO_GROUP {
            return None;
        }
        let value = Self { argument: attribute.u64(offset_of!(Attribute, address)), ..*self };
        match attribute.u64(offset_of!(Attribute, attribute)) {
            kvm::attribute::ADD => Some(Ioctl::AddGroup { group: value.structure::<4>()?.fd(0) }),
            kvm::attribute::DEL => {
                Some(Ioctl::DeleteGroup { group: value.structure::<4>()?.fd(0) })
            }
            kvm::attribute::SET_SPAPR_TCE => {
                type Pair = kvm::GroupAndTable;
                let pair = value.structure::<{ size_of::<Pair>() }>()?;
                let (group, table) = (offset_of!(Pair, group), offset_of!(Pair, table));
                Some(Ioctl::AttachGuestTable { group: pair.fd(group), table: pair.fd(table) })
            }
            _ => None,
        }
    }

    /// The first bytes behind the argument, all of them or none.
    fn structure<const N: usize>(&self) -> Option<Structure<N>> {
        let mut bytes = [0; N];
        (self.memory.read(self.argument, &mut bytes) == N).then_some(Structure(bytes))
    }

    /// The text behind the argument, up to its terminating zero.
    fn name(&self) -> Option<String> {
        let mut bytes = [0; NAME_BYTES_MAX];
        let read = self.memory.read(self.argument, &mut bytes);
        let text = bytes.get(..read)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
    }
}

/// The bytes of a structure, or of its start. Offsets are of its own fields, so a read outside is a mistake in this
/// file, and gives 0.
struct Structure<const N: usize>([u8; N]);

impl<const N: usize> Structure<N> {
    fn bytes<const M: usize>(&self, at: usize) -> [u8; M] {
        let end = at.saturating_add(M);
        self.0.get(at..end).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; M])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }

    fn fd(&self, at: usize) -> Fd {
        Fd::new(i32::from_ne_bytes(self.bytes(at)))
    }
}

#[cfg(test)]
mod tests;
