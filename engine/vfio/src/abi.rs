//! Numbers and structures of `linux/vfio.h`, each checked when the crate is compiled.
//!
//! The numbers depend on the architecture: on powerpc `_IO` sets bit 29 (`_IOC_NONE` is 1 there),
//! which many Rust crates overlook. nix's encoding is right, and the table below holds it to that.
//!
//! Invariant: a [`Call`] pairs a number with the one structure that the kernel reads and writes for
//! it, within `argsz` bytes. Calls are made in this file only, so the table is all there is to
//! check.

use std::marker::PhantomData;

use nix::sys::ioctl::ioctl_num_type as Request;
use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE};
pub(crate) use vfio_bindings::bindings::vfio::{
    VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_GROUP_FLAGS_CONTAINER_SET,
    VFIO_GROUP_FLAGS_VIABLE, VFIO_IOMMU_SPAPR_INFO_DDW, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_BAR5_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_REQ_IRQ_INDEX,
    vfio_device_info, vfio_eeh_pe_err, vfio_eeh_pe_op, vfio_eeh_pe_op__bindgen_ty_1,
    vfio_group_status, vfio_iommu_spapr_register_memory, vfio_iommu_spapr_tce_create,
    vfio_iommu_spapr_tce_info, vfio_iommu_spapr_tce_remove, vfio_iommu_type1_dma_map,
    vfio_iommu_type1_dma_unmap, vfio_irq_info, vfio_region_info,
};

pub(crate) mod kvm;

/// Which sort of descriptor answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// A container or a group. Either may be asked what only the other knows, and refuses it.
    ContainerOrGroup,
    /// A device. Containers use some of the same numbers, so the two are never mixed up.
    Device,
    /// `/dev/kvm`.
    Hypervisor,
    /// A virtual machine of KVM's.
    VirtualMachine,
    /// A virtual machine's processor.
    VirtualProcessor,
    /// A virtual machine's link to VFIO.
    KvmVfio,
}

/// An `ioctl` whose argument is an `A`: a structure by address, or one of the markers below.
#[derive(Debug)]
pub(crate) struct Call<A> {
    request: Request,
    answers: Answers,
    argument: PhantomData<fn(A)>,
}

/// Marker of a call without an argument.
#[derive(Debug)]
pub(crate) enum Nothing {}

/// Marker of a call whose argument is a plain number.
#[derive(Debug)]
pub(crate) enum Number {}

/// `VFIO_DEVICE_SET_IRQS`'s argument for one eventfd: `struct vfio_irq_set` with its data.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct IrqEvent {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) start: u32,
    pub(crate) count: u32,
    pub(crate) event: i32,
}

/// Marker of a call whose argument is the address of a name.
#[derive(Debug)]
pub(crate) enum Name {}

impl<A> Call<A> {
    const fn new(request: Request, answers: Answers) -> Self {
        Self { request, answers, argument: PhantomData }
    }

    /// The number, as this architecture encodes it.
    pub(crate) const fn request(&self) -> Request {
        self.request
    }

    /// Who answers it.
    pub(crate) const fn answers(&self) -> Answers {
        self.answers
    }
}

/// `argsz` of a structure.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "asserted to fit")]
pub(crate) const fn argsz<T>() -> u32 {
    const { assert!(size_of::<T>() <= 64, "no structure of this table is larger") };
    size_of::<T>() as u32
}

macro_rules! calls {
    ($($answers:ident $name:ident($argument:ty, $size:literal) = $nr:literal,
       powerpc64 $powerpc:literal, x86_64 $x86:literal;)*) => {
        $(
            pub(crate) const $name: Call<$argument> =
                Call::new(nix::request_code_none!(VFIO_TYPE, VFIO_BASE + $nr), Answers::$answers);
            const _: () = assert!(size_of::<$argument>() == $size, stringify!($argument));
            #[cfg(target_arch = "powerpc64")]
            const _: () = assert!($name.request() == $powerpc, stringify!($name));
            #[cfg(target_arch = "x86_64")]
            const _: () = assert!($name.request() == $x86, stringify!($name));
        )*

        /// Each call's C name, and its number on powerpc64 and on x86_64.
        #[cfg(test)]
        const TABLE: &[(&str, Request, Request)] =
            &[$((stringify!($name), $powerpc, $x86),)*];
    };
}

// The number is the one behind VFIO_BASE. From 7 on, containers and devices use the same ones.
calls! {
    ContainerOrGroup CHECK_EXTENSION(Number, 0) = 1, powerpc64 0x2000_3b65, x86_64 0x3b65;
    ContainerOrGroup SET_IOMMU(Number, 0) = 2, powerpc64 0x2000_3b66, x86_64 0x3b66;
    ContainerOrGroup GROUP_GET_STATUS(vfio_group_status, 8) = 3,
        powerpc64 0x2000_3b67, x86_64 0x3b67;
    ContainerOrGroup GROUP_SET_CONTAINER(i32, 4) = 4, powerpc64 0x2000_3b68, x86_64 0x3b68;
    ContainerOrGroup GROUP_UNSET_CONTAINER(Nothing, 0) = 5,
        powerpc64 0x2000_3b69, x86_64 0x3b69;
    ContainerOrGroup GROUP_GET_DEVICE_FD(Name, 0) = 6, powerpc64 0x2000_3b6a, x86_64 0x3b6a;
    Device DEVICE_GET_INFO(vfio_device_info, 24) = 7, powerpc64 0x2000_3b6b, x86_64 0x3b6b;
    Device DEVICE_GET_REGION_INFO(vfio_region_info, 32) = 8,
        powerpc64 0x2000_3b6c, x86_64 0x3b6c;
    Device DEVICE_GET_IRQ_INFO(vfio_irq_info, 16) = 9, powerpc64 0x2000_3b6d, x86_64 0x3b6d;
    Device DEVICE_SET_IRQS(IrqEvent, 24) = 10, powerpc64 0x2000_3b6e, x86_64 0x3b6e;
    Device DEVICE_RESET(Nothing, 0) = 11, powerpc64 0x2000_3b6f, x86_64 0x3b6f;
    ContainerOrGroup IOMMU_SPAPR_TCE_GET_INFO(vfio_iommu_spapr_tce_info, 32) = 12,
        powerpc64 0x2000_3b70, x86_64 0x3b70;
    ContainerOrGroup IOMMU_MAP_DMA(vfio_iommu_type1_dma_map, 32) = 13,
        powerpc64 0x2000_3b71, x86_64 0x3b71;
    ContainerOrGroup IOMMU_UNMAP_DMA(vfio_iommu_type1_dma_unmap, 24) = 14,
        powerpc64 0x2000_3b72, x86_64 0x3b72;
    ContainerOrGroup IOMMU_SPAPR_REGISTER_MEMORY(vfio_iommu_spapr_register_memory, 24) = 17,
        powerpc64 0x2000_3b75, x86_64 0x3b75;
    ContainerOrGroup IOMMU_SPAPR_UNREGISTER_MEMORY(vfio_iommu_spapr_register_memory, 24) = 18,
        powerpc64 0x2000_3b76, x86_64 0x3b76;
    ContainerOrGroup IOMMU_SPAPR_TCE_CREATE(vfio_iommu_spapr_tce_create, 40) = 19,
        powerpc64 0x2000_3b77, x86_64 0x3b77;
    ContainerOrGroup IOMMU_SPAPR_TCE_REMOVE(vfio_iommu_spapr_tce_remove, 16) = 20,
        powerpc64 0x2000_3b78, x86_64 0x3b78;
    ContainerOrGroup EEH_PE_OP(vfio_eeh_pe_op, 40) = 21, powerpc64 0x2000_3b79, x86_64 0x3b79;
}

// Values the seam of tce-engine spells out, and the layout of the structures with holes.
const _: () = {
    use std::mem::offset_of;

    use tce_engine::kernel::{EehOperation, Extension, InjectedError, InterruptKind};
    use vfio_bindings::bindings::vfio::{
        VFIO_DEVICE_FLAGS_RESET, VFIO_EEH, VFIO_EEH_PE_CONFIGURE, VFIO_EEH_PE_DISABLE,
        VFIO_EEH_PE_ENABLE, VFIO_EEH_PE_GET_STATE, VFIO_EEH_PE_INJECT_ERR,
        VFIO_EEH_PE_RESET_DEACTIVATE, VFIO_EEH_PE_RESET_FUNDAMENTAL, VFIO_EEH_PE_RESET_HOT,
        VFIO_EEH_PE_UNFREEZE_DMA, VFIO_EEH_PE_UNFREEZE_IO, VFIO_PCI_INTX_IRQ_INDEX,
        VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_SPAPR_TCE_IOMMU,
        VFIO_SPAPR_TCE_v2_IOMMU, vfio_irq_set,
    };

    assert!(VFIO_SPAPR_TCE_IOMMU == Extension::SpaprTceV1.number());
    assert!(VFIO_EEH == Extension::Eeh.number());
    assert!(VFIO_SPAPR_TCE_v2_IOMMU == Extension::SpaprTceV2.number());
    assert!(VFIO_EEH_PE_DISABLE == EehOperation::Disable.number());
    assert!(VFIO_EEH_PE_ENABLE == EehOperation::Enable.number());
    assert!(VFIO_EEH_PE_UNFREEZE_IO == EehOperation::UnfreezeIo.number());
    assert!(VFIO_EEH_PE_UNFREEZE_DMA == EehOperation::UnfreezeDma.number());
    assert!(VFIO_EEH_PE_GET_STATE == EehOperation::GetState.number());
    assert!(VFIO_EEH_PE_RESET_DEACTIVATE == EehOperation::ResetDeactivate.number());
    assert!(VFIO_EEH_PE_RESET_HOT == EehOperation::ResetHot.number());
    assert!(VFIO_EEH_PE_RESET_FUNDAMENTAL == EehOperation::ResetFundamental.number());
    assert!(VFIO_EEH_PE_CONFIGURE == EehOperation::Configure.number());
    assert!(VFIO_EEH_PE_INJECT_ERR == InjectedError::OPERATION);
    assert!(VFIO_DEVICE_FLAGS_RESET == 1);
    assert!(VFIO_PCI_INTX_IRQ_INDEX == InterruptKind::Intx.number());
    assert!(VFIO_PCI_MSI_IRQ_INDEX == InterruptKind::Msi.number());
    assert!(VFIO_PCI_MSIX_IRQ_INDEX == InterruptKind::Msix.number());
    assert!(offset_of!(IrqEvent, event) == size_of::<vfio_irq_set>());
    assert!(VFIO_IOMMU_SPAPR_INFO_DDW == 1);
    assert!(VFIO_DMA_MAP_FLAG_READ == tce_engine::kernel::MAP_READ);
    assert!(VFIO_DMA_MAP_FLAG_WRITE == tce_engine::kernel::MAP_WRITE);
    assert!(VFIO_PCI_BAR0_REGION_INDEX == 0 && VFIO_PCI_BAR5_REGION_INDEX == 5);
    assert!(VFIO_PCI_CONFIG_REGION_INDEX == 7);
    assert!(offset_of!(vfio_iommu_spapr_tce_info, ddw) == 16);
    assert!(offset_of!(vfio_iommu_spapr_tce_create, window_size) == 16);
    assert!(offset_of!(vfio_iommu_spapr_tce_create, start_addr) == 32);
    assert!(offset_of!(vfio_eeh_pe_op, __bindgen_anon_1) == 16);
};

#[cfg(test)]
mod tests {
    use std::{
        fmt::Write as _,
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    const STRUCTURES: &[(&str, usize)] = &[
        ("vfio_group_status", size_of::<vfio_group_status>()),
        ("vfio_device_info", size_of::<vfio_device_info>()),
        ("vfio_irq_info", size_of::<vfio_irq_info>()),
        ("vfio_region_info", size_of::<vfio_region_info>()),
        ("vfio_iommu_spapr_tce_info", size_of::<vfio_iommu_spapr_tce_info>()),
        ("vfio_iommu_type1_dma_map", size_of::<vfio_iommu_type1_dma_map>()),
        ("vfio_iommu_type1_dma_unmap", size_of::<vfio_iommu_type1_dma_unmap>()),
        ("vfio_iommu_spapr_register_memory", size_of::<vfio_iommu_spapr_register_memory>()),
        ("vfio_iommu_spapr_tce_create", size_of::<vfio_iommu_spapr_tce_create>()),
        ("vfio_iommu_spapr_tce_remove", size_of::<vfio_iommu_spapr_tce_remove>()),
        ("vfio_eeh_pe_op", size_of::<vfio_eeh_pe_op>()),
    ];

    fn statements(number_of: impl Fn(Request, Request) -> Request) -> String {
        let mut c = String::from("#include <linux/vfio.h>\n#include <sys/ioctl.h>\n");
        for (name, powerpc, x86) in TABLE {
            let number = number_of(*powerpc, *x86);
            writeln!(c, "_Static_assert(VFIO_{name} == {number:#x}, \"VFIO_{name}\");").unwrap();
        }
        for (name, size) in STRUCTURES {
            writeln!(c, "_Static_assert(sizeof(struct {name}) == {size}, \"{name}\");").unwrap();
        }
        c
    }

    fn compiles(compiler: &str, source: &str) -> bool {
        let mut child = Command::new(compiler)
            .args(["-fsyntax-only", "-x", "c", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{compiler}: {error}"));
        child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[ignore = "needs a C compiler and the kernel's headers"]
    fn the_table_agrees_with_the_c_headers() {
        assert!(compiles("cc", &statements(|_, x86| x86)));
        assert!(!compiles("cc", &statements(|powerpc, _| powerpc)), "the check checks nothing");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[ignore = "needs powerpc's C compiler and kernel headers"]
    fn the_table_agrees_with_the_c_headers_of_powerpc() {
        let compiler = "powerpc64le-linux-gnu-gcc";
        assert!(compiles(compiler, &statements(|powerpc, _| powerpc)));
        assert!(!compiles(compiler, &statements(|_, x86| x86)), "the check checks nothing");
    }
}
