//! A guest of KVM's that runs beside the engine: what it has set by itself, and what the hardware should have of it.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, GuestAddress, HostAddr, PageShift},
    guest::{Loan, LoanRequest, guest_table_charge},
    kernel::{GroupNumber, Kernel, MemoryRange, Platform, VmFd},
    lease::{LeaseId, LeasePart, LeaseState},
    machine::Machine,
    papr::{GuestMemory, NotGuestMemory, Placement},
    region::{RegionId, RegionState},
    window::{Claim, Window},
};
use tce_sim::{SimMachine, TceAccess, TceView};

use super::{
    model::iova,
    run::{BLOCK, BLOCKS, MEMORY, Run},
};

/// Permissions in a guest's TCE.
pub(super) const READ: u64 = 1;
pub(super) const WRITE: u64 = 2;

/// A lease that is lent, as its guest has it.
pub(super) struct Lent {
    pub(super) liobn: u32,
    pub(super) start: u64,
    /// Bytes of the guest's page, and of the window's.
    pub(super) page: u64,
    hardware_page: u64,
    /// How many the guest has.
    pub(super) tces: u64,
    /// What the guest has set, by number.
    set: BTreeMap<u64, u64>,
    /// What the hardware should have, by bus address.
    pub(super) hardware: BTreeMap<u64, TceView>,
}

impl Lent {
    pub(super) fn new(request: &LoanRequest, part: &LeasePart, window: &Window) -> Self {
        let page = request.page.bytes().raw();
        Self {
            liobn: request.liobn.0,
            start: part.claim.start.raw(),
            page,
            hardware_page: window.page.bytes().raw(),
            tces: part.claim.size.raw() / page,
            set: BTreeMap::new(),
            hardware: BTreeMap::new(),
        }
    }

    pub(super) fn claim(&self, index: u64) -> Claim {
        Claim { start: iova(self.start + index * self.page), size: Bytes::new(self.page) }
    }

    fn size(&self) -> Bytes {
        Bytes::new(self.tces * self.page)
    }

    /// The hardware's TCEs for one of the guest's.
    fn behind(&self, index: u64, tce: u64, platform: Platform) -> Vec<(u64, TceView)> {
        let Some(access) = access_of(tce, platform) else { return Vec::new() };
        let (at, address) = (self.start + index * self.page, MEMORY + tce - tce % self.page);
        let parts = 0..self.page / self.hardware_page;
        let part = |n: u64| {
            let address = HostAddr::new(address + n * self.hardware_page);
            (at + n * self.hardware_page, TceView { address, access })
        };
        parts.map(part).collect()
    }

    /// The guest has set one: the hardware follows if KVM has it.
    pub(super) fn put(&mut self, index: u64, tce: u64, platform: Platform, is_followed: bool) {
        self.set.remove(&index);
        if tce & (READ | WRITE) != 0 {
            self.set.insert(index, tce);
        }
        if is_followed {
            let at = self.start + index * self.page;
            self.hardware.retain(|iova, _| !(at..at + self.page).contains(iova));
            self.hardware.extend(self.behind(index, tce, platform));
        }
    }

    /// After every TCE was cleared, what the guest has set is there again, but for memory that is not registered.
    fn restore(&mut self, memory: &RegisteredMemory, platform: Platform) -> Vec<Claim> {
        let takes = |tce: u64| memory.takes(tce - tce % self.page, self.page, self.hardware_page);
        let is_known = |(_, tce): &(&u64, &u64)| takes(**tce);
        let known = self.set.iter().filter(is_known);
        let lost = self.set.iter().filter(|it| !is_known(it));
        let behind = known.flat_map(|(at, tce)| self.behind(*at, *tce, platform)).collect();
        let lost = lost.map(|(at, _)| self.claim(*at)).collect();
        self.hardware = behind;
        lost
    }
}

fn access_of(tce: u64, platform: Platform) -> Option<TceAccess> {
    match (tce & READ != 0, tce & WRITE != 0, platform) {
        (false, false, _) => None,
        (true, false, _) => Some(TceAccess::Read),
        (false, true, Platform::Pseries) => Some(TceAccess::Write),
        _ => Some(TceAccess::ReadWrite),
    }
}

/// The virtual machine and what it has.
pub(super) struct Guest {
    /// `None` where there is no KVM.
    pub(super) vm: Option<VmFd>,
    pub(super) lent: BTreeMap<LeaseId, Lent>,
    /// No call for KVM has failed since all that is lent was last given to it.
    pub(super) is_certain: bool,
    /// The lease that this step may take from the guest without its end.
    pub(super) may_return: Option<LeaseId>,
}

impl Guest {
    /// All memory is the guest's, from its address 0 on.
    pub(super) fn new(machine: &mut SimMachine) -> Self {
        let vm = machine.kernel().create_vm().ok();
        if let Some(vm) = vm {
            let size = Bytes::new(BLOCKS * BLOCK);
            let memory = MemoryRange { address: HostAddr::new(MEMORY), size };
            machine.set_guest_memory(vm, GuestAddress::new(0), memory).expect("whole pages");
            machine.enable_multi_tce(vm).expect("KVM can");
        }
        Self { vm, lent: BTreeMap::new(), is_certain: true, may_return: None }
    }

    pub(super) fn tces(&self) -> u64 {
        self.lent.values().map(|lent| u64::try_from(lent.hardware.len()).expect("it fits")).sum()
    }
}

/// Where the guest's memory is registered.
pub(super) struct RegisteredMemory {
    /// Regions: from, to.
    regions: Vec<(RegionId, u64, u64)>,
    /// Their pieces: from, to, with the largest page that each takes.
    pieces: Vec<(u64, u64, u64)>,
}

impl RegisteredMemory {
    /// Whether a window with pages of so many bytes can have a range of guest memory, in one region.
    fn takes(&self, at: u64, size: u64, page: u64) -> bool {
        let is_in_one =
            self.regions.iter().any(|(_, start, end)| *start <= at && at + size <= *end);
        let mut touched = self.pieces.iter().filter(|it| it.0 < at + size && at < it.1);
        is_in_one && touched.all(|(_, _, largest)| page <= *largest)
    }
}

impl GuestMemory for RegisteredMemory {
    fn locate(&self, at: GuestAddress, wanted: Bytes) -> Result<Placement, NotGuestMemory> {
        let found = self.regions.iter().find(|(_, start, end)| (*start..*end).contains(&at.raw()));
        let (region, start, end) = *found.ok_or(NotGuestMemory(at))?;
        let size = Bytes::new(end - at.raw()).min(wanted);
        Ok(Placement { region, offset: Bytes::new(at.raw() - start), size })
    }

    fn read(&self, at: GuestAddress, _: &mut [u8]) -> Result<(), NotGuestMemory> {
        Err(NotGuestMemory(at))
    }

    fn guest_address(&self, region: RegionId, offset: Bytes) -> Option<GuestAddress> {
        let (_, start, _) = self.regions.iter().find(|(id, ..)| *id == region)?;
        Some(GuestAddress::new(start + offset.raw()))
    }
}

impl Run {
    pub(super) fn guest_memory(&self) -> RegisteredMemory {
        let all: Vec<_> =
            self.engine.regions().into_iter().flat_map(|regions| regions.iter()).collect();
        let whole = all.into_iter().filter(|(_, region)| region.state() == RegionState::Registered);
        let place = |(id, region): (RegionId, &tce_engine::region::Region)| {
            let start = region.range.address.raw() - MEMORY;
            (id, start, start + region.range.size.raw())
        };
        let regions: Vec<(RegionId, u64, u64)> = whole.clone().map(place).collect();
        let pieces = whole.flat_map(|(_, region)| region.registered_pieces()).map(|piece| {
            let start = piece.range.address.raw() - MEMORY;
            (start, start + piece.range.size.raw(), piece.page.bytes().raw())
        });
        RegisteredMemory { regions, pieces: pieces.collect() }
    }

    pub(super) fn loan_of(&self, lease: LeaseId) -> Option<Loan> {
        self.engine.leases().get(lease).ok()?.loan
    }

    /// Whether the hardware follows what the guest sets.
    pub(super) fn is_followed(&self, lease: LeaseId) -> bool {
        let is_lent =
            self.engine.leases().get(lease).is_ok_and(|lease| lease.state == LeaseState::Lent);
        let has_table = self.loan_of(lease).is_some_and(|loan| loan.table().is_some());
        is_lent && has_table && self.guest.is_certain
    }

    /// The leases that the guest has, but for those that end with a group.
    pub(super) fn held_beside(&self, group: GroupNumber) -> Vec<LeaseId> {
        let live = self.engine.leases().live();
        let held = live.filter(|(_, lease)| {
            let has_table = lease.loan.is_some_and(|loan| loan.table().is_some());
            lease.state == LeaseState::Lent && has_table && lease.groups != [group]
        });
        held.map(|(id, _)| id).collect()
    }

    /// A group has left: the guest has what it had, but for what cannot be made, of which it is told.
    pub(super) fn note_guest_restored(&mut self, held: &[LeaseId], memory: &RegisteredMemory) {
        let platform = self.engine.system().platform;
        for (id, lent) in &mut self.guest.lent {
            if held.contains(id) {
                self.lost.extend(lent.restore(memory, platform));
            } else {
                lent.hardware.clear();
            }
        }
    }

    /// What is no longer lent, and what the hardware has where KVM may not have followed.
    pub(super) fn follow_guest(&mut self) {
        let ids: Vec<LeaseId> = self.guest.lent.keys().copied().collect();
        for id in ids {
            let state = self.engine.leases().get(id).map(|lease| lease.state);
            if self.loan_of(id).is_none() {
                let is_back = state == Ok(LeaseState::Active);
                assert!(!is_back || self.guest.may_return == Some(id), "{id} is lent no more");
                self.guest.lent.remove(&id);
                self.touched = Some(id);
            } else if self.is_followed(id) {
                let liobn = u64::from(self.guest.lent[&id].liobn);
                let mut tables = self.machine.guest_tables().into_iter();
                let table = tables.find(|table| table.liobn == liobn);
                assert!(table.is_some_and(|it| it.references > 0), "{id} is a guest's in vain");
            } else {
                self.follow_hardware(id);
            }
        }
    }

    /// The hardware may have less than the guest has set, or what it had when KVM left it, but nothing else.
    fn follow_hardware(&mut self, id: LeaseId) {
        let platform = self.engine.system().platform;
        let lent = &self.guest.lent[&id];
        let there = self.tces_of((iova(lent.start), lent.size()), lent.hardware_page);
        let set: BTreeMap<u64, TceView> =
            lent.set.iter().flat_map(|(at, tce)| lent.behind(*at, *tce, platform)).collect();
        for (at, tce) in &there {
            let is_known = set.get(at) == Some(tce) || lent.hardware.get(at) == Some(tce);
            assert!(is_known, "the guest of {id} has nothing at {}, but {tce:?}", iova(*at));
        }
        self.guest.lent.get_mut(&id).expect("it is lent").hardware = there;
    }

    /// What the guest's tables charge.
    pub(super) fn guest_charge(&self) -> u64 {
        let page = self.engine.system().page_shift;
        let open = self.engine.leases().live().filter_map(|(_, lease)| lease.loan);
        let open = open.filter(|loan| loan.table().is_some());
        let charge = |loan: Loan| guest_table_charge(loan.tces(), page).expect("it is small");
        open.map(|loan| charge(loan).raw()).sum()
    }
}

/// Pages that a guest may have for a window's.
pub(super) fn guest_pages(window: PageShift) -> [PageShift; 4] {
    [window, window, window, window.max(PageShift::K64)]
}
