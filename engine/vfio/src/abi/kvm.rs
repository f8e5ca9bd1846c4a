//! Numbers and structures of `linux/kvm.h`, as far as KVM is VFIO's external user. `_IOW` and `_IOWR` differ between
//! architectures too.

use std::marker::PhantomData;

use super::{Answers, Call, Number};

/// `KVMIO`.
const TYPE: u8 = 0xae;
/// `KVM_VM_PPC_HV`: a virtual machine in the hardware's hypervisor mode.
pub(crate) const VM_PPC_HV: u32 = 1;
/// `KVM_DEV_TYPE_VFIO`.
pub(crate) const DEV_TYPE_VFIO: u32 = 4;
/// `KVM_DEV_VFIO_GROUP`.
pub(crate) const DEV_VFIO_GROUP: u32 = 1;

/// The attributes of [`DEV_VFIO_GROUP`].
pub(crate) mod attribute {
    /// `KVM_DEV_VFIO_GROUP_ADD`, of a group's descriptor.
    pub(crate) const ADD: u64 = 1;
    /// `KVM_DEV_VFIO_GROUP_DEL`, of a group's descriptor.
    pub(crate) const DEL: u64 = 2;
    /// `KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE`, of a [`GroupAndTable`](super::GroupAndTable).
    pub(crate) const SET_SPAPR_TCE: u64 = 3;
}

/// `struct kvm_create_device`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct CreateDevice {
    pub(crate) kind: u32,
    /// The answer.
    pub(crate) fd: u32,
    pub(crate) flags: u32,
}

/// `struct kvm_create_spapr_tce_64`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct CreateSpaprTce {
    pub(crate) liobn: u64,
    pub(crate) page_shift: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// `struct kvm_device_attr`. Holds an address, so a call with it is made in `ioctl::set_attribute` only.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct DeviceAttribute {
    pub(crate) flags: u32,
    pub(crate) group: u32,
    pub(crate) attribute: u64,
    pub(crate) address: u64,
}

/// `struct kvm_vfio_spapr_tce`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct GroupAndTable {
    pub(crate) group: i32,
    pub(crate) table: i32,
}

macro_rules! calls {
    ($($answers:ident $name:ident($argument:ty, $size:literal) = $code:expr, powerpc64 $powerpc:literal, x86_64 $x86:literal;)*) => {
        $(
            pub(crate) const $name: Call<$argument> =
                Call { request: $code, answers: Answers::$answers, argument: PhantomData };
            const _: () = assert!(size_of::<$argument>() == $size, stringify!($argument));
            #[cfg(target_arch = "powerpc64")]
            const _: () = assert!($name.request() == $powerpc, stringify!($name));
            #[cfg(target_arch = "x86_64")]
            const _: () = assert!($name.request() == $x86, stringify!($name));
        )*
    };
}

calls! {
    Hypervisor CREATE_VM(Number, 0) = nix::request_code_none!(TYPE, 0x01),
        powerpc64 0x2000_ae01, x86_64 0xae01;
    VirtualMachine CREATE_SPAPR_TCE_64(CreateSpaprTce, 32) = nix::request_code_write!(TYPE, 0xa8, 32),
        powerpc64 0x8020_aea8, x86_64 0x4020_aea8;
    VirtualMachine CREATE_DEVICE(CreateDevice, 12) = nix::request_code_readwrite!(TYPE, 0xe0, 12),
        powerpc64 0xc00c_aee0, x86_64 0xc00c_aee0;
    KvmVfio SET_DEVICE_ATTR(DeviceAttribute, 24) = nix::request_code_write!(TYPE, 0xe1, 24),
        powerpc64 0x8018_aee1, x86_64 0x4018_aee1;
}
