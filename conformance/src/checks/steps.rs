//! Short forms of the steps that checks are made of.

use crate::step::{Backing, File, Place, Step};

/// Containers, groups and devices.
pub(super) const C0: File = File::Container(0);
pub(super) const C1: File = File::Container(1);
pub(super) const G0: File = File::Group(0);
pub(super) const G1: File = File::Group(1);
pub(super) const D0: File = File::Device(0);
pub(super) const D1: File = File::Device(1);
pub(super) const T0: File = File::Table(0);

/// A device may read, and write.
pub(super) const READ: u32 = 1;
pub(super) const WRITE: u32 = 2;
pub(super) const READ_WRITE: u32 = 3;

pub(super) const fn allocate(backing: Backing, size: u64) -> Step {
    Step::Allocate { backing, size }
}

/// Opens a container, a group or a device.
pub(super) const fn open(file: File) -> Step {
    match file {
        File::Container(container) => Step::OpenContainer { container },
        File::Group(group) => Step::OpenGroup { group },
        File::Device(device) => Step::OpenDevice { device },
        File::Vm => Step::CreateVm,
        File::Link => Step::CreateLink,
        File::Table(_) | File::Nothing => Step::Close { file: File::Nothing },
    }
}

pub(super) const fn close(file: File) -> Step {
    Step::Close { file }
}

pub(super) const fn join(group: File, container: File) -> Step {
    Step::SetContainer { file: group, container }
}

pub(super) const fn leave(group: File) -> Step {
    Step::UnsetContainer { file: group }
}

/// A place in the first block.
pub(super) const fn at(offset: u64) -> Place {
    in_block(0, offset)
}

pub(super) const fn in_block(block: u8, offset: u64) -> Place {
    Place { block: Some(block), offset }
}

pub(super) const fn register(file: File, memory: Place, size: u64) -> Step {
    Step::Register { file, memory, size }
}

pub(super) const fn unregister(file: File, memory: Place, size: u64) -> Step {
    Step::Unregister { file, memory, size }
}

pub(super) const fn create(file: File, page_shift: u32, size: u64, levels: u32) -> Step {
    Step::Create { file, page_shift, size, levels }
}

pub(super) const fn remove(file: File, start: u64) -> Step {
    Step::Remove { file, start }
}

pub(super) const fn map(file: File, memory: Place, iova: u64, size: u64) -> Step {
    map_with(file, READ_WRITE, memory, iova, size)
}

pub(super) const fn map_with(file: File, flags: u32, memory: Place, iova: u64, size: u64) -> Step {
    Step::Map { file, flags, memory, iova, size }
}

pub(super) const fn unmap(file: File, iova: u64, size: u64) -> Step {
    Step::Unmap { file, iova, size }
}

pub(super) fn elsewhere(step: Step) -> Step {
    Step::Elsewhere { step: Box::new(step) }
}
