//! Looking at the machine, without its noticing.

use tce_engine::{
    addr::{Bytes, Iova, PageShift},
    kernel::{ContainerFd, DescriptorKind, Fd, GroupNumber, MemoryRange},
};

use super::SimMachine;
use crate::{
    eeh::PeState,
    fault::Operation,
    inspect::{
        GuestTableView, HostCorrupted, HostWarning, LeftBehind, MappedRun, RegionView, TceView,
        WindowView,
    },
};

impl SimMachine {
    /// Faults that were ordered and have not met their call.
    #[must_use]
    pub fn faults_waiting(&self) -> usize {
        self.lock().tally.waiting()
    }

    /// Calls of an operation so far, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().tally.calls(operation)
    }

    /// Calls of all operations so far.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.lock().tally.all_calls()
    }

    /// TCEs written so far, exchanged ones and those of failed maps included.
    #[must_use]
    pub fn tces_set(&self) -> u64 {
        self.lock().tally.tces_set
    }

    /// TCEs cleared so far, by whatever did it.
    #[must_use]
    pub fn tces_cleared(&self) -> u64 {
        self.lock().tally.tces_cleared
    }

    /// The first call that would have broken a real kernel.
    #[must_use]
    pub fn host_corruption(&self) -> Option<HostCorrupted> {
        self.lock().log.corruptions.first().cloned()
    }

    /// Warnings that a real kernel would have written into its log, each once, in the order of their first time.
    #[must_use]
    pub fn host_warnings(&self) -> Vec<HostWarning> {
        self.lock().log.warnings.clone()
    }

    /// Whether some PE of a partition has given up dynamic windows until the next boot (`failed_ddw_pdn_list`). What
    /// runs on such a machine afterwards differs from what runs on a fresh one.
    #[must_use]
    pub fn partition_spoiled(&self) -> bool {
        self.lock().is_partition_spoiled()
    }

    /// TCEs of a container that point into a piece of memory of the process it is bound to.
    #[must_use]
    pub fn mapped_of(&self, container: ContainerFd, memory: MemoryRange) -> u64 {
        self.lock().mapped_of(container, memory)
    }

    /// The longest runs of a container's TCEs whose pages touch a range of bus addresses, in ascending order, and no
    /// more than `max`.
    #[must_use]
    pub fn mapped_runs(
        &self,
        container: ContainerFd,
        start: Iova,
        size: Bytes,
        max: usize,
    ) -> Vec<MappedRun> {
        self.lock().mapped_runs(container, (start, size), max)
    }

    /// The windows of a container; none without a backend.
    #[must_use]
    pub fn windows(&self, container: ContainerFd) -> Vec<WindowView> {
        self.lock().windows(container)
    }

    /// The TCE for an address.
    #[must_use]
    pub fn tce(&self, container: ContainerFd, iova: Iova) -> Option<TceView> {
        self.lock().tce(container, iova)
    }

    /// TCEs that are set, in all containers.
    #[must_use]
    pub fn live_tces(&self) -> u64 {
        self.lock().live_tces()
    }

    /// Memory that is registered, by any container, in ascending order.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionView> {
        self.lock().regions(self.process())
    }

    /// Guests' TCE tables, by number (LIOBN), of all virtual machines.
    #[must_use]
    pub fn guest_tables(&self) -> Vec<GuestTableView> {
        self.lock().kvm.table_views()
    }

    /// How many files links to virtual machines hold: groups that KVM was told of.
    #[must_use]
    pub fn linked_files(&self) -> usize {
        self.lock().kvm.linked_files()
    }

    /// Open descriptors, in ascending order.
    #[must_use]
    pub fn descriptors(&self) -> Vec<(Fd, DescriptorKind)> {
        self.lock().open_descriptors()
    }

    /// Locked memory of the process.
    #[must_use]
    pub fn locked(&self) -> Bytes {
        self.lock().mms.get(self.process()).locked.bytes()
    }

    /// What the process still holds, for a test that nothing is left.
    #[must_use]
    pub fn left_behind(&self) -> LeftBehind {
        self.lock().left_behind(self.process())
    }

    /// Huge pages of a size that are free.
    #[must_use]
    pub fn free_huge_pages(&self, page: PageShift) -> u64 {
        self.lock().mms.get(self.process()).memory.free_huge_pages(page)
    }

    /// The state of a group's PE.
    #[must_use]
    pub fn pe_state(&self, group: GroupNumber) -> Option<PeState> {
        self.lock().endpoints.get(group).map(|endpoint| endpoint.state)
    }
}
