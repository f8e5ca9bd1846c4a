//! A machine with a container at hand.

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::{
        ContainerFd, CreateCall, Extension, GroupFd, GroupNumber, Kernel, MAP_READ, MAP_WRITE,
        MapCall, MemoryRange, Raw, Reply, UnmapCall,
    },
    machine::{Backing, Machine, MemoryRequest},
};
use tce_sim::{Profile, SimKernel, SimMachine};

pub(crate) const READ_WRITE: u32 = MAP_READ | MAP_WRITE;
pub(crate) const OK: Raw = Raw::OK;
/// What misaligned and overlong ranges answer.
pub(crate) const ONE: Raw = Raw::Returned(1);
/// Start of the second window.
pub(crate) const HIGH: u64 = 1 << 59;

pub(crate) const fn failed(errno: Errno) -> Raw {
    Raw::Failed(errno)
}

/// A machine, its kernel, and a container with the first group and a backend.
pub(crate) struct Bench {
    pub(crate) machine: SimMachine,
    pub(crate) kernel: SimKernel,
    pub(crate) container: ContainerFd,
    pub(crate) group: GroupFd,
}

impl Bench {
    pub(crate) fn new(profile: Profile) -> Self {
        let machine = SimMachine::new(profile);
        let mut kernel = machine.kernel();
        let container = kernel.open_container().expect("containers are free");
        let group = kernel.open_group(machine.groups()[0]).expect("the group is free");
        assert_eq!(kernel.set_container(group, container), OK);
        assert_eq!(kernel.set_iommu(container, Extension::SpaprTceV2), OK);
        Self { machine, kernel, container, group }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::new(Profile::named(name).expect("it is a known name"))
    }

    /// One with 16 MiB of registered anonymous memory.
    pub(crate) fn with_memory(name: &str) -> (Self, MemoryRange) {
        let mut bench = Self::named(name);
        let memory = bench.registered(Bytes::mib(16), Backing::Anonymous);
        (bench, memory)
    }

    /// Adds another group to the container.
    pub(crate) fn join(&mut self, number: GroupNumber) -> (GroupFd, Raw) {
        let group = self.kernel.open_group(number).expect("the group is free");
        (group, self.kernel.set_container(group, self.container))
    }

    pub(crate) fn second_group(&self) -> GroupNumber {
        self.machine.groups()[1]
    }

    pub(crate) fn allocated(&mut self, size: Bytes, backing: Backing) -> MemoryRange {
        let request = MemoryRequest { size, backing, align: PageShift::M2 };
        self.machine.allocate(&request).expect("there is room")
    }

    pub(crate) fn registered(&mut self, size: Bytes, backing: Backing) -> MemoryRange {
        let memory = self.allocated(size, backing);
        assert_eq!(self.register(memory), OK);
        memory
    }

    pub(crate) fn register(&mut self, memory: MemoryRange) -> Raw {
        self.kernel.register(self.container, memory)
    }

    pub(crate) fn unregister(&mut self, memory: MemoryRange) -> Raw {
        self.kernel.unregister(self.container, memory)
    }

    pub(crate) fn create(&mut self, size: Bytes, page_shift: u32, levels: u32) -> Reply<Iova> {
        self.kernel.create(self.container, CreateCall { page_shift, size, levels })
    }

    pub(crate) fn remove(&mut self, start: u64) -> Raw {
        self.kernel.remove(self.container, Iova::new(start))
    }

    pub(crate) fn map_flags(&mut self, flags: u32, iova: u64, memory: MemoryRange) -> Raw {
        let MemoryRange { address, size } = memory;
        let call = MapCall { flags, address, iova: Iova::new(iova), size };
        self.kernel.map(self.container, call)
    }

    pub(crate) fn map(&mut self, iova: u64, memory: MemoryRange) -> Raw {
        self.map_flags(READ_WRITE, iova, memory)
    }

    pub(crate) fn unmap(&mut self, iova: u64, size: Bytes) -> Raw {
        self.kernel.unmap(self.container, UnmapCall { iova: Iova::new(iova), size })
    }

    /// Where the TCE for an address points.
    pub(crate) fn tce(&self, iova: u64) -> Option<HostAddr> {
        self.machine.tce(self.container, Iova::new(iova)).map(|tce| tce.address)
    }

    /// TCEs that point into a region.
    pub(crate) fn mapped(&self, memory: MemoryRange) -> u64 {
        let regions = self.machine.regions();
        regions.iter().find(|region| region.range == memory).map_or(0, |region| region.mapped)
    }

    pub(crate) fn locked_kib(&self) -> u64 {
        self.machine.locked().raw() >> 10
    }
}

/// The part of a range from `offset` on.
pub(crate) fn part(memory: MemoryRange, offset: u64, size: u64) -> MemoryRange {
    MemoryRange { address: HostAddr::new(memory.address.raw() + offset), size: Bytes::new(size) }
}
