//! A machine with an engine on it, and memory of any make.

use tce_engine::{
    ChargeSubject, Engine, Error,
    access::Access,
    addr::{Bytes, HostAddr, Iova, PageShift},
    edit::Edit,
    facts::Slot,
    kernel::{ContainerFd, MAP_READ, MAP_WRITE, MapCall, MemoryRange, Raw, UnmapCall},
    lease::LeaseId,
    machine::{Backing, Machine},
    region::{BackedPart, RegionId, RegionRequest},
    window::Claim,
};
use tce_sim::{Operation, Profile, SimKernel, SimMachine};

use crate::bench::{Bench, K4, NOW, request};

pub(crate) const M2: PageShift = PageShift::M2;
pub(crate) const M16: PageShift = PageShift::M16;
pub(crate) const G1: PageShift = PageShift::G1;
/// Where tests put their memory: a border of every page.
pub(crate) const MEMORY: u64 = 0x7100_0000_0000;
/// Profiles that differ in what memory is like.
pub(crate) const PROFILES: [&str; 4] = ["powernv9", "powernv9-64k", "powernv8", "pseries-64k"];
/// TCEs of the window, and of its lease.
const TCES: u64 = 1 << 12;

/// An engine with a window, and a lease of all of it.
pub(crate) struct MemoryBench {
    pub(crate) machine: SimMachine,
    pub(crate) engine: Engine<SimKernel>,
    pub(crate) page: PageShift,
    claim: Claim,
    lease: LeaseId,
}

impl MemoryBench {
    /// One whose window has pages of 4K.
    pub(crate) fn named(name: &str) -> Self {
        Self::new(Profile::named(name).expect("it is a known name"), K4)
    }

    pub(crate) fn new(profile: Profile, page: PageShift) -> Self {
        let mut bench = Bench::new(profile);
        let size = Bytes::new(TCES << page.raw());
        let window = bench.window(Slot::One, page, size);
        let lease = bench.try_lease(request(window, size)).expect("there is room");
        let Bench { machine, engine, .. } = bench;
        let claim = engine.leases().get(lease).expect("it was just made").home().claim;
        Self { machine, engine, page, claim, lease }
    }

    pub(crate) fn container(&self) -> ContainerFd {
        ContainerFd::new(self.engine.descriptor())
    }

    pub(crate) fn system_page(&self) -> PageShift {
        self.engine.system().page_shift
    }

    /// Calls of an operation so far.
    pub(crate) fn calls(&self, operation: Operation) -> u64 {
        self.machine.calls(operation)
    }

    /// Puts memory at an address.
    pub(crate) fn place(&mut self, address: u64, size: Bytes, backing: Backing) -> MemoryRange {
        self.machine.place(HostAddr::new(address), size, backing).expect("nothing is there")
    }

    /// Anonymous memory.
    pub(crate) fn memory(&mut self, size: Bytes) -> MemoryRange {
        self.place(MEMORY, size, Backing::Anonymous)
    }

    /// Anonymous memory, 2M pages and anonymous memory again, one behind the other, as a request.
    pub(crate) fn mixed(&mut self) -> RegionRequest {
        let (system_page, size) = (self.system_page(), Bytes::mib(4));
        let backings = [Backing::Anonymous, Backing::Hugetlb(M2), Backing::Anonymous];
        let mut at = MEMORY;
        let parts = backings.map(|backing| {
            self.place(at, size, backing);
            at += size.raw();
            let page = if backing == Backing::Hugetlb(M2) { M2 } else { system_page };
            BackedPart { size, page }
        });
        RegionRequest::mixed(HostAddr::new(MEMORY), parts.to_vec())
    }

    fn iova(&self, index: u64) -> Iova {
        let offset = Bytes::new(index << self.page.raw());
        self.claim.start.checked_add(offset).expect("inside the lease")
    }

    /// Maps memory of a region from the window's TCE `index` on.
    pub(crate) fn map(
        &mut self,
        index: u64,
        region: RegionId,
        offset: Bytes,
        size: Bytes,
    ) -> Result<(), Error> {
        let (iova, access) = (self.iova(index), Access::ReadWrite);
        let edit = Edit::Map { iova, region, offset, size, access };
        self.engine.apply(self.lease, &[edit], NOW).map(|_| ())
    }

    /// Unmaps all.
    pub(crate) fn unmap_all(&mut self) {
        let edit = Edit::Unmap(self.claim);
        self.engine.apply(self.lease, &[edit], NOW).expect("nothing speaks against it");
    }

    /// What the kernel itself says to a map, and unmaps what it mapped.
    pub(crate) fn map_unchecked(&mut self, address: HostAddr, size: Bytes) -> Raw {
        use tce_engine::kernel::Kernel;
        let (container, iova) = (self.container(), self.iova(0));
        let mut kernel = self.machine.kernel();
        let call = MapCall { flags: MAP_READ | MAP_WRITE, address, iova, size };
        let result = kernel.map(container, call);
        if result == Raw::OK {
            assert_eq!(kernel.unmap(container, UnmapCall { iova, size }), Raw::OK);
        }
        result
    }

    /// The kernel has the pieces that the engine knows, each once and as large-paged as the engine believes; they cost
    /// what was predicted; and nothing leaked.
    #[track_caller]
    pub(crate) fn assert_agreement(&self) {
        let regions: Vec<_> = self.engine.regions().into_iter().flat_map(|it| it.iter()).collect();
        let pieces = regions.iter().flat_map(|(_, region)| region.registered_pieces());
        let mut ours: Vec<_> = pieces.map(|it| (it.range, it.page.raw(), 1)).collect();
        ours.sort_unstable();
        let there = self.machine.regions();
        assert!(there.iter().all(|region| !region.has_leaked()), "{there:?}");
        let mapped: u64 = there.iter().map(|region| region.mapped).sum();
        let there: Vec<_> = there.iter().map(|it| (it.range, it.page_shift, it.owners)).collect();
        assert_eq!(there, ours);
        assert_eq!(mapped, regions.iter().map(|(_, region)| region.tces).sum::<u64>());
        let charges = self.engine.charges().iter();
        let of_regions = charges.filter(|it| matches!(it.subject, ChargeSubject::Region(_)));
        of_regions.for_each(|charge| assert_eq!(charge.predicted, charge.charged));
        let registered: u64 = ours.iter().map(|(range, ..)| range.size.raw()).sum();
        let tables = self.machine.windows(self.container()).into_iter();
        let tables: u64 = tables.map(|window| window.charge.raw()).sum();
        assert_eq!(self.machine.locked(), Bytes::new(registered + tables));
        assert_eq!(self.machine.host_corruption(), None);
    }

    /// Closes the engine and checks that nothing is left but the memory, which is the test's own.
    #[track_caller]
    pub(crate) fn close(self) {
        let Self { machine, engine, .. } = self;
        let closed = engine.close().expect("nothing fails");
        assert_eq!((closed.locked, closed.pinned), (Bytes::ZERO, Bytes::ZERO));
        let left = machine.left_behind();
        assert_eq!((left.descriptors, left.regions, left.live_tces), (Vec::new(), Vec::new(), 0));
    }
}
