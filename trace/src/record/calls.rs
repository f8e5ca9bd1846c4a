//! From an `ioctl` on a descriptor to the trace's words.

use tce_engine::kernel::Fd;
use tce_vfio::wire::Ioctl;

use crate::event::{Call, DeviceOperation};

/// The call that a program made on a descriptor.
pub(super) fn call(fd: Fd, request: u32, ioctl: Ioctl) -> Call {
    match ioctl {
        Ioctl::ApiVersion => Call::ApiVersion { container: fd },
        Ioctl::CheckExtension { extension } => Call::CheckExtension { container: fd, extension },
        Ioctl::SetIommu { backend } => Call::SetIommu { container: fd, backend },
        Ioctl::GroupStatus { flags } => Call::GroupStatus { group: fd, flags },
        Ioctl::SetContainer { container } => Call::SetContainer { group: fd, container },
        Ioctl::UnsetContainer => Call::UnsetContainer { group: fd },
        Ioctl::OpenDevice { address } => Call::OpenDevice { group: fd, address },
        Ioctl::Info { flags, window_start, window_size, page_sizes, windows_max, levels_max } => {
            Call::Info {
                container: fd,
                flags,
                window_start,
                window_size,
                page_sizes,
                windows_max,
                levels_max,
            }
        }
        Ioctl::Register { flags, address, size } => {
            Call::Register { container: fd, flags, address, size }
        }
        Ioctl::Unregister { flags, address, size } => {
            Call::Unregister { container: fd, flags, address, size }
        }
        Ioctl::Create { flags, page_shift, size, levels, start } => {
            Call::Create { container: fd, flags, page_shift, size, levels, start }
        }
        Ioctl::Remove { flags, start } => Call::Remove { container: fd, flags, start },
        Ioctl::Map { flags, address, iova, size } => {
            Call::Map { container: fd, flags, address, iova, size }
        }
        Ioctl::Unmap { flags, iova, size } => Call::Unmap { container: fd, flags, iova, size },
        Ioctl::Enable => Call::Enable { container: fd },
        Ioctl::Disable => Call::Disable { container: fd },
        Ioctl::Eeh { operation } => Call::Eeh { container: fd, operation },
        Ioctl::Device { number } => {
            Call::Device { device: fd, operation: DeviceOperation::from_number(number) }
        }
        Ioctl::CreateVm => Call::CreateVm,
        Ioctl::CreateKvmVfio { link: _ } => Call::CreateKvmVfio { vm: fd },
        Ioctl::CreateGuestTable { liobn, page_shift, offset, size } => {
            Call::CreateGuestTable { vm: fd, liobn, page_shift, offset, size }
        }
        Ioctl::AddGroup { group } => Call::AddGroup { link: fd, group },
        Ioctl::DeleteGroup { group } => Call::DeleteGroup { link: fd, group },
        Ioctl::AttachGuestTable { group, table } => {
            Call::AttachGuestTable { link: fd, group, table }
        }
        Ioctl::Other => Call::Other { fd, request: request.into() },
    }
}
