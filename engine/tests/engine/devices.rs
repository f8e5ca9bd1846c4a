//! Invariant 8: devices are quiet before anything is unmapped, and reset before their next holder.

use tce_engine::{
    Error, LeaseRequest,
    access::Access,
    addr::{Bytes, PageShift},
    edit::Edit,
    errno::Errno,
    error::DeviceRefusal,
    facts::Slot,
    fault::{Call, Operation as Counted},
    kernel::{DeviceSpace, InterruptKind, Kernel},
    lease::{Holder, LeaseId},
    machine::{Backing, Machine, MemoryRequest},
    window::WindowId,
};
use tce_sim::{Fault, Operation};

use crate::{
    bench::{K4, NOW, assert_nothing_left, choice},
    witness::{Record, Witnessed},
};

/// A register of the `edu` that keeps what is written, until it is reset.
const LIVENESS: u64 = 0x04;

pub(crate) fn without_reset() -> Record {
    Record { no_function_reset: true, ..Record::default() }
}

pub(crate) fn window(bench: &mut Witnessed) -> WindowId {
    let grant = bench.engine.grant_layout(&[choice(Slot::One, K4, Bytes::mib(64))]);
    let grant = grant.expect("the slot is free");
    bench.engine.create_windows(grant).expect("it can be made")[0]
}

pub(crate) fn try_lease(
    bench: &mut Witnessed,
    window: WindowId,
    holder: &str,
) -> Result<LeaseId, Error> {
    let holder = Holder::new(holder).expect("a name");
    let grant = bench.engine.grant_lease(LeaseRequest::new(holder, window, Bytes::mib(1)))?;
    bench.engine.lease(grant)
}

pub(crate) fn lease(bench: &mut Witnessed, window: WindowId, holder: &str) -> LeaseId {
    try_lease(bench, window, holder).expect("nothing speaks against it")
}

/// Maps 16 pages at the start of a lease.
pub(crate) fn map(bench: &mut Witnessed, lease: LeaseId) {
    let request =
        MemoryRequest { size: Bytes::kib(64), backing: Backing::Anonymous, align: PageShift::K64 };
    let memory = bench.machine.allocate(&request).expect("there is memory");
    let page = bench.engine.system().page_shift;
    let region = bench.engine.register(memory, page).expect("it can be pinned");
    let iova = bench.engine.leases().get(lease).expect("it is there").home().claim.start;
    let (offset, access) = (Bytes::ZERO, Access::ReadWrite);
    let edit = Edit::Map { iova, region, offset, size: memory.size, access };
    bench.engine.apply(lease, &[edit], NOW).expect("nothing speaks against it");
}

/// One lease with mappings, held by `one`.
fn leased(profile: &str, record: Record) -> (Witnessed, WindowId, LeaseId) {
    let mut bench = Witnessed::new(profile, 1, record);
    let window = window(&mut bench);
    let lease = lease(&mut bench, window, "one");
    map(&mut bench, lease);
    bench.seen();
    (bench, window, lease)
}

/// Leaves something in the first device.
pub(crate) fn mark(bench: &Witnessed) {
    let bytes = 0x1234_u32.to_be_bytes();
    let mut kernel = bench.machine.kernel();
    kernel
        .write_device(bench.devices[0], DeviceSpace::Bar(0), LIVENESS, &bytes)
        .expect("it answers");
}

pub(crate) fn is_marked(bench: &Witnessed) -> bool {
    let mut bytes = [0; 4];
    let mut kernel = bench.machine.kernel();
    kernel
        .read_device(bench.devices[0], DeviceSpace::Bar(0), LIVENESS, &mut bytes)
        .expect("it answers");
    bytes != [0; 4]
}

/// Whether a function was reset since this was last asked.
pub(crate) fn has_reset(bench: &Witnessed) -> bool {
    bench.seen().iter().any(|seen| seen.starts_with("reset"))
}

fn interrupts_on(bench: &mut Witnessed, kind: InterruptKind) {
    let mut kernel = bench.machine.kernel();
    let event = kernel.open_event().expect("there is room");
    let raw = kernel.enable_interrupts(bench.devices[0], kind, event);
    assert_eq!(raw, tce_engine::kernel::Raw::OK);
    kernel.close(event.fd()).expect("it is open");
}

#[test]
fn with_the_last_lease_interrupts_go_off_then_mastering_then_comes_the_reset_then_unmaps() {
    for kind in [InterruptKind::Intx, InterruptKind::Msi] {
        let (mut bench, _, lease) = leased("powernv9", Record::default());
        interrupts_on(&mut bench, kind);
        mark(&bench);
        bench.engine.revoke(lease).expect("nothing fails");
        let state = |which| if which == kind { "off" } else { "not on" };
        let expected = [
            format!("INTx {}", state(InterruptKind::Intx)),
            format!("MSI {}", state(InterruptKind::Msi)),
            "master off, line off".to_owned(),
            "reset".to_owned(),
            "unmap".to_owned(),
        ];
        assert_eq!(bench.seen(), expected);
        assert!(bench.is_quiet() && !is_marked(&bench));
        assert_eq!(bench.machine.live_tces(), 0);
    }
}

#[test]
fn while_other_leases_live_a_revocation_only_makes_devices_quiet() {
    let (mut bench, window, first) = leased("powernv9", Record::default());
    let second = lease(&mut bench, window, "two");
    mark(&bench);
    bench.engine.revoke(first).expect("nothing fails");
    assert!(bench.is_quiet() && is_marked(&bench));
    assert!(!has_reset(&bench));
    bench.engine.resume_devices().expect("the other lease goes on");
    bench.engine.revoke(second).expect("nothing fails");
    assert!(bench.is_quiet() && !is_marked(&bench));
}

/// What a sub-lease leaves is reset with the lease that it is part of.
#[test]
fn devices_are_reset_once_however_many_leases_end_together() {
    let (mut bench, window, _) = leased("powernv9", Record::default());
    lease(&mut bench, window, "two");
    bench.engine.detach(bench.machine.groups()[0]).expect("nothing fails");
    let resets = bench.seen().iter().filter(|seen| *seen == "reset").count();
    assert_eq!(resets, 1);
}

#[test]
fn a_quiesced_device_takes_a_handful_of_calls_and_a_quiet_one_fewer() {
    let (mut bench, ..) = leased("powernv9", Record::default());
    let accesses = |bench: &Witnessed| bench.engine.calls().of(Counted::DeviceAccess);
    let before = accesses(&bench);
    bench.engine.quiesce_devices().expect("nothing fails");
    assert_eq!(accesses(&bench) - before, 5, "read, INTx, MSI, write, read");
    bench.engine.quiesce_devices().expect("nothing fails");
    assert_eq!(accesses(&bench) - before, 8, "read, INTx, MSI");
}

#[test]
fn a_resumed_device_has_its_line_as_it_was() {
    for (line, high) in [("open", 0), ("off", 4)] {
        let (mut bench, ..) = leased("powernv9", Record::default());
        let mut kernel = bench.machine.kernel();
        let set = kernel.write_device(bench.devices[0], DeviceSpace::Config, 4, &[6, high]);
        set.expect("it is open");
        for _ in 0..2 {
            bench.engine.quiesce_devices().expect("nothing fails");
            assert!(bench.is_quiet());
        }
        bench.seen();
        bench.engine.resume_devices().expect("it answers");
        assert_eq!(bench.seen(), [format!("master on, line {line}")]);
        assert_eq!(bench.command(0), [6, high]);
    }
}

#[test]
fn a_device_that_does_not_obey_keeps_its_lease_from_being_unmapped() {
    let (mut bench, _, lease) = leased("powernv9", Record::default());
    bench.record.borrow_mut().deaf = true;
    let error = bench.engine.revoke(lease).expect_err("it goes on mastering the bus");
    let address = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let fault = error.fault().expect("the device's fault");
    assert_eq!((&fault.call, fault.errno()), (&Call::CommandRegister(address), Some(Errno::EIO)));
    assert!(!bench.seen().contains(&"unmap".to_owned()));
    bench.record.borrow_mut().deaf = false;
    bench.engine.revoke(lease).expect("now it does");
    assert!(bench.is_quiet());
}

#[test]
fn a_device_that_a_reset_wakes_is_made_quiet_again_before_anything_is_unmapped() {
    let (mut bench, _, lease) = leased("powernv9", Record { wakes_up: true, ..Record::default() });
    bench.engine.revoke(lease).expect("nothing fails");
    let seen = bench.seen();
    let tail: Vec<&str> = seen.iter().skip(3).map(String::as_str).collect();
    assert_eq!(tail, ["reset", "master off, line off", "unmap"]);
    assert!(bench.is_quiet());
}

#[test]
fn a_device_that_is_gone_is_quiet_and_is_not_reset() {
    let (mut bench, window, first) = leased("powernv9", Record::default());
    bench.record.borrow_mut().gone = true;
    bench.engine.revoke(first).expect("what is gone starts no transfer");
    assert_eq!(bench.seen(), ["INTx not on", "MSI not on", "unmap"]);
    let address = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let refusal = Error::Device(DeviceRefusal::Silent { address });
    assert_eq!(try_lease(&mut bench, window, "two"), Err(refusal.clone()));
    assert_eq!(bench.engine.reset_devices(), Err(refusal));
    assert!(!has_reset(&bench), "it would tell nothing");
    assert_eq!(bench.engine.leases().live().count(), 0);
}

/// So the kernel says of what was unplugged, and while a PE is in a reset.
#[test]
fn a_device_that_the_kernel_does_not_find_is_quiet_too() {
    let (mut bench, _, first) = leased("powernv9", Record::default());
    bench.machine.fail_nth(Operation::ReadDevice, 1, Fault::Errno(Errno::ENODEV));
    bench.engine.revoke(first).expect("what is gone starts no transfer");
    assert_eq!(bench.seen(), ["INTx not on", "MSI not on", "unmap"]);
}

/// Nothing is lost by a call that fails: what was to be done is done when it is tried again.
#[test]
fn a_revocation_whose_device_calls_fail_once_can_be_called_again() {
    let steps = [
        (Operation::ReadDevice, 3),
        (Operation::WriteDevice, 1),
        (Operation::DisableInterrupts, 2),
        (Operation::Unmap, 1),
    ];
    for (step, calls) in steps {
        for nth in 1..=calls {
            let (mut bench, window, first) = leased("powernv9", Record::default());
            mark(&bench);
            bench.machine.fail_nth(step, nth, Fault::Errno(Errno::EIO));
            let error = bench.engine.revoke(first).expect_err("a call fails");
            assert_eq!(error.fault().and_then(|fault| fault.errno()), Some(Errno::EIO));
            assert_eq!(bench.machine.live_tces(), 16, "{step:?} {nth}");
            bench.engine.revoke(first).expect("this time");
            assert!(bench.is_quiet() && !is_marked(&bench), "{step:?} {nth}");
            assert_eq!(bench.machine.live_tces(), 0);
            lease(&mut bench, window, "two");
        }
    }
}

#[test]
fn a_reset_that_fails_does_not_keep_a_lease_and_is_made_before_the_next_one() {
    let (mut bench, window, first) = leased("powernv9", Record::default());
    mark(&bench);
    bench.machine.fail_nth(Operation::ResetDevice, 1, Fault::Errno(Errno::EAGAIN));
    bench.engine.revoke(first).expect("the device is quiet all the same");
    assert_eq!(bench.machine.live_tces(), 0);
    assert!(is_marked(&bench));
    bench.machine.fail_nth(Operation::ResetDevice, 1, Fault::Errno(Errno::EAGAIN));
    let error = try_lease(&mut bench, window, "two").expect_err("it cannot be had as it is");
    let fault = error.fault().expect("the reset failed");
    assert!(matches!(fault.call, Call::ResetDevice(_)) && fault.remedy().is_some());
    assert_eq!(bench.engine.leases().live().count(), 0);
    lease(&mut bench, window, "two");
    assert!(bench.is_quiet() && !is_marked(&bench));
}

#[test]
fn a_reset_between_leases_lets_a_device_run_that_ran_before() {
    let (mut bench, window, first) = leased("powernv9", Record::default());
    bench.machine.fail_nth(Operation::ResetDevice, 1, Fault::Errno(Errno::EAGAIN));
    bench.engine.revoke(first).expect("the device is quiet all the same");
    bench.engine.resume_devices().expect("it answers");
    bench.seen();
    lease(&mut bench, window, "two");
    let expected =
        ["INTx not on", "MSI not on", "master off, line off", "reset", "master on, line open"];
    assert_eq!(bench.seen(), expected);
}

/// It ran for a lease that was still ending, so the reset of before was for nothing.
#[test]
fn a_device_that_ran_while_a_lease_was_ending_is_reset_again() {
    let (mut bench, _, first) = leased("powernv9", Record::default());
    bench.machine.fail_nth(Operation::Unmap, 1, Fault::Errno(Errno::EIO));
    bench.engine.revoke(first).expect_err("the unmap fails");
    bench.engine.resume_devices().expect("it answers");
    mark(&bench);
    bench.engine.revoke(first).expect("this time");
    assert!(!is_marked(&bench));
}

#[test]
fn a_device_without_a_reset_is_its_holders_again_and_nobody_elses() {
    let (mut bench, window, first) = leased("pseries", Record::default());
    mark(&bench);
    bench.engine.revoke(first).expect("nothing fails");
    assert!(bench.is_quiet() && is_marked(&bench));
    let calls = bench.machine.all_calls();
    let address = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let refusal = Error::Device(DeviceRefusal::NoReset { address: address.clone() });
    assert_eq!(try_lease(&mut bench, window, "two"), Err(refusal.clone()));
    assert_eq!(bench.engine.reset_devices(), Err(refusal.clone()));
    assert_eq!(bench.machine.all_calls(), calls, "refused before any call");
    let again = lease(&mut bench, window, "one");
    // As long as a lease lives, devices are not reset under it, and holders trust each other.
    let joint = lease(&mut bench, window, "two");
    for ending in [again, joint] {
        bench.engine.revoke(ending).expect("nothing fails");
    }
    for holder in ["one", "two"] {
        let refused = try_lease(&mut bench, window, holder);
        assert_eq!(refused, Err(refusal.clone()), "both have left something");
    }
    // Closed and opened anew, the device counts as clean.
    let group = bench.machine.groups()[0];
    bench.engine.detach(group).expect("nothing fails");
    bench.engine.attach(group).expect("it is free");
    bench.engine.open_device(group, &address).expect("it is VFIO's");
    let window = self::window(&mut bench);
    lease(&mut bench, window, "two");
}

#[test]
fn devices_without_a_reset_are_reset_with_their_pes() {
    let (mut bench, window, first) = leased("powernv9", without_reset());
    mark(&bench);
    bench.engine.revoke(first).expect("nothing fails");
    assert!(bench.is_quiet() && is_marked(&bench));
    bench.seen();
    lease(&mut bench, window, "two");
    let seen = bench.seen();
    let resets: Vec<&String> = seen.iter().filter(|it| it.starts_with("VFIO_EEH")).collect();
    let expected =
        ["VFIO_EEH_PE_RESET_HOT", "VFIO_EEH_PE_RESET_DEACTIVATE", "VFIO_EEH_PE_CONFIGURE"];
    assert_eq!(resets, expected);
    assert!(bench.is_quiet() && !is_marked(&bench));
}

/// A reset of PEs is one of all PEs: not of one that nobody else has used.
#[test]
fn a_device_without_a_reset_is_refused_while_another_is_clean() {
    let (mut bench, window, first) = leased("powernv9", without_reset());
    bench.engine.revoke(first).expect("nothing fails");
    let other = bench.machine.groups()[1];
    bench.engine.attach(other).expect("it is free");
    let address = bench.machine.devices_of(other)[0].address.clone();
    bench.engine.open_device(other, &address).expect("it is VFIO's");
    let used = bench.machine.devices_of(bench.machine.groups()[0])[0].address.clone();
    let refusal = Error::Device(DeviceRefusal::NoReset { address: used });
    assert_eq!(try_lease(&mut bench, window, "two"), Err(refusal));
    bench.engine.reset_devices().expect("who asks for it gets it");
    lease(&mut bench, window, "two");
}

#[test]
fn a_reset_asked_for_leaves_leases_and_mappings_alone() {
    for record in [Record::default(), without_reset()] {
        let (mut bench, window, first) = leased("powernv9", record);
        mark(&bench);
        bench.engine.reset_devices().expect("nothing fails");
        assert!(bench.is_quiet() && !is_marked(&bench));
        assert_eq!(bench.machine.live_tces(), 16);
        // A driver may let its device run again without a word to the engine.
        mark(&bench);
        bench.engine.revoke(first).expect("nothing fails");
        bench.seen();
        lease(&mut bench, window, "two");
        let is_reset_again = bench.seen().iter().any(|it| it == "VFIO_EEH_PE_RESET_HOT");
        assert_eq!(is_reset_again, bench.record.borrow().no_function_reset);
        assert!(!is_marked(&bench));
    }
}

#[test]
fn an_open_that_fails_at_any_call_leaves_no_device_open() {
    let steps =
        [(Operation::WatchRequests, 1), (Operation::DeviceInfo, 1), (Operation::InterruptInfo, 3)];
    for (step, calls) in steps {
        for nth in 1..=calls {
            let mut bench = Witnessed::new("powernv9", 0, Record::default());
            let group = bench.machine.groups()[0];
            bench.engine.attach(group).expect("it is free");
            let address = bench.machine.devices_of(group)[0].address.clone();
            bench.machine.fail_nth(step, nth, Fault::Errno(Errno::EIO));
            let open = bench.machine.descriptors().len();
            bench.engine.open_device(group, &address).expect_err("a call fails");
            assert_eq!(bench.machine.descriptors().len(), open + 1, "the event alone");
            bench.engine.open_device(group, &address).expect("this time");
            bench.engine.close().expect("nothing fails");
            assert_nothing_left(&bench.machine);
        }
    }
}
