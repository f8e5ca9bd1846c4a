//! The descriptors this process holds, and what each of them is.
//!
//! A descriptor lives in the table until it is closed. A call in another thread keeps the file it
//! works on open, so a number is never reused under a running call.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::stat::{major, minor},
};
use tce_engine::{
    errno::Errno,
    kernel::{DescriptorKind, Fd},
};

use crate::{device::Regions, guest::Guest};

/// Major and minor number of `/dev/vfio/vfio` (`MISC_MAJOR`, `VFIO_MINOR`).
const CONTAINER_DEVICE: (u64, u64) = (10, 196);

/// Major and minor number of `/dev/kvm` (`KVM_MINOR`).
const HYPERVISOR_DEVICE: (u64, u64) = (10, 232);

/// How the name of a virtual machine's processor begins (`create_vcpu_fd`). Only the kernel makes such names.
const PROCESSOR: &str = "anon_inode:kvm-vcpu:";

/// What a descriptor of ours is, as far as `ioctl` is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A VFIO container.
    Container,
    /// A VFIO group.
    Group,
    /// A VFIO device.
    Device,
    /// `/dev/kvm`.
    Hypervisor,
    /// A virtual machine of KVM's.
    VirtualMachine,
    /// A virtual machine's processor.
    VirtualProcessor,
    /// A virtual machine's link to VFIO.
    KvmVfio,
    /// A guest's TCE table.
    GuestTable,
    /// None of these: no `ioctl` of this crate is for it.
    Foreign,
}

impl From<&DescriptorKind> for Sort {
    fn from(kind: &DescriptorKind) -> Self {
        match kind {
            DescriptorKind::Container => Self::Container,
            DescriptorKind::Group => Self::Group,
            DescriptorKind::Device => Self::Device,
            DescriptorKind::VirtualMachine => Self::VirtualMachine,
            DescriptorKind::KvmVfio => Self::KvmVfio,
            DescriptorKind::Hypervisor => Self::Hypervisor,
            DescriptorKind::GuestTable => Self::GuestTable,
            DescriptorKind::Other(name) if name.starts_with(PROCESSOR) => Self::VirtualProcessor,
            DescriptorKind::Event | DescriptorKind::Other(_) | DescriptorKind::Closed => {
                Self::Foreign
            }
        }
    }
}

/// An open descriptor.
#[derive(Debug)]
pub(crate) struct Descriptor {
    file: File,
    sort: Sort,
    regions: Regions,
    guest: Guest,
    guest_tces: Option<u64>,
}

impl Descriptor {
    /// The file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// What it is.
    pub(crate) const fn sort(&self) -> Sort {
        self.sort
    }

    /// A device's regions, as far as they were asked for.
    pub(crate) const fn regions(&self) -> &Regions {
        &self.regions
    }

    /// A virtual machine's guest.
    pub(crate) const fn guest(&self) -> &Guest {
        &self.guest
    }

    /// How many TCEs a guest's table has, if it was made here.
    pub(crate) const fn guest_tces(&self) -> Option<u64> {
        self.guest_tces
    }

    /// The same as a guest's table of so many TCEs.
    pub(crate) fn with_guest_tces(self, tces: u64) -> Self {
        Self { guest_tces: Some(tces), ..self }
    }
}

/// Opens a node for reading and writing, close-on-exec as all of ours, and finds out what it is.
pub(crate) fn open(path: &Path) -> Result<Descriptor, Errno> {
    let file = File::options().read(true).write(true).open(path).map_err(errno_of)?;
    Ok(Descriptor::from(OwnedFd::from(file)))
}

impl From<OwnedFd> for Descriptor {
    /// Finds out what it is.
    fn from(fd: OwnedFd) -> Self {
        let sort = Sort::from(&kind_of(Fd::new(fd.as_raw_fd())));
        Self {
            file: fd.into(),
            sort,
            regions: Regions::default(),
            guest: Guest::default(),
            guest_tces: None,
        }
    }
}

/// The descriptors of a process. All views on its kernel share one table.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    open: Mutex<BTreeMap<Fd, Arc<Descriptor>>>,
}

impl Descriptors {
    /// Takes a descriptor in, under its own number.
    pub(crate) fn insert(&self, descriptor: Descriptor) -> Fd {
        let fd = Fd::new(descriptor.file.as_raw_fd());
        self.table().insert(fd, Arc::new(descriptor));
        fd
    }

    /// Takes in a descriptor from elsewhere. It becomes close-on-exec.
    pub(crate) fn adopt(&self, fd: OwnedFd) -> Fd {
        // Cannot fail on an open descriptor.
        let _ = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        self.insert(fd.into())
    }

    /// The descriptor with this number; `EBADF` unless it is ours.
    pub(crate) fn get(&self, fd: Fd) -> Result<Arc<Descriptor>, Errno> {
        self.table().get(&fd).cloned().ok_or(Errno::EBADF)
    }

    /// Closes a descriptor; `EBADF` unless it is ours. While another thread is in a call on it, the
    /// file stays open until that call returns.
    pub(crate) fn close(&self, fd: Fd) -> Result<(), Errno> {
        let descriptor = self.table().remove(&fd).ok_or(Errno::EBADF)?;
        match Arc::into_inner(descriptor) {
            Some(last) => nix::unistd::close(OwnedFd::from(last.file)).map_err(from_nix),
            None => Ok(()),
        }
    }

    /// How many are open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.table().len()
    }

    /// The table. It is whole even after a panic elsewhere: each change of it is a single step.
    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<Fd, Arc<Descriptor>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a descriptor number of this process stands for, whether it is ours or not.
pub(crate) fn kind_of(fd: Fd) -> DescriptorKind {
    kind_in("self", fd)
}

/// What a descriptor number of a process, as `/proc` names it, stands for.
pub(crate) fn kind_in(process: &str, fd: Fd) -> DescriptorKind {
    let path = format!("/proc/{process}/fd/{}", fd.raw());
    let Ok(link) = fs::read_link(&path) else { return DescriptorKind::Closed };
    let link = link.to_string_lossy();
    match device_of(Path::new(&path)) {
        Some(device) => {
            let devices = fs::read_to_string("/proc/devices").unwrap_or_default();
            classify_device(&link, device, &devices)
        }
        None => classify_anonymous(&link),
    }
}

/// Major and minor number of a character device; `None` for any other file.
pub(crate) fn device_of(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok().filter(|file| file.file_type().is_char_device())?;
    Some((major(file.rdev()), minor(file.rdev())))
}

/// The kind of a character device, from its number and `/proc/devices`. Its name proves nothing: a
/// file of that name can be made anywhere, and a descriptor passed by another process may have any
/// name here.
fn classify_device(link: &str, device: (u64, u64), devices: &str) -> DescriptorKind {
    if device == CONTAINER_DEVICE {
        DescriptorKind::Container
    } else if device == HYPERVISOR_DEVICE {
        DescriptorKind::Hypervisor
    } else if group_major(devices) == Some(device.0) {
        DescriptorKind::Group
    } else {
        DescriptorKind::Other(link.to_owned())
    }
}

/// The kind of what has no node. Only the kernel makes such names: a path starts with a slash.
fn classify_anonymous(link: &str) -> DescriptorKind {
    match link {
        "anon_inode:[vfio-device]" => DescriptorKind::Device,
        "anon_inode:[eventfd]" => DescriptorKind::Event,
        "anon_inode:kvm-vm" => DescriptorKind::VirtualMachine,
        "anon_inode:kvm-vfio" => DescriptorKind::KvmVfio,
        "anon_inode:kvm-spapr-tce" => DescriptorKind::GuestTable,
        other => DescriptorKind::Other(other.to_owned()),
    }
}

/// The major number that groups were given (`vfio_group_init`).
fn group_major(devices: &str) -> Option<u64> {
    let characters = devices.split("Block devices:").next()?;
    let entries = characters.lines().filter_map(|line| line.trim().split_once(' '));
    entries.filter(|(_, name)| *name == "vfio").find_map(|(major, _)| major.parse().ok())
}

/// The errno of a failed operation of the standard library.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno)
}

/// The errno of a failed operation of nix.
#[expect(
    clippy::as_conversions,
    reason = "the discriminant is the errno, and there is no other way to it"
)]
pub(crate) const fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno(errno as i32)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pipe() -> OwnedFd {
        OwnedFd::from(io::pipe().unwrap().0)
    }

    #[test]
    fn character_devices_are_told_apart_by_their_numbers() {
        let devices =
            "Character devices:\n 10 misc\n246 vfio\n247 vfio-dev\n\nBlock devices:\n  8 sd\n";
        let kind = |link, device| classify_device(link, device, devices);
        assert_eq!(kind("/dev/vfio/vfio", (10, 196)), DescriptorKind::Container);
        assert_eq!(kind("/vfio/12", (246, 12)), DescriptorKind::Group);
        let other = |name: &str| DescriptorKind::Other(name.to_owned());
        assert_eq!(kind("/dev/vfio/vfio", (10, 200)), other("/dev/vfio/vfio"));
        assert_eq!(kind("/elsewhere", (10, 232)), DescriptorKind::Hypervisor);
        assert_eq!(kind("/dev/kvm", (10, 233)), other("/dev/kvm"));
        assert_eq!(kind("/dev/vfio/12", (1, 3)), other("/dev/vfio/12"));
        assert_eq!(kind("/dev/vfio/devices/vfio0", (247, 0)), other("/dev/vfio/devices/vfio0"));
    }

    #[test]
    fn there_is_no_group_where_vfio_is_not_loaded() {
        assert_eq!(group_major("Character devices:\n 10 misc\n\nBlock devices:\n246 vfio\n"), None);
        assert_eq!(group_major(""), None);
    }

    #[test]
    fn a_file_that_is_only_named_like_a_container_is_none() {
        let tree = crate::testing::Tree::new();
        tree.file("dev/vfio/vfio", "");
        let descriptor = open(&tree.root().path("dev/vfio/vfio")).unwrap();
        assert_eq!(descriptor.sort(), Sort::Foreign);
    }

    #[test]
    fn a_descriptor_has_a_kind_until_it_is_closed() {
        let descriptors = Descriptors::default();
        let fd = descriptors.adopt(pipe());
        assert!(matches!(kind_of(fd), DescriptorKind::Other(name) if name.starts_with("pipe:")));
        assert_eq!(descriptors.close(fd), Ok(()));
        assert!(descriptors.get(fd).is_err());
    }

    #[test]
    fn a_number_that_nobody_holds_is_closed() {
        assert_eq!(kind_of(Fd::new(-1)), DescriptorKind::Closed);
        assert_eq!(kind_of(Fd::new(i32::MAX)), DescriptorKind::Closed);
    }

    #[test]
    fn descriptors_of_others_are_not_ours_to_close() {
        let descriptors = Descriptors::default();
        let theirs = pipe();
        let fd = Fd::new(theirs.as_raw_fd());
        assert_eq!(descriptors.close(fd), Err(Errno::EBADF));
        assert_ne!(kind_of(fd), DescriptorKind::Closed);
    }

    #[test]
    fn what_is_adopted_does_not_survive_exec() {
        let descriptors = Descriptors::default();
        let theirs = pipe();
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let fd = descriptors.adopt(theirs);
        let ours = descriptors.get(fd).unwrap();
        let flags = fcntl(ours.file().as_fd(), FcntlArg::F_GETFD).unwrap();
        assert_eq!(FdFlag::from_bits(flags), Some(FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn a_file_stays_open_for_a_call_that_is_running() {
        let descriptors = Descriptors::default();
        let fd = descriptors.adopt(pipe());
        let running = descriptors.get(fd).unwrap();
        assert_eq!(descriptors.close(fd), Ok(()));
        assert_eq!(descriptors.close(fd), Err(Errno::EBADF));
        assert_ne!(kind_of(fd), DescriptorKind::Closed);
        drop(running);
    }
}
