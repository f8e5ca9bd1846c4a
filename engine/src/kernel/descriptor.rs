//! Descriptors, a type for each kind.

use std::fmt;

/// A file descriptor of the process, of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(i32);

impl Fd {
    /// The descriptor with this number.
    #[must_use]
    pub const fn new(raw: i32) -> Self {
        Self(raw)
    }

    /// Its number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }
}

macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Fd);

        impl $name {
            /// Takes a descriptor for one of this kind. Whether it is one, only the kernel knows.
            #[must_use]
            pub const fn new(fd: Fd) -> Self {
                Self(fd)
            }

            /// The descriptor.
            #[must_use]
            pub const fn fd(self) -> Fd {
                self.0
            }
        }
    };
}

descriptor! {
    /// An open VFIO container (`/dev/vfio/vfio`).
    ContainerFd
}
descriptor! {
    /// An open VFIO group (`/dev/vfio/N`).
    GroupFd
}
descriptor! {
    /// An open VFIO device.
    DeviceFd
}
descriptor! {
    /// An eventfd that does not block.
    EventFd
}
descriptor! {
    /// A virtual machine (`KVM_CREATE_VM`).
    VmFd
}
descriptor! {
    /// A virtual machine's link to VFIO (`KVM_CREATE_DEVICE`, `KVM_DEV_TYPE_VFIO`).
    KvmVfioFd
}
descriptor! {
    /// A guest's TCE table (`KVM_CREATE_SPAPR_TCE_64`).
    GuestTableFd
}

/// What a descriptor turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescriptorKind {
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
    /// A virtual machine's link to VFIO.
    KvmVfio,
    /// A guest's TCE table, kept by KVM.
    GuestTable,
    /// An eventfd.
    Event,
    /// Something else, as the kernel names it.
    Other(String),
    /// No open descriptor.
    Closed,
}

impl fmt::Display for DescriptorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container => f.write_str("a VFIO container"),
            Self::Group => f.write_str("a VFIO group"),
            Self::Device => f.write_str("a VFIO device"),
            Self::Hypervisor => f.write_str("/dev/kvm"),
            Self::VirtualMachine => f.write_str("a virtual machine of KVM"),
            Self::KvmVfio => f.write_str("a KVM-VFIO device"),
            Self::GuestTable => f.write_str("a guest's TCE table"),
            Self::Event => f.write_str("an eventfd"),
            Self::Other(name) => f.write_str(name),
            Self::Closed => f.write_str("no open descriptor"),
        }
    }
}
