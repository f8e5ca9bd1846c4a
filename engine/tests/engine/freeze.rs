//! PEs that EEH froze: told once, recovered in order and from where it stopped, with mappings untouched.

use tce_engine::{
    Error,
    access::Access,
    addr::{Bytes, HostAddr, Iova, PageShift},
    edit::Edit,
    errno::Errno,
    error::DeviceRefusal,
    freeze::{FreezeRefusal, PeState, RecoveryStep},
    kernel::{DeviceSpace, Kernel, MemoryRange},
    lease::{LeaseId, LeaseRefusal, News},
    machine::{Backing, Machine, MemoryRequest},
    window::WindowId,
};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{NOW, assert_nothing_left},
    devices::{has_reset, is_marked, lease, map, mark, try_lease, window, without_reset},
    witness::{Record, Witnessed},
};

/// Registers and commands of the `edu`.
const BUFFER: u64 = 0x40000;
const TO_DEVICE: u32 = 1;
const TO_MEMORY: u32 = 3;

/// A container with so many groups, and a lease of `one`.
fn leased(groups: usize, record: Record) -> (Witnessed, WindowId, LeaseId) {
    let mut bench = Witnessed::new("powernv9", groups, record);
    let window = window(&mut bench);
    let lease = lease(&mut bench, window, "one");
    bench.seen();
    (bench, window, lease)
}

fn news(bench: &mut Witnessed) -> Vec<(LeaseId, News)> {
    bench.engine.take_events().into_iter().map(|event| (event.lease, event.news)).collect()
}

fn freeze(bench: &Witnessed, at: usize) {
    bench.machine.freeze(bench.machine.groups()[at]);
}

/// Lets the first `edu` fetch 8 bytes from one bus address and bring them to another.
fn transfer(bench: &Witnessed, from: Iova, to: Iova) {
    let mut kernel = bench.machine.kernel();
    let mut write = |at, bytes: &[u8]| {
        let written = kernel.write_device(bench.devices[0], DeviceSpace::Bar(0), at, bytes);
        written.expect("it answers");
    };
    for (command, source, target) in
        [(TO_DEVICE, from.raw(), BUFFER), (TO_MEMORY, BUFFER, to.raw())]
    {
        for (register, value) in [(0x80, source), (0x88, target), (0x90, 8)] {
            write(register, &value.to_be_bytes());
        }
        write(0x98, &command.to_be_bytes());
    }
}

fn text_at(bench: &mut Witnessed, address: HostAddr) -> [u8; 8] {
    let mut text = [0; 8];
    bench.machine.read_memory(address, &mut text).expect("it is ours");
    text
}

/// Two pages of memory mapped at the start of a lease.
fn two_pages(bench: &mut Witnessed, lease: LeaseId) -> (MemoryRange, [Iova; 2], [HostAddr; 2]) {
    let request =
        MemoryRequest { size: Bytes::kib(8), backing: Backing::Anonymous, align: PageShift::K64 };
    let memory = bench.machine.allocate(&request).expect("there is memory");
    let page = bench.engine.system().page_shift;
    let region = bench.engine.register(memory, page).expect("it can be pinned");
    let iova = bench.engine.leases().get(lease).expect("it is there").home().claim.start;
    let (offset, access) = (Bytes::ZERO, Access::ReadWrite);
    let edit = Edit::Map { iova, region, offset, size: memory.size, access };
    bench.engine.apply(lease, &[edit], NOW).expect("nothing speaks against it");
    let step = Bytes::kib(4);
    let far = iova.checked_add(step).expect("inside the lease");
    let behind = memory.address.checked_add(step).expect("inside the memory");
    (memory, [iova, far], [memory.address, behind])
}

#[test]
fn every_lease_is_told_of_a_freeze_once_whichever_group_it_strikes() {
    for struck in 0..2 {
        let (mut bench, window, first) = leased(2, Record::default());
        let second = lease(&mut bench, window, "two");
        assert_eq!(bench.engine.check_frozen(), Ok(PeState::Normal));
        assert_eq!(news(&mut bench), []);
        freeze(&bench, struck);
        for _ in 0..3 {
            assert_eq!(bench.engine.check_frozen(), Ok(PeState::Stopped));
        }
        assert_eq!(news(&mut bench), [(first, News::Frozen), (second, News::Frozen)]);
    }
}

#[test]
fn every_state_the_kernel_tells_is_known_and_no_other_is_taken_for_one() {
    for (value, state) in [
        (0, PeState::Normal),
        (1, PeState::Reset),
        (2, PeState::Stopped),
        (4, PeState::StoppedDma),
        (5, PeState::Unavailable),
    ] {
        let (mut bench, ..) = leased(1, Record::default());
        bench.record.borrow_mut().pe_state = Some(value);
        assert_eq!(bench.engine.check_frozen(), Ok(state));
        assert_eq!(news(&mut bench).len(), usize::from(state != PeState::Normal));
    }
    let (mut bench, ..) = leased(1, Record::default());
    bench.record.borrow_mut().pe_state = Some(3);
    let unknown = Error::Freeze(FreezeRefusal::UnknownState(3));
    assert_eq!(bench.engine.check_frozen(), Err(unknown));
    bench.machine.fail_next(Operation::Eeh, Fault::Errno(Errno::ENODEV));
    bench.record.borrow_mut().pe_state = None;
    let error = bench.engine.check_frozen().expect_err("the call fails");
    assert_eq!(error.fault().and_then(|fault| fault.errno()), Some(Errno::ENODEV));
    assert_eq!(news(&mut bench), []);
}

#[test]
fn a_recovery_takes_its_steps_in_order_and_leaves_devices_quiet() {
    let (mut bench, window, first) = leased(2, Record::default());
    let second = lease(&mut bench, window, "two");
    mark(&bench);
    freeze(&bench, 0);
    bench.engine.recover().expect("nothing fails");
    let quiet = "master off, line off";
    let off = ["INTx not on", "MSI not on"];
    let expected = [
        // The first device is frozen, so only the second one is told to be quiet.
        &off[..],
        &off,
        &[quiet, "VFIO_EEH_PE_RESET_HOT", "VFIO_EEH_PE_RESET_DEACTIVATE"],
        &["VFIO_EEH_PE_CONFIGURE"],
        &off,
        &[quiet],
        &off,
        &[quiet],
    ];
    assert_eq!(bench.seen(), expected.concat());
    assert!(bench.is_quiet() && !is_marked(&bench));
    assert_eq!(bench.engine.check_frozen(), Ok(PeState::Normal));
    let told = [News::Frozen, News::Recovered].map(|it| [(first, it.clone()), (second, it)]);
    assert_eq!(news(&mut bench), told.concat());
    assert_eq!(bench.engine.recovery_step(), None);
}

#[test]
fn what_is_mapped_survives_and_reaches_memory_again() {
    let (mut bench, _, first) = leased(1, Record::default());
    let (_, [from, to], [source, target]) = two_pages(&mut bench, first);
    bench.machine.write_memory(source, b"survived").expect("it is ours");
    freeze(&bench, 0);
    bench.engine.recover().expect("nothing fails");
    assert_eq!(bench.machine.live_tces(), 2);
    bench.engine.resume_devices().expect("it works again");
    transfer(&bench, from, to);
    assert_eq!(&text_at(&mut bench, target), b"survived");
}

#[test]
fn while_a_pe_is_frozen_edits_and_revocations_go_on() {
    let (mut bench, window, first) = leased(1, Record::default());
    let second = lease(&mut bench, window, "two");
    freeze(&bench, 0);
    bench.engine.check_frozen().expect("it can be asked");
    map(&mut bench, first);
    map(&mut bench, second);
    bench.engine.revoke(first).expect("the device is quiet by being frozen");
    assert_eq!(bench.machine.live_tces(), 16);
    let refused = bench.engine.resume_devices().expect_err("it cannot be let go");
    assert_eq!(refused.fault().and_then(|fault| fault.errno()), Some(Errno::EIO));
    bench.engine.recover().expect("nothing fails");
    bench.engine.resume_devices().expect("it works again");
    assert_eq!(bench.machine.live_tces(), 16);
    bench.engine.close().expect("nothing fails");
    assert_nothing_left(&bench.machine);
}

/// A function's reset of a frozen device would tell nothing, so it waits for the recovery.
#[test]
fn a_device_that_froze_under_its_last_lease_is_clean_after_the_recovery() {
    let (mut bench, window, first) = leased(1, Record::default());
    mark(&bench);
    freeze(&bench, 0);
    bench.engine.check_frozen().expect("it can be asked");
    bench.engine.revoke(first).expect("the device is quiet by being frozen");
    assert!(!has_reset(&bench));
    let address = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let silent = Error::Device(DeviceRefusal::Silent { address });
    assert_eq!(try_lease(&mut bench, window, "two"), Err(silent));
    bench.engine.recover().expect("nothing fails");
    bench.seen();
    lease(&mut bench, window, "two");
    assert_eq!(bench.seen(), [""; 0], "nothing is left to reset");
    assert!(!is_marked(&bench));
}

/// Each call of each step fails once; what was done is not done again.
#[test]
fn a_recovery_that_failed_at_any_step_goes_on_there() {
    let operations =
        ["VFIO_EEH_PE_RESET_HOT", "VFIO_EEH_PE_RESET_DEACTIVATE", "VFIO_EEH_PE_CONFIGURE"];
    // The first EEH call asks for the state.
    let eeh =
        RecoveryStep::ALL[1..5].iter().zip(2..).map(|(step, nth)| (*step, Operation::Eeh, nth));
    let again =
        [(Operation::ReadDevice, 2), (Operation::ReadDevice, 3), (Operation::WriteDevice, 1)]
            .map(|(operation, nth)| (RecoveryStep::QuietAgain, operation, nth));
    let first = [(RecoveryStep::Quiesce, Operation::ReadDevice, 1)];
    for (step, operation, nth) in first.into_iter().chain(eeh).chain(again) {
        let (mut bench, _, lease) = leased(1, Record::default());
        map(&mut bench, lease);
        freeze(&bench, 0);
        bench.machine.fail_nth(operation, nth, Fault::Errno(Errno::EIO));
        let error = bench.engine.recover().expect_err("a call fails");
        assert_eq!(error.fault().and_then(|fault| fault.errno()), Some(Errno::EIO), "{step}");
        assert_eq!(bench.engine.recovery_step(), Some(step), "{operation:?} {nth}");
        let unfinished = Err(Error::Freeze(FreezeRefusal::Unfinished(step)));
        assert_eq!(bench.engine.resume_devices(), unfinished);
        // Its device could not be opened, and without one the recovery could not go on.
        assert_eq!(bench.engine.attach(bench.machine.groups()[1]), unfinished);
        assert_eq!(news(&mut bench), [(lease, News::Frozen)]);
        bench.engine.recover().expect("this time");
        assert_eq!(news(&mut bench), [(lease, News::Recovered)]);
        let seen = bench.seen();
        let made: Vec<&String> = seen.iter().filter(|it| it.starts_with("VFIO_EEH")).collect();
        let mut expected = operations.to_vec();
        // The witness has seen the call that failed as well.
        if let Some(at) = RecoveryStep::ALL[1..4].iter().position(|it| *it == step) {
            expected.insert(at, operations[at]);
        }
        assert_eq!(made, expected, "{step}");
        assert!(bench.is_quiet());
        assert_eq!(bench.machine.live_tces(), 16);
    }
}

#[test]
fn a_pe_that_stays_frozen_is_said_to_and_the_recovery_begins_anew() {
    let (mut bench, _, lease) = leased(1, Record::default());
    freeze(&bench, 0);
    bench.record.borrow_mut().pe_state = Some(2);
    let still = Err(Error::Freeze(FreezeRefusal::StillFrozen(PeState::Stopped)));
    for _ in 0..3 {
        assert_eq!(bench.engine.recover(), still);
        assert_eq!(bench.engine.recovery_step(), Some(RecoveryStep::Quiesce));
        let resets = bench.seen().iter().filter(|it| *it == "VFIO_EEH_PE_RESET_HOT").count();
        assert_eq!(resets, 1, "how often it is tried is the caller's to say");
    }
    assert_eq!(news(&mut bench), [(lease, News::Frozen)]);
    bench.record.borrow_mut().pe_state = None;
    bench.engine.recover().expect("it works again");
    assert_eq!(news(&mut bench), [(lease, News::Recovered)]);
}

#[test]
fn a_device_that_is_gone_after_a_recovery_is_named() {
    let (mut bench, _, lease) = leased(1, Record::default());
    freeze(&bench, 0);
    bench.record.borrow_mut().gone = true;
    let address = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let silent = Err(Error::Device(DeviceRefusal::Silent { address }));
    assert_eq!(bench.engine.recover(), silent);
    assert_eq!(bench.engine.recovery_step(), Some(RecoveryStep::Quiesce));
    assert_eq!(news(&mut bench), [(lease, News::Frozen)]);
    bench.engine.detach(bench.machine.groups()[0]).expect("it can leave all the same");
    bench.engine.close().expect("nothing fails");
    assert_nothing_left(&bench.machine);
}

/// Nobody knows what became of the devices, so their leases wait for the recovery.
#[test]
fn a_freeze_that_went_by_itself_is_recovered_from_all_the_same() {
    let (mut bench, _, lease) = leased(1, Record::default());
    freeze(&bench, 0);
    bench.engine.check_frozen().expect("it can be asked");
    bench.machine.thaw(bench.machine.groups()[0]);
    assert_eq!(bench.engine.check_frozen(), Ok(PeState::Normal));
    freeze(&bench, 0);
    assert_eq!(bench.engine.check_frozen(), Ok(PeState::Stopped));
    assert_eq!(news(&mut bench), [(lease, News::Frozen)]);
    bench.machine.thaw(bench.machine.groups()[0]);
    bench.engine.recover().expect("nothing fails");
    assert_eq!(news(&mut bench), [(lease, News::Recovered)]);
    let nothing = Err(Error::Freeze(FreezeRefusal::NotFrozen));
    assert_eq!(bench.engine.recover(), nothing);
    freeze(&bench, 0);
    bench.engine.check_frozen().expect("it can be asked");
    assert_eq!(news(&mut bench), [(lease, News::Frozen)], "a new freeze is news");
}

/// With no device open, a hot reset leaves the group's devices unusable until the machine boots anew.
#[test]
fn pes_are_not_reset_while_a_group_has_no_open_device() {
    let (mut bench, window, first) = leased(1, without_reset());
    let other = bench.machine.groups()[1];
    bench.engine.attach(other).expect("it is free");
    freeze(&bench, 0);
    let unwatched = Error::Freeze(FreezeRefusal::Unwatched(other));
    assert_eq!(bench.engine.recover(), Err(unwatched.clone()));
    bench.machine.thaw(bench.machine.groups()[0]);
    bench.engine.revoke(first).expect("nothing fails");
    assert_eq!(bench.engine.reset_devices(), Err(unwatched));
    let address = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let wanted = tce_engine::LeaseRequest {
        groups: vec![bench.machine.groups()[0]],
        ..tce_engine::LeaseRequest::new(
            tce_engine::lease::Holder::new("two").expect("a name"),
            window,
            Bytes::mib(1),
        )
    };
    let granted = bench.engine.grant_lease(wanted).map(|_| ());
    let refused = LeaseRefusal::Unwatched(other);
    assert_eq!(granted, Err(Error::Lease(refused)), "{address} has no other reset");
    assert!(!bench.seen().iter().any(|it| it.starts_with("VFIO_EEH")));
}

#[test]
fn a_machine_without_eeh_says_so() {
    let mut bench = Witnessed::new("pseries", 1, Record::default());
    let calls = bench.machine.all_calls();
    let no_eeh = Error::Freeze(FreezeRefusal::NoEeh);
    assert_eq!(bench.engine.check_frozen(), Err(no_eeh.clone()));
    assert_eq!(bench.engine.recover(), Err(no_eeh));
    assert_eq!(bench.machine.all_calls(), calls);
    bench.engine.detach(bench.machine.groups()[0]).expect("nothing fails");
    assert_eq!(bench.engine.check_frozen(), Err(Error::NoBackend));
}

#[test]
fn a_device_that_was_used_while_a_recovery_had_stopped_is_reset_before_its_next_holder() {
    let (mut bench, window, first) = leased(1, without_reset());
    freeze(&bench, 0);
    // The state, the hot reset, its end, and then the configuration.
    bench.machine.fail_nth(Operation::Eeh, 4, Fault::Errno(Errno::EIO));
    bench.engine.recover().expect_err("a call failed");
    mark(&bench);
    bench.engine.revoke(first).expect("nothing fails");
    lease(&mut bench, window, "two");
    assert!(!is_marked(&bench));
}
