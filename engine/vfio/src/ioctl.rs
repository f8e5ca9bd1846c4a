//! The one place where `ioctl` is called.
//!
//! The kernel is trusted to keep to `linux/vfio.h`: it reads and writes within `argsz` bytes of the
//! structure that belongs to the number, and keeps no address of it after the call. [`Call`] ties
//! number and structure together, [`Descriptor`] knows what it is; a call that does not fit its
//! descriptor is not made.
#![expect(unsafe_code, reason = "ioctl has no safe form")]

use std::{
    ffi::{CStr, c_void},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use nix::libc;
use tce_engine::{errno::Errno, kernel::Raw};

use crate::{
    abi::{Answers, Call, GROUP_GET_DEVICE_FD, Name, Nothing, Number, kvm},
    descriptors::{Descriptor, Sort},
};

/// A call without an argument.
pub(crate) fn plain(descriptor: &Descriptor, call: &Call<Nothing>) -> Raw {
    // SAFETY: the kernel ignores the argument of a `Call<Nothing>`.
    unsafe { invoke(descriptor, call, ptr::null_mut()) }
}

/// A call with a plain number.
pub(crate) fn with_number(descriptor: &Descriptor, call: &Call<Number>, number: u32) -> Raw {
    let Ok(number) = usize::try_from(number) else { return Raw::Failed(Errno::EINVAL) };
    // SAFETY: the kernel takes the argument of a `Call<Number>` as a number and never as an
    // address.
    unsafe { invoke(descriptor, call, ptr::without_provenance_mut(number)) }
}

/// A call with a structure, which the kernel reads, and writes its answer into.
pub(crate) fn with<T>(descriptor: &Descriptor, call: &Call<T>, argument: &mut T) -> Raw
where
    T: Plain,
{
    // SAFETY: `call` is made for a `T` (see `abi`), `argument` is one, borrowed for the length of
    // the call, and any bytes the kernel may write make a valid `T`, since it is plain data.
    unsafe { invoke(descriptor, call, ptr::from_mut(argument).cast()) }
}

/// `VFIO_GROUP_GET_DEVICE_FD`. The new descriptor is close-on-exec (`vfio_device_open_file`).
pub(crate) fn device_fd(group: &Descriptor, address: &CStr) -> Result<OwnedFd, Errno> {
    let call: &Call<Name> = &GROUP_GET_DEVICE_FD;
    // SAFETY: the kernel copies the string, up to its terminating zero (`strndup_user`), and writes
    // nothing.
    let made = unsafe { invoke(group, call, address.as_ptr().cast_mut().cast()) };
    owned(made, group.sort() == Sort::Group)
}

/// `KVM_CREATE_VM`. The new descriptor is close-on-exec (`kvm_dev_ioctl_create_vm`).
pub(crate) fn create_vm(hypervisor: &Descriptor) -> Result<OwnedFd, Errno> {
    let made = with_number(hypervisor, &kvm::CREATE_VM, kvm::VM_PPC_HV);
    owned(made, hypervisor.sort() == Sort::Hypervisor)
}

/// `KVM_CREATE_VCPU` of the first one. The new descriptor is close-on-exec (`create_vcpu_fd`).
pub(crate) fn create_vcpu(vm: &Descriptor) -> Result<OwnedFd, Errno> {
    owned(with_number(vm, &kvm::CREATE_VCPU, 0), vm.sort() == Sort::VirtualMachine)
}

/// `KVM_CREATE_SPAPR_TCE_64`. The new descriptor is close-on-exec (`kvm_vm_ioctl_create_spapr_tce`).
pub(crate) fn create_guest_table(
    vm: &Descriptor,
    arguments: &mut kvm::CreateSpaprTce,
) -> Result<OwnedFd, Errno> {
    let made = with(vm, &kvm::CREATE_SPAPR_TCE_64, arguments);
    owned(made, vm.sort() == Sort::VirtualMachine)
}

/// `KVM_CREATE_DEVICE` of the link to VFIO. The new descriptor is close-on-exec
/// (`kvm_ioctl_create_device`).
pub(crate) fn create_kvm_vfio(vm: &Descriptor) -> Result<OwnedFd, Errno> {
    let mut device = kvm::CreateDevice { kind: kvm::DEV_TYPE_VFIO, ..Default::default() };
    match with(vm, &kvm::CREATE_DEVICE, &mut device) {
        Raw::Failed(errno) => Err(errno),
        Raw::Returned(0) => {
            let fd = i32::try_from(device.fd).map_err(|_| Errno::EINVAL)?;
            owned(Raw::Returned(fd), vm.sort() == Sort::VirtualMachine)
        }
        Raw::Returned(_) => Err(Errno::EINVAL),
    }
}

/// `KVM_SET_DEVICE_ATTR` of an attribute in the group `KVM_DEV_VFIO_GROUP`.
pub(crate) fn set_attribute<T: Plain>(link: &Descriptor, attribute: u64, value: &T) -> Raw {
    let address = ptr::from_ref(value).expose_provenance();
    let Ok(address) = u64::try_from(address) else { return Raw::Failed(Errno::EFAULT) };
    let mut attribute =
        kvm::DeviceAttribute { flags: 0, group: kvm::DEV_VFIO_GROUP, attribute, address };
    let argument = ptr::from_mut(&mut attribute).cast();
    // SAFETY: `argument` is what the call takes. The address in it is of a live `T`, which the
    // kernel only reads, and no more of it than the attribute's structure (`kvm_vfio_set_group`).
    unsafe { invoke(link, &kvm::SET_DEVICE_ATTR, argument) }
}

/// The descriptor that a call has made, if its answer is one.
fn owned(made: Raw, is_new: bool) -> Result<OwnedFd, Errno> {
    match made {
        Raw::Failed(errno) => Err(errno),
        Raw::Returned(fd) if fd >= 0 && is_new => {
            // SAFETY: the callers' calls answer with a descriptor that was just made for us.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        // Not a descriptor. No kernel is known to do this.
        Raw::Returned(_) => Err(Errno::EINVAL),
    }
}

/// Makes the call and returns what it gave. Not made is a call on a descriptor that is none of
/// VFIO's or KVM's, or of the wrong sort: `ENOTTY`, as from a file that knows no such call.
///
/// # Safety
/// `argument` is what `call` takes: ignored, a number, or the address of a live `A` that nothing
/// else uses during the call.
unsafe fn invoke<A>(descriptor: &Descriptor, call: &Call<A>, argument: *mut c_void) -> Raw {
    let fits = match descriptor.sort() {
        Sort::Container | Sort::Group => call.answers() == Answers::ContainerOrGroup,
        Sort::Device => call.answers() == Answers::Device,
        Sort::Hypervisor => call.answers() == Answers::Hypervisor,
        Sort::VirtualMachine => call.answers() == Answers::VirtualMachine,
        Sort::VirtualProcessor => call.answers() == Answers::VirtualProcessor,
        Sort::KvmVfio => call.answers() == Answers::KvmVfio,
        Sort::GuestTable | Sort::Foreign => false,
    };
    if !fits {
        return Raw::Failed(Errno::ENOTTY);
    }
    let fd = descriptor.file().as_fd().as_raw_fd();
    // SAFETY: `fd` is open as long as `descriptor` is borrowed, and is of the sort that `call` was
    // made for, so the kernel takes `argument` as `linux/vfio.h` says; that it is one, the
    // caller promises.
    match unsafe { libc::ioctl(fd, call.request(), argument) } {
        -1 => Raw::Failed(Errno(nix::errno::Errno::last_raw())),
        value => Raw::Returned(value),
    }
}

/// Structures of which any bytes are a valid value.
///
/// # Safety
/// The type is `repr(C)`, and made of integers only.
pub(crate) unsafe trait Plain {}

macro_rules! plain {
    ($($structure:ident)*) => {
        $(
            // SAFETY: bindgen's structure of `linux/vfio.h`: `repr(C)`, integers only.
            unsafe impl Plain for crate::abi::$structure {}
        )*
    };
}

// SAFETY: an integer.
unsafe impl Plain for i32 {}
// SAFETY: `repr(C)`, integers only.
unsafe impl Plain for crate::abi::IrqEvent {}
// SAFETY: `repr(C)`, integers only.
unsafe impl Plain for kvm::CreateDevice {}
// SAFETY: `repr(C)`, integers only.
unsafe impl Plain for kvm::CreateSpaprTce {}
// SAFETY: `repr(C)`, integers only.
unsafe impl Plain for kvm::GroupAndTable {}
// SAFETY: `repr(C)`, integers only.
unsafe impl Plain for kvm::EnableCapability {}
// SAFETY: `repr(C)`, integers only. The address in it is the guest's from then on; who makes the call answers for that
// memory (`guest`).
unsafe impl Plain for kvm::MemoryRegion {}
// SAFETY: `repr(C)`, integers only.
unsafe impl Plain for kvm::Registers {}
plain! {
    vfio_group_status
    vfio_device_info
    vfio_irq_info
    vfio_region_info
    vfio_iommu_spapr_tce_info
    vfio_iommu_type1_dma_map
    vfio_iommu_type1_dma_unmap
    vfio_iommu_spapr_register_memory
    vfio_iommu_spapr_tce_create
    vfio_iommu_spapr_tce_remove
    vfio_eeh_pe_op
}
