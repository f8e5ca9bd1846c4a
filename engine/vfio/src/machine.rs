//! The machine this process runs on.

use std::sync::Arc;

use tce_engine::{
    addr::{GuestAddress, HostAddr},
    errno::Errno,
    kernel::{ContainerFd, Extension, GroupNumber, Kernel, MemoryRange, Raw, SystemFacts, VmFd},
    machine::{
        GroupDevice, GuestStep, HypercallExit, HypercallRegisters, Machine, MachineError,
        MemoryRequest,
    },
};

use crate::{
    descriptors::{Descriptor, Descriptors, errno_of},
    guest,
    kernel::VfioKernel,
    memory::Memory,
    release::{Release, Verdict},
    root::Root,
    sysfs,
    system::{self, Status},
};

/// Why this machine cannot do what this crate is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It has no TCE tables.
    #[error(
        "this is no POWER machine ({0}), so it has no TCE tables; use the simulated backend, or \
         the POWER lab"
    )]
    NotPower(String),
    /// Its kernel is from the stretch in which VFIO was broken on POWER.
    #[error(
        "VFIO does not work on POWER with kernel {0}: it was broken up to 6.3; boot 6.4 or newer, \
         best 6.12.112 or 7.2.8"
    )]
    KernelTooOld(Release),
    /// There is no `/dev/vfio/vfio`.
    #[error(
        "there is no /dev/vfio/vfio; load the modules with `modprobe vfio-pci`, or pass the \
         device node into this container"
    )]
    NoContainerNode,
    /// The driver behind `/dev/vfio/vfio` is not there.
    #[error("/dev/vfio/vfio has no driver behind it; load it with `modprobe vfio`")]
    NoContainerDriver,
    /// This user may not open it.
    #[error(
        "this user may not open /dev/vfio/vfio; run as root, or give the user read and write \
         access to it"
    )]
    NoPermission,
    /// VFIO is there, and sPAPR TCE v2 is not.
    #[error(
        "the kernel's VFIO has no sPAPR TCE v2 backend; load it with `modprobe \
         vfio_iommu_spapr_tce`"
    )]
    NoBackend,
    /// Opening failed in another way.
    #[error("/dev/vfio/vfio cannot be opened: {0}")]
    Unopened(Errno),
    /// The kernel did not tell what has to be known.
    #[error("{what} cannot be read: {errno}; mount /proc and /sys")]
    Unknown {
        /// What it is.
        what: &'static str,
        /// Why not.
        errno: Errno,
    },
}

/// What the machine and all views on its kernel share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: Root,
    pub(crate) facts: SystemFacts,
    pub(crate) descriptors: Descriptors,
    pub(crate) memory: Memory,
}

/// The machine this process runs on: its memory, its PCI devices, and its kernel.
///
/// Memory is this value's: dropping it unmaps all. Descriptors are closed with it and the last view
/// on its kernel.
#[derive(Debug)]
pub struct VfioMachine {
    shared: Arc<Shared>,
}

impl VfioMachine {
    /// Makes sure that this machine can do the real thing.
    ///
    /// # Errors
    /// [`OpenError`], which says what is missing and what to do.
    pub fn open() -> Result<Self, OpenError> {
        Self::open_at(Root::default())
    }

    /// Like [`VfioMachine::open`], with another file tree.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_at(root: Root) -> Result<Self, OpenError> {
        let Some(platform) = system::platform(&root) else {
            return Err(OpenError::NotPower(system::model(&root)));
        };
        let unknown = |what| move |errno| OpenError::Unknown { what, errno };
        let release = release(&root).map_err(unknown("the kernel's release"))?;
        if release.verdict() == Verdict::Broken {
            return Err(OpenError::KernelTooOld(release));
        }
        let status = Status::read(&root).map_err(unknown("/proc/self/status"))?;
        let limit = system::memlock_limit().map_err(unknown("RLIMIT_MEMLOCK"))?;
        let facts = SystemFacts {
            platform,
            page_shift: system::page_shift().map_err(unknown("the page size"))?,
            locked_limit: limit.filter(|_| !status.ipc_lock),
        };
        let machine = Self::with(root, facts);
        machine.find_backend()?;
        Ok(machine)
    }

    /// Takes memory that was not made by [`Machine::allocate`], a guest's for one, as fit to be
    /// registered. Other memory is answered with `EFAULT`, as if it were not there.
    ///
    /// # Safety
    /// As long as this machine or a view on its kernel lives, a device may read and write the range
    /// at any time. So it is no memory that a Rust reference or an allocator knows, and it does
    /// not become such.
    #[expect(unsafe_code, reason = "the caller answers for what devices will do to the memory")]
    pub unsafe fn vouch_for(&self, memory: MemoryRange) {
        self.shared.memory.vouch(memory);
    }

    pub(crate) fn with(root: Root, facts: SystemFacts) -> Self {
        let (descriptors, memory) = (Descriptors::default(), Memory::default());
        Self { shared: Arc::new(Shared { root, facts, descriptors, memory }) }
    }

    #[cfg(test)]
    pub(crate) fn open_descriptors(&self) -> usize {
        self.shared.descriptors.count()
    }

    fn guest(&self, vm: VmFd, step: GuestStep) -> Result<Arc<Descriptor>, MachineError> {
        self.shared.descriptors.get(vm.fd()).map_err(|errno| MachineError::Guest { step, errno })
    }

    fn find_backend(&self) -> Result<(), OpenError> {
        let mut kernel = self.kernel();
        let container = kernel.open_container().map_err(unopened)?;
        let found = has(&mut kernel, container, Extension::SpaprTceV2);
        let closed = kernel.close(container.fd());
        if !found {
            return Err(OpenError::NoBackend);
        }
        closed.map_err(OpenError::Unopened)
    }
}

const fn unopened(errno: Errno) -> OpenError {
    match errno {
        Errno::ENOENT => OpenError::NoContainerNode,
        Errno::ENODEV | Errno::ENXIO => OpenError::NoContainerDriver,
        Errno::EACCES | Errno::EPERM => OpenError::NoPermission,
        errno => OpenError::Unopened(errno),
    }
}

/// Whether a container knows an extension.
fn has(kernel: &mut impl Kernel, container: ContainerFd, extension: Extension) -> bool {
    matches!(kernel.check_extension(container, extension), Raw::Returned(value) if value > 0)
}

/// The release of the running kernel.
fn release(root: &Root) -> Result<Release, Errno> {
    let text = root.text("proc/sys/kernel/osrelease").map_err(errno_of)?;
    Release::parse(text.trim()).ok_or(Errno::EIO)
}

impl Machine for VfioMachine {
    type Kernel = VfioKernel;

    fn kernel(&self) -> VfioKernel {
        VfioKernel::new(Arc::clone(&self.shared))
    }

    fn group_of(&self, address: &str) -> Result<GroupNumber, MachineError> {
        sysfs::group_of(&self.shared.root, address)
    }

    fn devices_of(&self, group: GroupNumber) -> Vec<GroupDevice> {
        sysfs::devices_of(&self.shared.root, group)
    }

    fn groups(&self) -> Vec<GroupNumber> {
        sysfs::groups(&self.shared.root)
    }

    fn allocate(&mut self, request: &MemoryRequest) -> Result<MemoryRange, MachineError> {
        self.shared.memory.allocate(request, self.shared.facts.page_shift)
    }

    fn free(&mut self, memory: MemoryRange) -> Result<(), MachineError> {
        self.shared.memory.free(memory)
    }

    fn write_memory(&mut self, address: HostAddr, bytes: &[u8]) -> Result<(), MachineError> {
        self.shared.memory.write(address, bytes)
    }

    fn read_memory(&mut self, address: HostAddr, bytes: &mut [u8]) -> Result<(), MachineError> {
        self.shared.memory.read(address, bytes)
    }

    fn set_guest_memory(
        &mut self,
        vm: VmFd,
        at: GuestAddress,
        memory: MemoryRange,
    ) -> Result<(), MachineError> {
        let ground = self.shared.memory.ground(memory, self.shared.facts.page_shift);
        guest::set_memory(&*self.guest(vm, GuestStep::Memory)?, at, memory, ground)
    }

    fn enable_multi_tce(&mut self, vm: VmFd) -> Result<(), MachineError> {
        guest::enable_multi_tce(&*self.guest(vm, GuestStep::MultiTce)?)
    }

    fn hypercall(
        &mut self,
        vm: VmFd,
        call: HypercallRegisters,
    ) -> Result<HypercallExit, MachineError> {
        let vm = self.guest(vm, GuestStep::Run)?;
        guest::hypercall(&vm, &call, self.shared.facts.page_shift)
    }
}

impl Drop for VfioMachine {
    fn drop(&mut self) {
        self.shared.memory.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{POWERNV_CPUINFO, Tree};

    const STATUS: &str = "VmLck:\t0 kB\nVmPin:\t0 kB\nCapEff:\t0000000000000000\n";

    fn power(release: &str) -> Tree {
        let tree = Tree::new();
        tree.file("proc/cpuinfo", POWERNV_CPUINFO);
        tree.file("proc/sys/kernel/osrelease", release);
        tree.file("proc/self/status", STATUS);
        tree
    }

    fn refusal(tree: &Tree) -> OpenError {
        VfioMachine::open_at(tree.root().clone()).unwrap_err()
    }

    #[test]
    fn another_architecture_is_refused_by_name() {
        let tree = Tree::new();
        tree.file("proc/cpuinfo", "model name\t: A Laptop CPU\n");
        assert_eq!(refusal(&tree), OpenError::NotPower("A Laptop CPU".to_owned()));
    }

    #[test]
    fn an_old_kernel_is_refused_before_anything_is_opened() {
        let tree = power("6.1.0-44-powerpc64le\n");
        let OpenError::KernelTooOld(release) = refusal(&tree) else { panic!() };
        assert_eq!(release.to_string(), "6.1.0");
    }

    #[test]
    fn without_a_container_node_the_modules_are_named() {
        assert_eq!(refusal(&power("6.12.107\n")), OpenError::NoContainerNode);
    }

    #[test]
    fn a_file_that_only_looks_like_the_node_has_no_backend() {
        let tree = power("6.12.107\n");
        tree.file("dev/vfio/vfio", "");
        assert_eq!(refusal(&tree), OpenError::NoBackend);
    }

    #[test]
    fn facts_that_cannot_be_read_are_named() {
        let tree = power("not a release\n");
        let what = "the kernel's release";
        assert_eq!(refusal(&tree), OpenError::Unknown { what, errno: Errno::EIO });
    }

    #[test]
    fn every_errno_of_the_node_has_its_remedy() {
        assert_eq!(unopened(Errno::EACCES), OpenError::NoPermission);
        assert_eq!(unopened(Errno::ENODEV), OpenError::NoContainerDriver);
        assert_eq!(unopened(Errno::EMFILE), OpenError::Unopened(Errno::EMFILE));
    }
}
