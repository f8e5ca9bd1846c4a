//! What an observer can tell of a world: equal views are one world.
//!
//! Handles and generations are left out, and so are counts of calls, what was told already, ended leases, and whether a
//! device may transfer: the engine goes by none of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use tce_engine::{
    Engine, WindowState,
    addr::Bytes,
    kernel::{GroupNumber, Kernel},
    lease::{EndCause, Lease, LeaseId, LeaseState},
};
use tce_sim::{MappedRun, TceAccess};

use super::{
    operation::{Group, Holder},
    world::{PAGE, Wanted, World},
};

/// Pages of a window that anything is ever mapped at.
pub(super) const PAGES: u64 = 4;

/// What a group is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Membership {
    Absent,
    /// Attached, without an open device.
    Unwatched,
    Watched,
}

/// The digest of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct View([u64; 2]);

/// What an engine says of a group.
pub(crate) fn membership<K: Kernel>(engine: &Engine<K>, group: GroupNumber) -> Membership {
    match engine.groups().find(|(number, _)| *number == group) {
        None => Membership::Absent,
        Some((_, 0)) => Membership::Unwatched,
        Some(_) => Membership::Watched,
    }
}

impl World {
    pub(super) fn membership(&self, group: Group) -> Membership {
        membership(self.engine(), self.number(group))
    }

    pub(super) fn view(&self) -> View {
        let mut seen = Vec::new();
        for group in Group::ALL {
            let Wanted { is_wanted, is_unread } = self.wanted(group);
            seen.push(match self.membership(group) {
                Membership::Absent => 0,
                Membership::Unwatched => 1,
                Membership::Watched => 2,
            });
            seen.extend([self.is_bound(group), is_wanted, is_unread].map(u64::from));
        }
        for state in self.engine().windows() {
            see_window(state, &mut seen);
        }
        seen.push(self.engine().windows().map(|_| 1).sum());
        self.see_machine(&mut seen);
        self.see_guest(&mut seen);
        for holder in Holder::ALL {
            match self.live(holder) {
                Some((id, lease)) => self.see_lease(id, lease, &mut seen),
                None => seen.push(0),
            }
        }
        // Twice, from different beginnings: too many worlds for 64 bits to tell them all apart for sure.
        View([1, 2].map(|beginning: u64| {
            let mut hasher = DefaultHasher::new();
            beginning.hash(&mut hasher);
            seen.hash(&mut hasher);
            hasher.finish()
        }))
    }

    /// The start of a window's pages, as the simulated hardware has them.
    pub(super) fn hardware(&self, state: &WindowState) -> Vec<MappedRun> {
        let size = Bytes::new(PAGES * PAGE.bytes().raw());
        self.machine.mapped_runs(self.container(), state.window().start, size, usize::MAX)
    }

    fn see_machine(&self, seen: &mut Vec<u64>) {
        for window in self.machine.windows(self.container()) {
            seen.extend([3, window.start.raw(), window.size.raw(), window.live_tces]);
        }
        for region in self.machine.regions() {
            seen.extend([4, region.range.address.raw(), region.mapped, region.users]);
        }
        for state in self.engine().windows() {
            for run in self.hardware(state) {
                let access = match run.access {
                    TceAccess::Read => 1,
                    TceAccess::Write => 2,
                    TceAccess::ReadWrite => 3,
                };
                let (memory, size) = (run.memory.address.raw(), run.memory.size.raw());
                seen.extend([5, run.iova.raw(), memory, size, access]);
            }
        }
        seen.push(self.machine.locked().raw());
        seen.push(u64::from(self.region().is_some()));
    }

    fn see_lease(&self, id: LeaseId, lease: &Lease, seen: &mut Vec<u64>) {
        let state = match lease.state {
            LeaseState::Active => 1,
            LeaseState::Lent => 2,
            LeaseState::Ending(cause) => 3 + cause_number(cause),
            LeaseState::Ended(_) => unreachable!("it is live"),
        };
        let groups = lease.groups.iter().map(|GroupNumber(number)| 1 << number);
        let claim = lease.home().claim;
        seen.extend([state, groups.sum(), claim.start.raw(), claim.size.raw()]);
        let is_part = lease.parent.is_some();
        seen.extend([u64::from(is_part), u64::from(lease.expires.is_some())]);
        seen.extend(lease.loan.map_or([0, 0], |loan| [1, u64::from(loan.table().is_some())]));
        seen.extend([lease.tces(), lease.lingering.tces(), lease.sublet.tces]);
        seen.push(self.engine().leases().parts_of(id).map(|_| 1).sum());
    }
}

fn see_window(state: &WindowState, seen: &mut Vec<u64>) {
    seen.extend([1, state.window().start.raw()]);
    for run in state.table().within(0, u64::MAX) {
        seen.extend([run.first, run.pages, run.target.address.raw()]);
    }
    for claim in state.quarantined() {
        seen.extend([2, claim.start.raw(), claim.size.raw()]);
    }
}

const fn cause_number(cause: EndCause) -> u64 {
    match cause {
        EndCause::Revoked => 0,
        EndCause::Expired => 1,
        EndCause::HolderGone => 2,
        EndCause::ParentEnded(_) => 3,
        EndCause::GroupLeft(GroupNumber(0)) => 4,
        EndCause::GroupLeft(_) => 5,
        EndCause::LastGroupLeft(GroupNumber(0)) => 6,
        EndCause::LastGroupLeft(_) => 7,
        EndCause::NotTakenByGuest => 8,
    }
}
