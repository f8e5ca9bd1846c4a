//! Logical partitions: the firmware has a largest window that nobody tells, and does not forgive.

use tce_engine::{
    Engine, Error,
    addr::{Bytes, Iova, PageShift, Pages},
    errno::Errno,
    facts::{Creatable, PlatformLimits, Slot},
    fault::Fault as CallFault,
    kernel::{ContainerFd, CreateCall, Extension, GroupNumber, Kernel, Raw},
    layout::{LayoutRefusal, WindowChoice},
    machine::Machine,
};
use tce_sim::{Fault, Operation, Profile, SimMachine};

use crate::{
    bench::{Bench, HIGH, K4, K64, NOW, choice},
    truth::assert_agreement,
};

/// 1 GiB of 64K pages.
const LARGEST_TCES: u64 = 1 << 14;

fn small() -> Profile {
    let profile = Profile::pseries().with_page_shift(K64);
    Profile { largest_window_tces: LARGEST_TCES, ..profile }
}

fn dynamic(size: Bytes, fallback: Option<Bytes>) -> WindowChoice {
    WindowChoice { fallback, ..choice(Slot::One, K64, size) }
}

/// What a window of 64K pages charges in a partition.
fn charge(size: Bytes) -> Bytes {
    Bytes::new(size.raw() >> 13)
}

/// All is taken down but for what the kernel leaked.
#[track_caller]
fn close_leaking(bench: Bench, leaked: Bytes) {
    assert_eq!(bench.engine.leaked(), leaked);
    assert_agreement(&bench.machine, &bench.engine);
    assert_eq!(bench.engine.close().expect("nothing fails").locked, leaked);
}

#[test]
fn a_window_too_large_for_the_firmware_is_made_as_its_fallback() {
    let mut bench = Bench::new(small());
    let wanted = dynamic(Bytes::gib(8), Some(Bytes::gib(1)));
    let window = bench.try_windows(&[wanted]).expect("the fallback fits")[0];
    assert_eq!(bench.machine.calls(Operation::Create), 2);
    let made = *bench.engine.windows().next().expect("it is there").window();
    assert_eq!((made.id, made.start.raw(), made.size), (window, HIGH, Bytes::gib(1)));
    assert!(!bench.machine.partition_spoiled());
    let tenant = bench.tenant(window, Bytes::gib(1));
    bench.apply(&tenant, &[tenant.map(0, 4, 0)]);
    assert_agreement(&bench.machine, &bench.engine);
    close_leaking(bench, charge(Bytes::gib(8)));
}

#[test]
fn a_fallback_is_tried_once_and_no_other_size_after_it() {
    let mut bench = Bench::new(small());
    let wanted = dynamic(Bytes::gib(8), Some(Bytes::gib(4)));
    let error = bench.try_windows(&[wanted]).expect_err("both are too large");
    assert_eq!(bench.machine.calls(Operation::Create), 2);
    assert_eq!(error.fault().and_then(CallFault::errno), Some(Errno::EINVAL));
    let leaked = charge(Bytes::gib(8)).saturating_add(charge(Bytes::gib(4)));
    match error {
        Error::Layout(LayoutRefusal::FirmwareHasLess { size, page, .. }) => {
            assert_eq!((size, page), (Bytes::gib(4), K64));
        }
        other => panic!("{other}"),
    }
    assert_eq!(bench.engine.windows().count(), 0);
    close_leaking(bench, leaked);
}

#[test]
fn without_a_fallback_the_refusal_says_what_leaked_and_what_to_do() {
    let mut bench = Bench::new(small());
    let error = bench.try_windows(&[dynamic(Bytes::gib(8), None)]).expect_err("too large");
    assert_eq!(bench.machine.calls(Operation::Create), 1);
    let text = error.to_string();
    for part in ["8 GiB", "1 MiB by now", "smaller size", "fallback", "configure the most TCEs"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    close_leaking(bench, charge(Bytes::gib(8)));
}

#[test]
fn what_the_firmware_refused_once_is_not_asked_for_again() {
    let mut bench = Bench::new(small());
    bench.try_windows(&[dynamic(Bytes::gib(8), None)]).expect_err("too large");
    let (calls, locked) = (bench.calls(), bench.machine.locked());
    for size in [8, 16, 1 << 20] {
        let refused = bench.try_windows(&[dynamic(Bytes::gib(size), None)]);
        let is_known = matches!(refused, Err(Error::Layout(LayoutRefusal::DynamicTooLarge { .. })));
        assert!(is_known, "{refused:?}");
    }
    assert_eq!((bench.calls(), bench.machine.locked()), (calls, locked));
    // A fallback is what it is for, without the detour.
    let wanted = dynamic(Bytes::gib(8), Some(Bytes::gib(1)));
    bench.try_windows(&[wanted]).expect("the fallback fits");
    assert_eq!(bench.machine.calls(Operation::Create), 2);
    close_leaking(bench, charge(Bytes::gib(8)));
}

#[test]
fn a_configured_maximum_refuses_before_the_call_and_nothing_leaks() {
    let limits = PlatformLimits::default().with_dynamic_tces_max(Pages::new(LARGEST_TCES));
    let mut bench = Bench::with_limits(small(), limits);
    let calls = bench.calls();
    let (size, page, tces_max) = (Bytes::gib(8), K64, Pages::new(LARGEST_TCES));
    let refused = LayoutRefusal::DynamicTooLarge { size, page, tces_max };
    assert_eq!(bench.try_windows(&[dynamic(size, None)]), Err(Error::Layout(refused)));
    assert_eq!(bench.calls(), calls);
    // Larger pages make it fewer TCEs.
    bench.window(Slot::One, PageShift::M2, size);
    close_leaking(bench, Bytes::ZERO);
}

#[test]
fn a_fallback_that_the_limit_does_not_hold_beside_the_leak_is_not_tried() {
    let default = Bytes::mib(2);
    // The default window, the first attempt, and a little less than the fallback.
    let limit = default.saturating_add(charge(Bytes::gib(8))).saturating_add(Bytes::kib(64));
    let mut bench = Bench::new(small().with_locked_limit(limit));
    let error = bench.try_windows(&[dynamic(Bytes::gib(8), Some(Bytes::gib(1)))]);
    let needed = charge(Bytes::gib(1));
    let charged = default.saturating_add(charge(Bytes::gib(8)));
    let refused = LayoutRefusal::LockedMemory { needed, charged, limit };
    assert_eq!(error, Err(Error::Layout(refused)));
    assert_eq!(bench.machine.calls(Operation::Create), 1);
    close_leaking(bench, charge(Bytes::gib(8)));
}

#[test]
fn leaks_of_one_group_count_after_another_came() {
    let mut bench = Bench::new(small());
    bench.try_windows(&[dynamic(Bytes::gib(8), None)]).expect_err("too large");
    bench.engine.detach(bench.group).expect("nothing fails");
    bench.engine.attach(bench.group).expect("it is free");
    assert_eq!(bench.machine.locked(), charge(Bytes::gib(8)));
    close_leaking(bench, charge(Bytes::gib(8)));
}

#[test]
fn after_the_firmware_failed_the_kernel_is_never_asked_again() {
    for fallback in [None, Some(Bytes::gib(1))] {
        let mut bench = Bench::new(Profile::pseries());
        let group = bench.group;
        spoil(&mut bench);
        let error = bench.try_windows(&[dynamic(Bytes::gib(4), fallback)]).expect_err("ENODEV");
        assert_eq!(error.fault().and_then(CallFault::errno), Some(Errno::ENODEV));
        let calls = bench.machine.calls(Operation::Create);
        assert_eq!(calls, 1, "no fallback for this");
        assert_eq!(bench.engine.facts().expect("a group").creatable, Creatable::Nothing);
        let given_up = || Err(Error::Layout(LayoutRefusal::GivenUp));
        let like_default = choice(Slot::Zero, K4, Bytes::mib(512));
        for wanted in [dynamic(Bytes::gib(1), None), like_default.clone()] {
            assert_eq!(bench.try_windows(&[wanted]), given_up());
        }
        // The group keeps its past.
        bench.engine.detach(group).expect("nothing fails");
        bench.engine.attach(group).expect("it is free");
        assert_eq!(bench.try_windows(&[like_default]), given_up());
        assert_eq!(bench.machine.calls(Operation::Create), calls);
        let leaked = bench.engine.leaked();
        close_leaking(bench, leaked);
    }
}

/// The next creation fails as on a PE whose firmware failed before.
fn spoil(bench: &mut Bench) {
    bench.machine.fail_next(Operation::Create, Fault::Errno(Errno::ENODEV));
}

/// Somebody else, before us: two dynamic windows on the machine's first group.
fn spoil_beforehand(machine: &SimMachine) -> GroupNumber {
    let mut kernel = machine.kernel();
    let group = machine.groups()[0];
    let container = kernel.open_container().expect("a fresh machine");
    let group_fd = kernel.open_group(group).expect("nobody has it");
    assert_eq!(kernel.set_container(group_fd, container), Raw::OK);
    assert_eq!(kernel.set_iommu(container, Extension::SpaprTceV2), Raw::OK);
    let call = CreateCall { page_shift: 16, size: Bytes::gib(1), levels: 1 };
    assert_eq!(kernel.remove(container, Iova::new(0)), Raw::OK);
    assert_eq!(kernel.create(container, call).raw, Raw::OK);
    assert_eq!(kernel.create(container, call).raw, Raw::Failed(Errno::ENODEV));
    for fd in [group_fd.fd(), container.fd()] {
        kernel.close(fd).expect("it is open");
    }
    assert!(machine.partition_spoiled());
    group
}

#[test]
fn on_a_pe_that_was_spoiled_beforehand_nothing_is_taken_for_made() {
    let machine = SimMachine::new(Profile::pseries());
    let group = spoil_beforehand(&machine);
    let mut engine = Engine::open(machine.kernel()).expect("it opens");
    engine.attach(group).expect("the group is free");
    let before = machine.calls(Operation::Create);
    let locked = machine.locked();
    let grant = engine.grant_layout(&[dynamic(Bytes::gib(4), None)]).expect("nobody knows");
    let error = engine.create_windows(grant).expect_err("ENODEV");
    assert_eq!(error.fault().and_then(CallFault::errno), Some(Errno::ENODEV));
    // It was the default window that failed first, and whose charge stays.
    assert_eq!(engine.leaked(), Bytes::mib(2));
    assert_eq!(machine.locked(), locked.saturating_add(Bytes::mib(2)));
    let container = ContainerFd::new(engine.descriptor());
    assert_eq!(machine.windows(container).len(), 0);
    let default = choice(Slot::Zero, K4, Profile::pseries().default_window);
    let refused = engine.grant_layout(&[default]).map(|_| ());
    assert_eq!(refused, Err(Error::Layout(LayoutRefusal::GivenUp)));
    assert_eq!(machine.calls(Operation::Create), before + 1);
    assert_eq!(engine.close().expect("nothing fails").locked, Bytes::mib(2));
}

#[test]
fn a_default_window_that_cannot_be_made_is_asked_for_once() {
    let machine = SimMachine::new(Profile::pseries());
    let group = spoil_beforehand(&machine);
    let mut engine = Engine::open(machine.kernel()).expect("it opens");
    engine.attach(group).expect("the group is free");
    let address = &machine.devices_of(group)[0].address;
    let device = engine.open_device(group, address).expect("the device is VFIO's");
    let mut bench = Bench { machine, engine, group, device };
    let window = bench.default_window();
    let tenant = bench.tenant(window, Bytes::mib(1));
    let edits = [tenant.map(0, 1, 0)];
    let error = bench.engine.apply(tenant.lease, &edits, NOW).expect_err("ENODEV");
    assert_eq!(error.fault().and_then(CallFault::errno), Some(Errno::ENODEV));
    let (calls, leaked) = (bench.calls(), bench.engine.leaked());
    assert_eq!(leaked, Bytes::mib(2));
    let refused = bench.engine.apply(tenant.lease, &edits, NOW);
    assert_eq!(refused, Err(Error::Layout(LayoutRefusal::GivenUp)));
    assert_eq!((bench.calls(), bench.engine.leaked()), (calls, leaked));
}
