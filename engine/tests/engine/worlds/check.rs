//! What must hold in each world.

use std::collections::{BTreeMap, BTreeSet};

use tce_engine::{
    Error, WindowState,
    addr::{Bytes, HostAddr, Iova},
    error::EditRefusal,
    facts::Slot,
    kernel::{DescriptorKind, Kernel, Raw},
    lease::{Lease, LeaseId, LeaseState},
    machine::Machine,
    region::RegionRefusal,
};
use tce_sim::{Operation as KernelCall, RegionView};

use crate::bench::assert_nothing_left;

use super::{
    operation::{Group, Holder},
    view::Membership,
    world::{NOW, PAGE, World},
};

impl World {
    pub(super) fn check(&self) {
        assert_eq!(self.machine.host_corruption(), None);
        self.check_warnings();
        self.check_backend();
        self.check_groups();
        self.check_owners();
        self.check_hardware();
        self.check_regions();
        self.check_descriptors();
        self.check_guest();
    }

    /// KVM warns of a group that is taken from it without ever having had a table, which one that failed leaves behind.
    fn check_warnings(&self) {
        let can_lack_table = self.has_failed(KernelCall::AttachGuestTable);
        let warnings = self.machine.host_warnings().into_iter();
        let unknown = warnings.filter(|it| !(can_lack_table && it.what.contains("never had")));
        assert_eq!(unknown.collect::<Vec<_>>(), Vec::new());
    }

    /// No lease is usable without its backend: the kernel has one, and the lease's window in it.
    fn check_backend(&self) {
        let has_backend = self.machine.kernel().info(self.container()).raw == Raw::OK;
        assert_eq!(has_backend, self.engine().facts().is_some(), "there is a backend");
        let there: Vec<_> = self.machine.windows(self.container());
        for (id, lease) in self.engine().leases().live() {
            assert!(has_backend, "{id} is {:?} without a backend", lease.state);
            for part in &lease.parts {
                let mut known = self.engine().windows();
                let state = known.find(|state| state.window().id == part.window);
                let state = state.unwrap_or_else(|| panic!("{id} is in a window that is gone"));
                let window = there.iter().find(|it| it.start == state.window().start);
                let is_promised = part.window.slot == Slot::Zero;
                assert!(window.is_some() || is_promised, "the kernel has no window of {id}");
                assert!(window.is_some() || part.tces == 0, "{id} has TCEs in no window");
            }
        }
    }

    /// No lease is for a group that is not there, or for none. One that the kernel failed to let go is there still,
    /// without a device.
    fn check_groups(&self) {
        for (id, lease) in self.engine().leases().live() {
            assert!(!lease.groups.is_empty(), "{id} is for no group");
            let is_mine = |group: &Group| lease.groups.contains(&self.number(*group));
            for group in Group::ALL.into_iter().filter(is_mine) {
                let is_there = self.membership(group) != Membership::Absent;
                assert!(is_there && self.is_bound(group), "{id} is for {group:?}, which is gone");
            }
        }
    }

    /// Each TCE of the tables is of one lease that has not ended, and counted by it.
    fn check_owners(&self) {
        for state in self.engine().windows() {
            let mut counted: BTreeMap<LeaseId, u64> = BTreeMap::new();
            for page in pages_of(state) {
                let owners = self.engine().leases().live().filter(|(id, lease)| {
                    let is_in = |it: &Lease| {
                        it.part(state.window().id)
                            .is_some_and(|part| part.run.first() <= page && page < part.run.end())
                    };
                    let mut parts = self.engine().leases().parts_of(*id);
                    is_in(lease) && !parts.any(|(_, part)| is_in(part))
                });
                let owners: Vec<LeaseId> = owners.map(|(id, _)| id).collect();
                assert_eq!(owners.len(), 1, "TCE {page} of {} is of {owners:?}", state.window().id);
                *counted.entry(owners[0]).or_insert(0) += 1;
            }
            for (id, lease) in self.engine().leases().live() {
                let tces = lease.part(state.window().id).map_or(0, |part| part.tces);
                assert_eq!(tces, counted.remove(&id).unwrap_or(0), "TCEs of {id}");
            }
        }
    }

    /// Beside what is quarantined, the hardware has what the tables have.
    fn check_hardware(&self) {
        let mut known = 0;
        for state in self.engine().windows() {
            let page = PAGE.bytes().raw();
            let there = self.hardware(state).into_iter().flat_map(|run| {
                (0..run.memory.size.raw() / page)
                    .map(move |n| (run.iova.raw() + n * page, run.memory.address.raw() + n * page))
            });
            let there: BTreeMap<u64, u64> = there.collect();
            known += there.len();
            let runs = state.table().within(0, u64::MAX).flat_map(|run| {
                let iova = state.window().iova_of(run.first).raw();
                (0..run.pages).map(move |n| (iova + n * page, run.target.address.raw() + n * page))
            });
            let table: BTreeMap<u64, u64> = runs.collect();
            let all: BTreeSet<u64> = there.keys().chain(table.keys()).copied().collect();
            for at in all.into_iter().filter(|at| !is_quarantined(state, *at)) {
                let is_lent = self.lent_at(at).is_some();
                let is_right = is_lent || there.get(&at) == table.get(&at);
                assert!(is_right, "{at:#x}: {:?} in the hardware", there.get(&at));
            }
        }
        let live = usize::try_from(self.machine.live_tces()).expect("it is small");
        assert_eq!(live, known, "no TCE is set where nobody leases");
    }

    /// No region is unregistered under a TCE, in the table or in the hardware, and none has leaked.
    fn check_regions(&self) {
        let there = self.machine.regions();
        let is_pinned = |at: HostAddr| {
            let inside = |start: HostAddr, size: Bytes| {
                at.offset_from(start).is_some_and(|offset| offset < size)
            };
            there.iter().any(|it| it.owners > 0 && inside(it.range.address, it.range.size))
        };
        for state in self.engine().windows() {
            let table = state.table().within(0, u64::MAX).map(|run| run.target.address);
            let hardware = self.hardware(state).into_iter().map(|run| run.memory.address);
            for at in table.chain(hardware) {
                assert!(is_pinned(at), "{at} is unregistered under a TCE");
            }
        }
        assert!(!there.iter().any(RegionView::has_leaked), "{there:?} leaked");
        let known = self.engine().regions().into_iter().flat_map(|regions| regions.iter());
        let known: Vec<_> = known.collect();
        assert_eq!(there.len(), known.len(), "the kernel has {there:?}");
        let tces: u64 = known.iter().map(|(_, region)| region.tces).sum();
        let tables = self.engine().windows().map(|state| state.table().tces());
        assert_eq!(tces, tables.sum::<u64>(), "the region's count");
    }

    /// The container, a descriptor of each group that is attached, and of the device of each that is watched.
    fn check_descriptors(&self) {
        let open = self.machine.descriptors();
        let count = |kind| open.iter().filter(|(_, it)| *it == kind).count();
        let groups = Group::ALL.map(|group| self.membership(group));
        let attached = groups.iter().filter(|it| **it != Membership::Absent).count();
        let watched = groups.iter().filter(|it| **it == Membership::Watched).count();
        let live = self.engine().leases().live();
        let tables = live.filter(|(_, it)| it.loan.is_some_and(|loan| loan.table().is_some()));
        assert_eq!(count(DescriptorKind::GuestTable), tables.count(), "guests' tables");
        assert!(count(DescriptorKind::KvmVfio) <= 1, "links to the guest");
        assert_eq!(count(DescriptorKind::Container), 1);
        assert_eq!(count(DescriptorKind::Group), attached, "descriptors of groups");
        assert_eq!(count(DescriptorKind::Device), watched, "descriptors of devices");
    }

    /// Who has a lease that is active can use it, and nobody else can; then everything is closed, and nothing is left.
    pub(super) fn use_and_close(mut self) {
        for holder in Holder::ALL {
            self.use_lease(holder);
            self.use_loan(holder);
        }
        let live: Vec<LeaseId> = self.engine().leases().live().map(|(id, _)| id).collect();
        let closed = self.take_engine().close().expect("nothing fails any more");
        for id in live {
            let ends = closed.events.iter().filter(|it| it.lease == id && it.end().is_some());
            assert_eq!(ends.count(), 1, "the end of {id} is told");
        }
        assert_eq!((closed.locked, closed.pinned), (Bytes::ZERO, Bytes::ZERO));
        self.assert_guest_reaches_nothing();
        self.machine.kernel().close(self.vm.fd()).expect("it is open");
        assert_nothing_left(&self.machine);
    }

    fn use_lease(&mut self, holder: Holder) {
        let Some((id, lease)) = self.live(holder) else { return };
        let (state, start) = (lease.state, lease.home().claim.start);
        let Some(edit) = self.map_of(lease) else { return };
        let used = self.engine_mut().apply(id, &[edit], NOW);
        match (state, used) {
            (LeaseState::Active, Ok(_)) => {
                let there = self.machine.tce(self.container(), start);
                assert!(there.is_some(), "{id} is used, and has nothing at {start}");
            }
            (LeaseState::Active, Err(Error::Edit(EditRefusal::Quarantined { .. }))) => {
                assert!(self.quarantines() > 0);
            }
            (LeaseState::Active, Err(Error::Edit(EditRefusal::Region { refusal, .. }))) => {
                assert!(matches!(refusal, RegionRefusal::Leaving { .. }), "{refusal}");
            }
            (LeaseState::Active, used) => panic!("{id} is of no use: {used:?}"),
            (_, used) => assert!(used.is_err(), "{id} is {state:?}, and used"),
        }
    }
}

/// TCEs that a table has.
fn pages_of(state: &WindowState) -> impl Iterator<Item = u64> {
    state.table().within(0, u64::MAX).flat_map(|run| run.first..run.end())
}

fn is_quarantined(state: &WindowState, at: u64) -> bool {
    state.quarantined().any(|claim| {
        Iova::new(at).offset_from(claim.start).is_some_and(|offset| offset < claim.size)
    })
}
