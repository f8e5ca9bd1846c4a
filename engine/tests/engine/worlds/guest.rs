//! A guest of KVM's: its table for each holder's lease has one page that it sets and clears.

use tce_engine::{
    Error,
    addr::{Bytes, GuestAddress, Iova},
    guest::LoanRequest,
    kernel::GroupNumber,
    lease::{LeaseId, LeaseState},
    machine::{HypercallExit, HypercallRegisters, Machine},
    papr::{GuestMemory, Liobn, NotGuestMemory, Placement, ReturnCode},
    region::RegionId,
};

use super::{
    operation::{Group, Holder, Operation},
    view::Membership,
    world::{MEMORY, PAGE, World, of},
};

/// The page of a lease that is lent, as the guest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LentPage {
    lease: LeaseId,
    iova: u64,
    /// Whether the guest has set it, and whether the hardware should have it.
    pub(super) is_set: bool,
    pub(super) is_in_hardware: bool,
}

/// The guest's page that it maps.
const MAPPED: u64 = 0x5000;
const READ_WRITE: u64 = 3;

const fn liobn(holder: Holder) -> u32 {
    match holder {
        Holder::First => 1,
        Holder::Second => 2,
    }
}

/// Guest memory that is one region, from address 0 on, if it is registered.
struct OneRegion(Option<RegionId>);

impl GuestMemory for OneRegion {
    fn locate(&self, at: GuestAddress, wanted: Bytes) -> Result<Placement, NotGuestMemory> {
        let left = MEMORY.size.checked_sub(Bytes::new(at.raw())).ok_or(NotGuestMemory(at))?;
        let region = self.0.ok_or(NotGuestMemory(at))?;
        Ok(Placement { region, offset: Bytes::new(at.raw()), size: left.min(wanted) })
    }

    fn read(&self, at: GuestAddress, _: &mut [u8]) -> Result<(), NotGuestMemory> {
        Err(NotGuestMemory(at))
    }

    fn guest_address(&self, _: RegionId, offset: Bytes) -> Option<GuestAddress> {
        Some(GuestAddress::new(offset.raw()))
    }
}

impl World {
    pub(super) fn lend(&mut self, holder: Holder) -> Result<(), Error> {
        let Some((id, lease)) = self.live(holder) else { return Ok(()) };
        let iova = lease.home().claim.start.raw();
        let vm = self.vm;
        if self.engine().facts().is_some() && !self.has_link() {
            self.ask(|engine| engine.link_guest(vm))?;
        }
        let request = LoanRequest { liobn: Liobn(liobn(holder)), page: PAGE };
        let was_lent = self.guest[of(holder)].is_some();
        let lent = self.ask(|engine| engine.lend(id, &request).map(|_| ()));
        if !was_lent && self.is_lent(id) {
            let page = LentPage { lease: id, iova, is_set: false, is_in_hardware: false };
            self.guest[of(holder)] = Some(page);
        }
        lent
    }

    fn has_link(&self) -> bool {
        let open = self.machine.descriptors();
        open.iter().any(|(_, kind)| *kind == tce_engine::kernel::DescriptorKind::KvmVfio)
    }

    fn is_lent(&self, id: LeaseId) -> bool {
        self.engine().leases().get(id).is_ok_and(|lease| lease.loan.is_some())
    }

    /// Whether a lease is a guest's, and KVM has it. One call that failed is never enough to keep it from that.
    fn is_followed(&self, id: LeaseId) -> bool {
        self.engine().leases().get(id).is_ok_and(|lease| {
            lease.state == LeaseState::Lent && lease.loan.is_some_and(|it| it.table().is_some())
        })
    }

    fn hypercall(&mut self, holder: Holder, iova: u64, tce: u64) -> HypercallExit {
        let call = HypercallRegisters::put_tce(liobn(holder).into(), iova, tce);
        self.machine.hypercall(self.vm, call).expect("it is there")
    }

    pub(super) fn guest_puts(&mut self, holder: Holder) {
        let Some(page) = self.guest[of(holder)] else { return };
        let tce = if page.is_set { 0 } else { MAPPED | READ_WRITE };
        let exit = self.hypercall(holder, page.iova, tce);
        if exit.code() != Some(ReturnCode::Success.register()) {
            return;
        }
        let is_set = !page.is_set;
        let is_followed = self.is_followed(page.lease);
        let is_in_hardware = if is_followed { is_set } else { page.is_in_hardware };
        self.guest[of(holder)] = Some(LentPage { is_set, is_in_hardware, ..page });
    }

    pub(super) fn part_from_guest(&mut self, group: Group) -> Result<(), Error> {
        let (number, memory): (GroupNumber, _) = (self.number(group), OneRegion(self.region()));
        let was_there = self.membership(group) != Membership::Absent;
        let parted = self.ask(|engine| engine.part_from_guest(number, &memory));
        if was_there && self.membership(group) == Membership::Absent {
            for page in self.guest.iter_mut().flatten() {
                page.is_in_hardware = page.is_set;
            }
        }
        parted.map(|_| ())
    }

    /// What is not lent any more. Where KVM has let go, the hardware may have less from then on.
    pub(super) fn follow_guest(&mut self, operation: Operation) {
        for holder in Holder::ALL {
            let Some(page) = self.guest[of(holder)] else { continue };
            let lease = self.engine().leases().get(page.lease);
            let is_back = lease.is_ok_and(|lease| lease.state == LeaseState::Active);
            let may_return = [Operation::TakeBack(holder), Operation::Lend(holder)];
            assert!(!is_back || may_return.contains(&operation), "{} is lent no more", page.lease);
            if !self.is_lent(page.lease) {
                self.guest[of(holder)] = None;
            } else if !self.is_followed(page.lease) {
                let is_there = self.reaches(page.iova);
                assert!(page.is_in_hardware || page.is_set || !is_there, "{page:?} is there");
                self.guest[of(holder)] = Some(LentPage { is_in_hardware: is_there, ..page });
            }
        }
    }

    fn reaches(&self, iova: u64) -> bool {
        self.machine.tce(self.container(), Iova::new(iova)).is_some()
    }

    /// The lease that is lent there.
    pub(super) fn lent_at(&self, iova: u64) -> Option<LeaseId> {
        self.guest.iter().flatten().find(|page| page.iova == iova).map(|page| page.lease)
    }

    /// What is lent is the guest's: the hardware has what the guest has set, unless nobody knows, and KVM follows.
    pub(super) fn check_guest(&self) {
        for holder in Holder::ALL {
            let Some(page) = self.guest[of(holder)] else { continue };
            let Ok(lease) = self.engine().leases().get(page.lease) else { continue };
            let mut windows = self.engine().windows();
            let state = windows.find(|state| state.window().id == lease.home().window);
            let mut unknown = state.into_iter().flat_map(|state| state.quarantined());
            let is_known = !unknown.any(|claim| claim.start.raw() == page.iova);
            let is_right = self.reaches(page.iova) == page.is_in_hardware;
            assert!(is_right || !is_known, "{page:?} of the guest's in the hardware");
            if self.is_followed(page.lease) {
                let mut tables = self.machine.guest_tables().into_iter();
                let table = tables.find(|table| table.liobn == u64::from(liobn(holder)));
                assert!(table.is_some_and(|it| it.references > 0), "{} is in vain", page.lease);
            }
        }
    }

    /// The guest can use what it has, and only that.
    pub(super) fn use_loan(&mut self, holder: Holder) {
        let (page, has_memory) = (self.guest[of(holder)], self.region().is_some());
        match page.filter(|page| self.is_followed(page.lease)) {
            Some(page) if has_memory => {
                let exit = self.hypercall(holder, page.iova, MAPPED | READ_WRITE);
                assert_eq!(exit.code(), Some(ReturnCode::Success.register()), "{page:?}");
                assert!(self.reaches(page.iova), "{page:?} is set in vain");
            }
            _ => {}
        }
    }

    /// After all is closed.
    pub(super) fn assert_guest_reaches_nothing(&mut self) {
        for holder in Holder::ALL {
            let exit = self.hypercall(holder, 0, MAPPED | READ_WRITE);
            assert_eq!(exit, HypercallExit::ToUserSpace, "a table of the guest's is left");
        }
    }

    pub(super) fn see_guest(&self, seen: &mut Vec<u64>) {
        for table in self.machine.guest_tables() {
            seen.extend([6, table.liobn, table.references]);
        }
        seen.extend([7, u64::try_from(self.machine.linked_files()).expect("they are few")]);
        seen.push(u64::from(self.has_link()));
        for page in self.guest {
            let seen_of =
                |page: LentPage| [1, u64::from(page.is_set), u64::from(page.is_in_hardware)];
            seen.extend(page.map_or([0; 3], seen_of));
        }
    }
}
