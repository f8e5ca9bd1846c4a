//! File descriptors of the process, numbered as POSIX numbers them: the lowest that is free.

use std::collections::BTreeMap;

use tce_engine::{
    errno::Errno,
    kernel::{DescriptorKind, Fd},
};

use crate::{
    container::ContainerId,
    event::EventId,
    group::GroupId,
    kvm::{GuestTableId, VmId},
};

/// `RLIMIT_NOFILE`.
const DESCRIPTORS_MAX: i32 = 1024;
/// Standard input, output and error are taken.
const FIRST_FREE: i32 = 3;

/// What a descriptor is open on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum File {
    /// `/dev/vfio/vfio`.
    Container(ContainerId),
    /// `/dev/vfio/N`.
    Group(GroupId),
    /// A device of a group.
    Device(DeviceFile),
    /// An eventfd.
    Event(EventId),
    /// A virtual machine.
    VirtualMachine(VmId),
    /// Its link to VFIO.
    KvmVfio(VmId),
    /// A guest's TCE table.
    GuestTable(GuestTableId),
    /// Something that is not VFIO's.
    Other(String),
}

/// An open file on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceFile {
    /// The group that was asked for it.
    pub(crate) group: GroupId,
    /// Which of its devices.
    pub(crate) device: usize,
    /// Which of the files on it.
    pub(crate) number: u32,
}

impl File {
    pub(crate) fn kind(&self) -> DescriptorKind {
        match self {
            Self::Container(_) => DescriptorKind::Container,
            Self::Group(_) => DescriptorKind::Group,
            Self::Device(_) => DescriptorKind::Device,
            Self::Event(_) => DescriptorKind::Event,
            Self::VirtualMachine(_) => DescriptorKind::VirtualMachine,
            Self::KvmVfio(_) => DescriptorKind::KvmVfio,
            Self::GuestTable(_) => DescriptorKind::GuestTable,
            Self::Other(name) => DescriptorKind::Other(name.clone()),
        }
    }
}

/// The table of open descriptors.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    files: BTreeMap<i32, File>,
}

impl Descriptors {
    /// Whether there is room for one more (`get_unused_fd_flags`).
    pub(crate) fn has_room(&self) -> Result<(), Errno> {
        if self.lowest_free() >= DESCRIPTORS_MAX { Err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Opens the lowest free one.
    pub(crate) fn open(&mut self, file: File) -> Result<Fd, Errno> {
        self.has_room()?;
        let number = self.lowest_free();
        self.files.insert(number, file);
        Ok(Fd::new(number))
    }

    /// What a descriptor is open on.
    pub(crate) fn file(&self, fd: Fd) -> Result<&File, Errno> {
        self.files.get(&fd.raw()).ok_or(Errno::EBADF)
    }

    /// Closes one.
    pub(crate) fn close(&mut self, fd: Fd) -> Result<File, Errno> {
        self.files.remove(&fd.raw()).ok_or(Errno::EBADF)
    }

    /// The open ones, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fd, &File)> {
        self.files.iter().map(|(number, file)| (Fd::new(*number), file))
    }

    fn lowest_free(&self) -> i32 {
        let mut free = FIRST_FREE;
        for number in self.files.keys() {
            if *number != free {
                break;
            }
            free += 1;
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other() -> File {
        File::Other("/dev/null".to_owned())
    }

    #[test]
    fn the_lowest_free_number_is_given() {
        let mut table = Descriptors::default();
        let numbers: Vec<_> = (0..3).map(|_| table.open(other()).expect("room")).collect();
        assert_eq!(numbers, [Fd::new(3), Fd::new(4), Fd::new(5)]);
        table.close(Fd::new(4)).expect("it is open");
        assert_eq!(table.open(other()), Ok(Fd::new(4)));
        assert_eq!(table.close(Fd::new(9)), Err(Errno::EBADF));
        assert_eq!(table.file(Fd::new(-1)), Err(Errno::EBADF));
    }

    #[test]
    fn the_limit_on_descriptors_holds() {
        let mut table = Descriptors::default();
        let opened = std::iter::repeat_with(|| table.open(other())).take_while(Result::is_ok);
        assert_eq!(opened.count(), 1021);
        assert_eq!(table.open(other()), Err(Errno::EMFILE));
    }
}
