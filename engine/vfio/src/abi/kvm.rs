//! Numbers and structures of `linux/kvm.h`, as far as KVM is VFIO's external user, and runs a guest that
//! makes hypercalls. `_IOW` and `_IOWR` differ between
//! architectures too.

use std::marker::PhantomData;

use super::{Answers, Call, Nothing, Number};

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

/// `KVM_CAP_PPC_PAPR`, of a processor: its guest makes PAPR's hypercalls.
pub(crate) const CAP_PPC_PAPR: u32 = 68;
/// `KVM_CAP_PPC_ENABLE_HCALL`, of a virtual machine: the kernel answers a hypercall.
pub(crate) const CAP_PPC_ENABLE_HCALL: u32 = 104;

/// `struct kvm_enable_cap`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct EnableCapability {
    pub(crate) capability: u32,
    pub(crate) flags: u32,
    pub(crate) arguments: [u64; 4],
    pub(crate) padding: [u64; 8],
}

/// `struct kvm_userspace_memory_region`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct MemoryRegion {
    pub(crate) slot: u32,
    pub(crate) flags: u32,
    pub(crate) guest_address: u64,
    pub(crate) size: u64,
    pub(crate) address: u64,
}

/// powerpc's `struct kvm_regs`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) cr: u64,
    pub(crate) ctr: u64,
    pub(crate) lr: u64,
    pub(crate) xer: u64,
    pub(crate) msr: u64,
    pub(crate) srr: [u64; 2],
    pub(crate) pid: u64,
    pub(crate) sprg: [u64; 8],
    pub(crate) gpr: [u64; 32],
}

/// `KVM_EXIT_PAPR_HCALL`: the guest's hypercall is the process's to answer.
pub(crate) const EXIT_PAPR_HCALL: u32 = 19;

/// Offsets in `struct kvm_run`.
pub(crate) mod run {
    /// `exit_reason`, 4 bytes.
    pub(crate) const EXIT_REASON: usize = 8;
    /// `papr_hcall.ret`, and behind it `papr_hcall.args`: ten words of 8 bytes, R3 to R12 of the guest.
    pub(crate) const HYPERCALL_RETURN: usize = 40;
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
    VirtualMachine CREATE_VCPU(Number, 0) = nix::request_code_none!(TYPE, 0x41),
        powerpc64 0x2000_ae41, x86_64 0xae41;
    VirtualMachine SET_USER_MEMORY_REGION(MemoryRegion, 32) = nix::request_code_write!(TYPE, 0x46, 32),
        powerpc64 0x8020_ae46, x86_64 0x4020_ae46;
    VirtualMachine VM_ENABLE_CAP(EnableCapability, 104) = nix::request_code_write!(TYPE, 0xa3, 104),
        powerpc64 0x8068_aea3, x86_64 0x4068_aea3;
    VirtualProcessor VCPU_ENABLE_CAP(EnableCapability, 104) = nix::request_code_write!(TYPE, 0xa3, 104),
        powerpc64 0x8068_aea3, x86_64 0x4068_aea3;
    VirtualProcessor RUN(Nothing, 0) = nix::request_code_none!(TYPE, 0x80),
        powerpc64 0x2000_ae80, x86_64 0xae80;
    VirtualProcessor GET_REGS(Registers, 392) = nix::request_code_read!(TYPE, 0x81, 392),
        powerpc64 0x4188_ae81, x86_64 0x8188_ae81;
    VirtualProcessor SET_REGS(Registers, 392) = nix::request_code_write!(TYPE, 0x82, 392),
        powerpc64 0x8188_ae82, x86_64 0x4188_ae82;
    KvmVfio SET_DEVICE_ATTR(DeviceAttribute, 24) = nix::request_code_write!(TYPE, 0xe1, 24),
        powerpc64 0x8018_aee1, x86_64 0x4018_aee1;
}
