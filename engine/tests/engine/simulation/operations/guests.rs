//! Leases are lent to a guest and taken back, and the guest sets TCEs by itself.

use tce_engine::{
    Error, LeaseRequest, Restored,
    access::Access,
    addr::{Bytes, HostAddr},
    guest::LoanRequest,
    kernel::VmFd,
    lease::{EndCause, LeaseId, LeaseState, Quota},
    machine::{HypercallExit, HypercallRegisters, Machine},
    papr::{Liobn, ReturnCode},
};

use crate::{
    bench::request,
    simulation::{
        guest::{Lent, READ, WRITE, guest_pages},
        run::{BLOCK, BLOCKS, MEMORY, Run},
        sights::Sight,
    },
    worlds::{Membership, membership},
};

/// Numbers of the guest's tables.
const LIOBNS: u64 = 3;
/// Where the guest puts its lists: nothing else is in memory but what devices write.
const LIST: u64 = 64 << 10;

impl Run {
    pub(super) fn link_guest(&mut self) -> Result<(), Error> {
        let Some(vm) = self.guest.vm else { return Ok(()) };
        self.engine.link_guest(vm)
    }

    /// Leases the start of a window, which is what KVM takes, and lends it.
    pub(super) fn lease_and_lend(&mut self) -> Result<(), Error> {
        let (Some(_), Some(id)) = (self.guest.vm, self.any_window()) else { return Ok(()) };
        let Some(window) = self.window(id) else { return Ok(()) };
        let pages = (16 * (1 + self.dice.roll(8))).min(window.tces().raw());
        let wanted = LeaseRequest {
            holder: self.holder(),
            at: Some(window.start),
            groups: self.groups(),
            unmapping: self.unmapping(),
            ..request(id, Bytes::new(window.page.bytes().raw() * pages))
        };
        self.take_lease(id, wanted)?;
        let lease = self.leases.last().copied().expect("it was just made");
        // This far there were calls.
        match self.lend_lease(lease) {
            Err(Error::Loan(_)) => Ok(()),
            lent => lent,
        }
    }

    pub(super) fn lend(&mut self) -> Result<(), Error> {
        if self.guest.vm.is_none() {
            return Ok(());
        }
        let Some(lease) = self.any_lease(Self::is_lendable) else { return Ok(()) };
        self.lend_lease(lease)
    }

    fn is_lendable(&self, id: LeaseId) -> bool {
        let Ok(lease) = self.engine.leases().get(id) else { return false };
        let is_at_start = self
            .window(lease.home().window)
            .is_some_and(|window| window.start == lease.home().claim.start);
        is_at_start
            && lease.state == LeaseState::Active
            && lease.tces() == 0
            && lease.access == Access::ReadWrite
            && lease.quota == Quota::NONE
    }

    fn lend_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        let known = self.engine.leases().get(id).ok().map(|lease| *lease.home());
        let page = known.and_then(|part| self.window(part.window)).map(|window| window.page);
        let pages = guest_pages(page.unwrap_or(crate::bench::K4));
        let liobn = u32::try_from(self.dice.roll(LIOBNS)).expect("it is small");
        let page = self.dice.pick(&pages).expect("there are some");
        let request = LoanRequest { liobn: Liobn(liobn), page };
        let was_lent = self.guest.lent.contains_key(&id);
        let calls = self.calls();
        let lent = self.engine.lend(id, &request).map(|_| ());
        let is_refused = matches!(lent, Err(Error::Loan(_) | Error::Lease(_)));
        assert!(!is_refused || self.calls() == calls, "{lent:?}");
        self.guest.may_return = Some(id);
        if self.loan_of(id).is_some() && !was_lent {
            let part = known.expect("it is lent");
            let window = self.window(part.window).expect("it is leased");
            self.guest.lent.insert(id, Lent::new(&request, &part, &window));
        }
        self.guest.is_certain |= lent.is_ok();
        self.saw_if(lent.is_ok(), Sight::Lent);
        self.saw_if(matches!(lent, Err(Error::Fault(_))), Sight::LendingFailed);
        self.saw_if(matches!(lent, Err(Error::Loan(_))), Sight::LendingRefused);
        lent
    }

    pub(super) fn take_back(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_lease(|run, id| run.guest.lent.contains_key(&id)) else {
            return Ok(());
        };
        self.guest.may_return = Some(id);
        self.begin_quiet();
        let back = self.engine.take_back(id);
        if back.is_ok() {
            self.guest.is_certain = true;
            self.saw(Sight::TakenBack);
            let untaken = LeaseState::Ending(EndCause::NotTakenByGuest);
            let left = self.engine.leases().live().filter(|(_, lease)| lease.state == untaken);
            assert_eq!(left.count(), 0, "what KVM has not taken again has ended");
        }
        self.saw_if(matches!(back, Err(Error::Fault(_))), Sight::TakingBackFailed);
        back
    }

    /// One of several groups leaves, and the guest keeps what it has.
    pub(super) fn part_from_guest(&mut self) -> Result<(), Error> {
        let (group, memory) = (self.any_group(), self.guest_memory());
        let (before, was_there) = (self.leases_of(group), self.engine.facts().is_some());
        let was_attached = membership(&self.engine, group) != Membership::Absent;
        let held = self.held_beside(group);
        self.begin_quiet();
        let parted = self.engine.part_from_guest(group, &memory);
        let is_gone = membership(&self.engine, group) == Membership::Absent;
        if was_there && was_attached && is_gone {
            self.note_guest_restored(&held, &memory);
        }
        if let Ok(Restored { tces, .. }) = parted {
            self.guest.is_certain = true;
            let in_tables = self.engine.windows().map(|state| state.table().tces()).sum::<u64>();
            // A lease that KVM did not take again is cleared once more.
            let is_all_taken = !self.watch.borrow().has_link_failed;
            assert!(!is_all_taken || in_tables + self.guest.tces() == tces, "all is there again");
            self.saw_if(self.guest.tces() > 0, Sight::GuestRestored);
        }
        self.note_parted(group, &before, parted.map(|_| ()))
    }

    /// The guest runs, and nobody is told what it does.
    pub(super) fn run_guest(&mut self) -> Result<(), Error> {
        let Some(vm) = self.guest.vm else { return Ok(()) };
        for _ in 0..=self.dice.roll(4) {
            let liobn = u32::try_from(self.dice.roll(LIOBNS)).expect("it is small");
            let lent = self.guest.lent.iter().find(|(_, lent)| lent.liobn == liobn);
            let id = lent.map(|(id, _)| *id);
            let held = id.filter(|id| self.loan_of(*id).is_some_and(|it| it.table().is_some()));
            match held {
                Some(id) => self.run_guest_in(vm, id),
                None => {
                    let call = HypercallRegisters::put_tce(liobn.into(), 0, READ);
                    let exit = self.machine.hypercall(vm, call).expect("it is there");
                    assert_eq!(exit, HypercallExit::ToUserSpace, "table {liobn} is nobody's");
                }
            }
        }
        Ok(())
    }

    fn run_guest_in(&mut self, vm: VmFd, id: LeaseId) {
        let lent = &self.guest.lent[&id];
        let (liobn, page, tces) = (u64::from(lent.liobn), lent.page, lent.tces);
        let first = self.dice.roll(tces);
        let count = 1 + self.dice.roll((tces - first).min(20));
        let at = lent.claim(first).start.raw();
        let (call, put, sight) = match self.dice.roll(8) {
            0 => {
                let call = HypercallRegisters::stuff_tce(liobn, at, 0, count);
                (call, vec![0; number(count)], Sight::GuestStuffed)
            }
            1 | 2 => {
                let list: Vec<u64> = (0..count).map(|_| self.guest_tce(page)).collect();
                let bytes: Vec<u8> = list.iter().flat_map(|tce| tce.to_be_bytes()).collect();
                let place = HostAddr::new(MEMORY + LIST);
                self.machine.write_memory(place, &bytes).expect("it is ours");
                let call = HypercallRegisters::put_tce_indirect(liobn, at, LIST, count);
                (call, list, Sight::GuestListed)
            }
            3 => (HypercallRegisters::put_tce(liobn, at, 0), vec![0], Sight::GuestPut),
            _ => {
                let tce = self.guest_tce(page);
                (HypercallRegisters::put_tce(liobn, at, tce), vec![tce], Sight::GuestPut)
            }
        };
        let exit = self.machine.hypercall(vm, call).expect("it is there");
        self.touched = Some(id);
        if exit.code() != Some(ReturnCode::Success.register()) {
            return;
        }
        let (is_followed, platform) = (self.is_followed(id), self.engine.system().platform);
        let lent = self.guest.lent.get_mut(&id).expect("it is lent");
        for (index, tce) in (first..).zip(&put) {
            lent.put(index, *tce, platform, is_followed);
        }
        if is_followed {
            let count = u64::try_from(put.len()).expect("it is small");
            self.watch.borrow_mut().is_right(lent.claim(first).start, page * count);
        }
        self.saw(sight);
    }

    /// A TCE that maps some page of the guest's: few of them, and now and then none at all.
    fn guest_tce(&mut self, page: u64) -> u64 {
        let odd =
            if self.dice.one_in(60) { self.dice.roll(u64::MAX / 2) & !(READ | WRITE) } else { 0 };
        let access = self.dice.pick(&[READ, WRITE, READ | WRITE]).expect("there are some");
        let block = self.dice.roll(BLOCKS) * BLOCK;
        let within = self.dice.roll((BLOCK / page).min(6)) * page;
        (block + within).wrapping_add(odd) | access
    }
}

fn number(count: u64) -> usize {
    usize::try_from(count).expect("it is small")
}
