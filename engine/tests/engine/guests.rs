//! Leases lent to a guest of KVM's, which sets their TCEs with hypercalls that the kernel answers.

use tce_engine::{
    ChargeSubject, Error, LeaseRequest,
    access::Access,
    addr::{Bytes, GuestAddress, Iova, PageShift, Pages},
    errno::Errno,
    facts::Slot,
    guest::{LoanRefusal, LoanRequest, guest_table_charge},
    kernel::{GroupNumber, Kernel, MemoryRange, VmFd},
    lease::{EndCause, LeaseId, LeaseRefusal, LeaseState, News, Quota},
    machine::{HypercallExit, HypercallRegisters, Machine},
    papr::{GuestMemory, Liobn, NotGuestMemory, Placement, ReturnCode},
    region::{RegionId, RegionRefusal},
    window::WindowId,
};
use tce_sim::{Fault, Operation, Profile};

use crate::{
    bench::{Bench, HIGH, K4, K64, NOW, Tenant, assert_nothing_left, request},
    truth::assert_agreement,
};

const PAGE: u64 = 1 << 12;
const SIZE: Bytes = Bytes::mib(1);

/// A container with a virtual machine, whose memory from 0 on is a region.
struct Rig {
    bench: Bench,
    vm: VmFd,
    window: WindowId,
    region: RegionId,
    memory: MemoryRange,
}

fn loan(liobn: u32, page: PageShift) -> LoanRequest {
    LoanRequest { liobn: Liobn(liobn), page }
}

impl Rig {
    fn new(name: &str) -> Self {
        Self::with(name, |bench| bench.window(Slot::One, K4, Bytes::mib(64)))
    }

    fn with(name: &str, window: impl FnOnce(&mut Bench) -> WindowId) -> Self {
        let mut bench = Bench::named(name);
        let vm = bench.machine.kernel().create_vm().expect("there is KVM");
        let (region, memory) = bench.region(SIZE);
        bench.machine.set_guest_memory(vm, GuestAddress::new(0), memory).expect("whole pages");
        let window = window(&mut bench);
        bench.engine.link_guest(vm).expect("it has no link");
        Self { bench, vm, window, region, memory }
    }

    fn lease(&mut self) -> LeaseId {
        self.bench.try_lease(request(self.window, Bytes::mib(64))).expect("there is room")
    }

    fn put(&mut self, liobn: u32, iova: u64, tce: u64) -> HypercallExit {
        let call = HypercallRegisters::put_tce(liobn.into(), iova, tce);
        self.bench.machine.hypercall(self.vm, call).expect("it is a virtual machine")
    }

    #[track_caller]
    fn put_well(&mut self, liobn: u32, iova: u64, tce: u64) {
        let exit = self.put(liobn, iova, tce);
        assert_eq!(exit.code(), Some(ReturnCode::Success.register()));
    }

    /// The offset in guest memory that a device reaches at an address.
    fn reaches(&self, iova: u64) -> Option<u64> {
        let tce = self.bench.machine.tce(self.bench.container(), Iova::new(iova))?;
        Some(tce.address.offset_from(self.memory.address).expect("guest memory").raw())
    }

    fn close(self) {
        let Self { bench, vm, .. } = self;
        let Bench { machine, engine, .. } = bench;
        let closed = engine.close().expect("nothing fails");
        machine.kernel().close(vm.fd()).expect("it is open");
        assert_eq!(closed.locked, Bytes::ZERO);
        assert_nothing_left(&machine);
        assert_eq!(machine.host_warnings(), []);
    }
}

/// Guest memory that is one region, from address 0 on.
struct OneRegion(RegionId);

impl GuestMemory for OneRegion {
    fn locate(&self, at: GuestAddress, wanted: Bytes) -> Result<Placement, NotGuestMemory> {
        let left = SIZE.checked_sub(Bytes::new(at.raw())).ok_or(NotGuestMemory(at))?;
        let size = left.min(wanted);
        Ok(Placement { region: self.0, offset: Bytes::new(at.raw()), size })
    }

    fn read(&self, at: GuestAddress, _: &mut [u8]) -> Result<(), NotGuestMemory> {
        Err(NotGuestMemory(at))
    }

    fn guest_address(&self, _: RegionId, offset: Bytes) -> Option<GuestAddress> {
        Some(GuestAddress::new(offset.raw()))
    }
}

#[test]
fn a_guest_sets_what_is_lent_to_it_and_nobody_else_does() {
    let mut rig = Rig::new("powernv9");
    let lease = rig.lease();
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
    rig.put_well(7, HIGH + 3 * PAGE, 0x5003);
    assert_eq!(rig.reaches(HIGH + 3 * PAGE), Some(0x5000));
    let lent = Err(Error::Lease(LeaseRefusal::Lent(lease)));
    let claim = rig.bench.engine.leases().get(lease).expect("it is there").home().claim;
    let edit = tce_engine::edit::Edit::Unmap(claim);
    assert_eq!(rig.bench.engine.apply(lease, &[edit], NOW), lent);
    let region = rig.region;
    let refusal = RegionRefusal::Lent { region, lease };
    assert_eq!(rig.bench.engine.unregister(region), Err(Error::Region(refusal)));
    rig.bench.engine.remove_window(rig.window).expect_err("it is leased");
    rig.bench.engine.take_back(lease).expect("nothing fails");
    assert_eq!(rig.reaches(HIGH + 3 * PAGE), None);
    assert_eq!(rig.put(7, HIGH, 0x3003), HypercallExit::ToUserSpace);
    let mine = Tenant { lease, claim, window: rig.window, region, memory: rig.memory, page: K4 };
    rig.bench.apply(&mine, &[mine.map(0, 4, 0)]);
    assert_agreement(&rig.bench.machine, &rig.bench.engine);
    rig.close();
}

#[test]
fn after_a_revocation_the_guest_s_hypercalls_reach_nothing() {
    for again in [false, true] {
        let mut rig = Rig::new("powernv9");
        let lease = rig.lease();
        rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
        rig.put_well(7, HIGH, 0x5003);
        if again {
            rig.bench.machine.fail_next(Operation::Unmap, Fault::Value(1));
            rig.bench.engine.revoke(lease).expect_err("a call failed");
            // The guest is off before anything is unmapped.
            assert_eq!(rig.put(7, HIGH, 0x3003), HypercallExit::ToUserSpace);
            assert_eq!(rig.reaches(HIGH), Some(0x5000));
            rig.bench.engine.unregister(rig.region).expect_err("it may be mapped");
        }
        rig.bench.engine.revoke(lease).expect("nothing fails");
        assert_eq!(rig.put(7, HIGH, 0x3003), HypercallExit::ToUserSpace);
        assert_eq!(rig.reaches(HIGH), None);
        let state = rig.bench.engine.leases().get(lease).map(|lease| lease.state);
        assert_eq!(state, Ok(LeaseState::Ended(EndCause::Revoked)));
        rig.bench.engine.unregister(rig.region).expect("nothing points into it");
        rig.close();
    }
}

#[test]
fn all_that_is_lent_is_taken_down_with_the_last_group() {
    let mut rig = Rig::new("powernv9-64k");
    let lease = rig.lease();
    rig.bench.engine.lend(lease, &loan(7, K64)).expect("it fits");
    rig.put_well(7, HIGH + 0x2_0000, 0x3_0003);
    assert_eq!(rig.reaches(HIGH + 0x2_3000), Some(0x3_3000), "a page of the guest's is 16 TCEs");
    rig.bench.engine.detach(rig.bench.group).expect("nothing fails");
    assert_eq!(rig.put(7, HIGH, 0x3003), HypercallExit::ToUserSpace);
    rig.close();
}

#[test]
fn a_guest_s_table_charges_what_was_predicted() {
    for (name, page) in [("powernv9", K4), ("powernv9", K64), ("powernv9-64k", K64)] {
        let mut rig = Rig::new(name);
        let lease = rig.lease();
        rig.bench.engine.lend(lease, &loan(7, page)).expect("it fits");
        let charges = rig.bench.engine.charges().iter();
        let mut charges = charges.filter(|it| it.subject == ChargeSubject::GuestTable(lease));
        let charge = charges.next().expect("it was measured");
        assert_eq!(charge.predicted, charge.charged);
        assert!(!charge.charged.is_zero());
        rig.close();
    }
}

#[test]
fn what_kvm_would_not_take_is_refused_by_name_before_any_call() {
    let mut rig = Rig::new("powernv9");
    let (window, region) = (rig.window, rig.region);
    let part = |at: u64, pages: u64| LeaseRequest {
        at: Some(Iova::new(HIGH + at * PAGE)),
        ..request(window, Bytes::new(pages * PAGE))
    };
    let check = |rig: &mut Rig, wanted: LeaseRequest, request: LoanRequest| {
        let lease = rig.bench.try_lease(wanted).expect("there is room");
        let calls = rig.bench.calls();
        let Err(Error::Loan(refusal)) = rig.bench.engine.lend(lease, &request) else {
            panic!("{request:?} was taken")
        };
        assert_eq!(rig.bench.calls(), calls, "{refusal}");
        rig.bench.engine.revoke(lease).expect("nothing fails");
        refusal
    };
    let refusal = check(&mut rig, part(1, 16), loan(7, K4));
    assert!(matches!(refusal, LoanRefusal::NotAtStart { .. }), "{refusal}");
    let refusal = check(&mut rig, part(0, 15), loan(7, K64));
    assert!(matches!(refusal, LoanRefusal::NotWholePages { .. }), "{refusal}");
    let wanted = LeaseRequest { access: Access::Read, ..part(0, 16) };
    assert!(matches!(check(&mut rig, wanted, loan(7, K4)), LoanRefusal::Terms(_)));
    let wanted = LeaseRequest { quota: Quota::of_tces(15), ..part(0, 16) };
    assert!(matches!(check(&mut rig, wanted, loan(7, K4)), LoanRefusal::Terms(_)));
    let second = rig.bench.window(Slot::Zero, K64, Bytes::gib(1));
    let refusal = check(&mut rig, request(second, Bytes::mib(1)), loan(7, K4));
    assert_eq!(refusal, LoanRefusal::SmallPage { page: K4, window: K64 });
    // Something is mapped there.
    let lease = rig.bench.try_lease(part(0, 16)).expect("there is room");
    let claim = rig.bench.engine.leases().get(lease).expect("it is there").home().claim;
    let tenant = Tenant { window, lease, claim, region, memory: rig.memory, page: K4 };
    rig.bench.apply(&tenant, &[tenant.map(3, 2, 0)]);
    let refused = rig.bench.engine.lend(lease, &loan(7, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Loan(LoanRefusal::InUse { lease, tces: 2 })));
    rig.bench.apply(&tenant, &[tenant.unmap(3, 2)]);
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("nothing speaks against it");
    let refused = rig.bench.engine.lend(lease, &loan(8, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::Lent(lease))));
    let other = rig.bench.try_lease(request(second, Bytes::mib(1))).expect("there is room");
    let refused = rig.bench.engine.lend(other, &loan(7, K64)).map(|_| ());
    assert_eq!(refused, Err(Error::Loan(LoanRefusal::BusTaken(Liobn(7)))));
    let refused = rig.bench.engine.take_back(other);
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::NotLent(other))));
    rig.close();
}

#[test]
fn a_lease_in_two_windows_is_lent_when_it_is_in_one_again() {
    let mut rig = Rig::new("powernv9");
    let second = rig.bench.window(Slot::Zero, K4, Bytes::gib(1));
    let lease = rig.bench.try_lease(request(rig.window, SIZE)).expect("there is room");
    rig.bench.engine.extend_lease(lease, second, None, SIZE).expect("there is room");
    let calls = rig.bench.calls();
    let refused = rig.bench.engine.lend(lease, &loan(7, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::TwoParts(lease))));
    assert_eq!(rig.bench.calls(), calls);
    rig.bench.engine.give_up_part(lease, second).expect("nothing fails");
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it is in one window");
    rig.close();
}

#[test]
fn what_is_quarantined_counts_once_against_a_loan() {
    let mut rig = Rig::new("powernv9");
    let (window, region, memory) = (rig.window, rig.region, rig.memory);
    let lease = rig.bench.try_lease(request(window, SIZE)).expect("there is room");
    let claim = rig.bench.engine.leases().get(lease).expect("it is there").home().claim;
    let tenant = Tenant { window, lease, claim, region, memory, page: K4 };
    rig.bench.apply(&tenant, &[tenant.map(0, 2, 0), tenant.map(9, 1, 9)]);
    let half_way = Fault::AfterTces { count: 3, errno: Errno::EIO };
    rig.bench.machine.fail_nth(Operation::Map, 1, half_way);
    rig.bench.machine.fail_nth(Operation::Map, 2, Fault::Errno(Errno::EIO));
    let edit = [tenant.map(0, 4, 20)];
    rig.bench.engine.apply(lease, &edit, NOW).expect_err("a call failed, and its undoing");
    // Four are not known, two of which the table has, and one is set beside them.
    let refused = rig.bench.engine.lend(lease, &loan(7, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Loan(LoanRefusal::InUse { lease, tces: 5 })));
    rig.bench.engine.revoke(lease).expect("nothing fails now");
    rig.close();
}

#[test]
fn without_a_virtual_machine_nothing_is_lent() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    let refused = bench.engine.lend(tenant.lease, &loan(7, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Loan(LoanRefusal::NoGuest)));
    let vm = bench.machine.kernel().create_vm().expect("there is KVM");
    bench.engine.link_guest(vm).expect("it has no link");
    assert_eq!(bench.engine.link_guest(vm), Err(Error::Loan(LoanRefusal::HasGuest)));
    bench.machine.kernel().close(vm.fd()).expect("it is open");
    bench.close();
}

/// Two windows, both lent.
fn two_loans(rig: &mut Rig) -> [LeaseId; 2] {
    let second = rig.bench.window(Slot::Zero, K4, Bytes::gib(1));
    let first = rig.lease();
    let second = rig.bench.try_lease(request(second, Bytes::gib(1))).expect("there is room");
    rig.bench.engine.lend(first, &loan(7, K4)).expect("it fits");
    rig.bench.engine.lend(second, &loan(8, K4)).expect("it fits");
    // Each table once: what KVM was given twice, it would hold on to.
    assert_eq!(rig.bench.machine.calls(Operation::AttachGuestTable), 2);
    rig.put_well(7, HIGH, 0x5003);
    rig.put_well(8, 0x1000, 0x6003);
    [first, second]
}

#[test]
fn what_stays_lent_works_on_when_another_lease_is_taken_back() {
    let mut rig = Rig::new("powernv9");
    let [first, second] = two_loans(&mut rig);
    rig.bench.engine.take_back(first).expect("nothing fails");
    assert_eq!((rig.reaches(HIGH), rig.reaches(0x1000)), (None, Some(0x6000)));
    rig.put_well(8, 0x2000, 0x7003);
    assert_eq!(rig.reaches(0x2000), Some(0x7000));
    rig.bench.engine.revoke(second).expect("nothing fails");
    assert_eq!(rig.reaches(0x2000), None);
    rig.close();
}

#[test]
fn a_lease_that_kvm_does_not_take_again_ends_rather_than_being_a_guest_s_in_vain() {
    let mut rig = Rig::new("powernv9");
    let [first, second] = two_loans(&mut rig);
    rig.bench.machine.fail_next(Operation::AttachGuestTable, Fault::Errno(Errno::ENOMEM));
    rig.bench.engine.take_back(first).expect("this one is taken back");
    assert_eq!(rig.put(8, 0x2000, 0x7003), HypercallExit::ToUserSpace);
    assert_eq!(rig.reaches(0x1000), None);
    let events = rig.bench.engine.take_events();
    let ends: Vec<_> = events.iter().map(|it| (it.lease, it.news.clone())).collect();
    assert_eq!(ends, [(second, News::Ended(EndCause::NotTakenByGuest))]);
    let Rig { bench, vm, .. } = rig;
    bench.engine.close().expect("nothing fails");
    bench.machine.kernel().close(vm.fd()).expect("it is open");
    assert_nothing_left(&bench.machine);
}

#[test]
fn a_loan_that_fails_at_any_call_leaves_the_lease_as_it_was() {
    for operation in [
        Operation::CreateGuestTable,
        Operation::AddGroup,
        Operation::AttachGuestTable,
        Operation::LockedMemory,
    ] {
        let mut rig = Rig::new("powernv9");
        let lease = rig.lease();
        rig.bench.machine.fail_next(operation, Fault::Errno(Errno::ENOMEM));
        rig.bench.engine.lend(lease, &loan(7, K4)).expect_err("a call failed");
        assert_eq!(rig.put(7, HIGH, 0x3003), HypercallExit::ToUserSpace, "{operation:?}");
        let state = rig.bench.engine.leases().get(lease).map(|lease| lease.state);
        assert_eq!(state, Ok(LeaseState::Active), "{operation:?}");
        rig.bench.engine.lend(lease, &loan(7, K4)).expect("nothing fails any more");
        rig.put_well(7, HIGH, 0x5003);
        let Rig { bench, vm, .. } = rig;
        bench.engine.close().expect("nothing fails");
        bench.machine.kernel().close(vm.fd()).expect("it is open");
        assert_nothing_left(&bench.machine);
    }
}

#[test]
fn the_default_window_is_made_before_it_is_lent() {
    let mut rig = Rig::with("powernv9", Bench::default_window);
    let (window, size) = (rig.window, rig.bench.engine.facts().expect("a group").default_window);
    let lease = rig.bench.try_lease(request(window, size)).expect("there is room");
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
    rig.put_well(7, 0x1000, 0x5003);
    assert_eq!(rig.reaches(0x1000), Some(0x5000));
    rig.close();
}

fn join(rig: &mut Rig) -> GroupNumber {
    rig.bench.join()
}

#[test]
fn what_a_guest_had_mapped_is_there_again_after_a_group_has_left() {
    let mut rig = Rig::new("powernv9");
    let other = join(&mut rig);
    let lease = rig.lease();
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
    for at in 0..4 {
        rig.put_well(7, HIGH + at * PAGE, ((at + 2) * PAGE) | 3);
    }
    rig.put_well(7, HIGH + 700 * PAGE, (9 * PAGE) | 1);
    let refused = rig.bench.engine.part(other).map(|_| ());
    assert_eq!(refused, Err(Error::Loan(LoanRefusal::WouldLose(lease))));
    let memory = OneRegion(rig.region);
    let restored = rig.bench.engine.part_from_guest(other, &memory).expect("nothing fails");
    assert_eq!((restored.tces, restored.map_calls), (5, 2));
    let reached: Vec<_> = (0..4).map(|at| rig.reaches(HIGH + at * PAGE)).collect();
    assert_eq!(reached, [2, 3, 4, 5].map(|page| Some(page * PAGE)));
    assert_eq!(rig.reaches(HIGH + 700 * PAGE), Some(9 * PAGE));
    // The guest goes on.
    rig.put_well(7, HIGH, 0);
    rig.put_well(7, HIGH + 8 * PAGE, (3 * PAGE) | 3);
    assert_eq!((rig.reaches(HIGH), rig.reaches(HIGH + 8 * PAGE)), (None, Some(3 * PAGE)));
    rig.bench.engine.revoke(lease).expect("nothing fails");
    assert_eq!(rig.bench.machine.live_tces(), 0);
    rig.close();
}

#[test]
fn a_guest_keeps_its_leases_when_a_group_could_not_leave() {
    let mut rig = Rig::new("powernv9");
    let other = join(&mut rig);
    let lease = rig.lease();
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
    rig.put_well(7, HIGH, 0x5003);
    for operation in [Operation::UnsetContainer, Operation::ReadGuestTable, Operation::DeleteGroup]
    {
        rig.bench.machine.fail_next(operation, Fault::Errno(Errno::EIO));
        let memory = OneRegion(rig.region);
        rig.bench.engine.part_from_guest(other, &memory).expect_err("a call failed");
        assert_eq!(rig.reaches(HIGH), Some(0x5000), "{operation:?}");
        rig.put_well(7, HIGH + PAGE, 0x6003);
        assert_eq!(rig.reaches(HIGH + PAGE), Some(0x6000), "{operation:?}");
    }
    rig.bench.engine.surrender(other).expect("nothing fails");
    let ends: Vec<_> =
        rig.bench.engine.take_events().iter().filter_map(|event| event.end()).collect();
    assert_eq!(ends, [EndCause::GroupLeft(other)]);
    assert_eq!(rig.reaches(HIGH), None);
    rig.close();
}

#[test]
fn a_lease_in_two_windows_is_not_lent() {
    let mut rig = Rig::new("powernv9");
    let second = rig.bench.window(Slot::Zero, K4, Bytes::gib(1));
    let lease = rig.lease();
    rig.bench.engine.extend_lease(lease, second, None, SIZE).expect("there is room");
    let refused = rig.bench.engine.lend(lease, &loan(7, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Lease(LeaseRefusal::TwoParts(lease))));
    rig.close();
}

/// The kernel takes no unmap of such a container, so no lease could be taken back.
#[test]
fn nothing_is_lent_before_memory_is_registered() {
    let mut bench = Bench::named("powernv9");
    let vm = bench.machine.kernel().create_vm().expect("there is KVM");
    let window = bench.window(Slot::One, K4, Bytes::mib(64));
    bench.engine.link_guest(vm).expect("it has no link");
    let lease = bench.try_lease(request(window, Bytes::mib(64))).expect("there is room");
    let calls = bench.calls();
    let refused = bench.engine.lend(lease, &loan(7, K4)).map(|_| ());
    assert_eq!(refused, Err(Error::Loan(LoanRefusal::NothingRegistered)));
    assert_eq!(bench.calls(), calls);
    bench.region(SIZE);
    bench.engine.lend(lease, &loan(7, K4)).expect("there is memory");
    bench.engine.take_back(lease).expect("nothing fails");
    bench.machine.kernel().close(vm.fd()).expect("it is open");
    bench.close();
}

#[test]
fn a_guest_s_table_that_the_limit_would_not_hold_is_refused_before_the_call() {
    let limit = Bytes::mib(9);
    let mut bench = Bench::new(Profile::powernv9().with_locked_limit(limit));
    let vm = bench.machine.kernel().create_vm().expect("there is KVM");
    let window = bench.window(Slot::Zero, K4, Bytes::gib(2));
    bench.region(Bytes::kib(64));
    bench.engine.link_guest(vm).expect("it has no link");
    let whole = bench.try_lease(request(window, Bytes::gib(2))).expect("there is room");
    let calls = bench.calls();
    let refused = bench.engine.lend(whole, &loan(7, K4)).map(|_| ());
    let needed = guest_table_charge(Pages::new(1 << 19), K4).expect("it has a charge");
    let locked = bench.engine.locked().expect("it can be read").locked;
    let charged = locked.saturating_add(Bytes::mib(8));
    let refusal = LoanRefusal::LockedMemory { needed, charged, limit };
    assert_eq!(refused, Err(Error::Loan(refusal)));
    assert_eq!(bench.calls(), calls);
    bench.engine.revoke(whole).expect("nothing fails");
    let part = bench.try_lease(request(window, Bytes::mib(64))).expect("there is room");
    bench.engine.lend(part, &loan(7, K4)).expect("there is room for its table");
    bench.engine.take_back(part).expect("nothing fails");
    bench.machine.kernel().close(vm.fd()).expect("it is open");
    bench.close();
}

#[test]
fn an_engine_that_is_dropped_leaves_no_table_of_a_guest_s() {
    let mut rig = Rig::new("powernv9");
    let lease = rig.lease();
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
    let Rig { bench, vm, .. } = rig;
    let Bench { machine, engine, .. } = bench;
    drop(engine);
    machine.kernel().close(vm.fd()).expect("it is open");
    assert_nothing_left(&machine);
}

#[test]
fn what_a_failed_registration_has_registered_stays_where_a_guest_may_have_mapped_it() {
    let mut rig = Rig::new("powernv9");
    let lease = rig.lease();
    rig.bench.engine.lend(lease, &loan(7, K4)).expect("it fits");
    let more = rig.bench.memory(SIZE, tce_engine::machine::Backing::Anonymous);
    let at = GuestAddress::new(1 << 30);
    rig.bench.machine.set_guest_memory(rig.vm, at, more).expect("whole pages");
    let half = Bytes::new(SIZE.raw() / 2);
    let mut registration =
        rig.bench.engine.register_in_chunks(more, K4, half).expect("it can be registered");
    rig.bench.engine.advance(&mut registration).expect("nothing fails");
    rig.put_well(7, HIGH, (1 << 30) | 3);
    rig.bench.machine.fail_next(Operation::Register, Fault::Errno(Errno::ENOMEM));
    let error = rig.bench.engine.advance(&mut registration).expect_err("a call failed");
    let Error::Registration(failure) = error else { panic!("{error}") };
    let region = failure.region;
    assert_eq!(failure.left, half);
    assert_eq!(failure.second, Error::Region(RegionRefusal::Lent { region, lease }));
    rig.bench.engine.take_back(lease).expect("nothing fails");
    rig.bench.engine.unregister(region).expect("nothing points into it");
    rig.close();
}

#[test]
fn a_taking_back_that_failed_gives_the_guest_the_others_again_or_ends_them() {
    let mut rig = Rig::new("powernv9");
    let [first, second] = two_loans(&mut rig);
    rig.bench.machine.fail_next(Operation::AttachGuestTable, Fault::Errno(Errno::ENOMEM));
    rig.bench.machine.fail_nth(Operation::DeleteGroup, 2, Fault::Errno(Errno::EIO));
    rig.bench.engine.take_back(first).expect_err("two calls failed");
    rig.bench.engine.take_back(first).expect("nothing fails any more");
    let state = rig.bench.engine.leases().get(second).map(|lease| lease.state);
    assert_eq!(state, Ok(LeaseState::Ended(EndCause::NotTakenByGuest)));
    assert_eq!(rig.put(8, 0x2000, 0x7003), HypercallExit::ToUserSpace);
    assert_eq!(rig.reaches(0x1000), None);
    let Rig { bench, vm, .. } = rig;
    bench.engine.close().expect("nothing fails");
    bench.machine.kernel().close(vm.fd()).expect("it is open");
    assert_nothing_left(&bench.machine);
}
