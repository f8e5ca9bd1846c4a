//! Invariants 9 and 10: the group is the authority. With the last one goes everything, and old handles stay dead.

use tce_engine::{
    Engine, Error,
    addr::Bytes,
    errno::Errno,
    error::GroupRefusal,
    facts::Slot,
    kernel::{DescriptorKind, GroupNumber, Kernel},
    lease::{EndCause, LeaseRefusal, LeaseState},
    machine::Machine,
    region::RegionRefusal,
};
use tce_sim::{Fault, Operation, Profile, SimMachine, profile::DeviceProfile};

use crate::{
    bench::{Bench, K4, NOW, PROFILES, Tenant, assert_nothing_left, request},
    truth::assert_agreement,
};

#[test]
fn with_the_last_group_every_lease_ends_and_says_why() {
    for name in PROFILES {
        let (mut bench, tenant) = Bench::with_tenant(name);
        bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
        bench.engine.detach(bench.group).expect("nothing fails");
        let cause = EndCause::LastGroupLeft(bench.group);
        let told: Vec<_> = bench
            .engine
            .take_events()
            .iter()
            .filter_map(|it| Some((it.lease, it.end()?)))
            .collect();
        assert_eq!(told, [(tenant.lease, cause)]);
        let ended = LeaseRefusal::Ended { lease: tenant.lease, cause };
        let applied = bench.engine.apply(tenant.lease, &[tenant.map(0, 1, 0)], NOW);
        assert_eq!(applied, Err(Error::Lease(ended)));
        let state = bench.engine.leases().get(tenant.lease).map(|lease| lease.state);
        assert_eq!(state, Ok(LeaseState::Ended(cause)));
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

/// The same group, memory, window and range once more: all that is old is refused, all that is new works.
#[test]
fn after_a_group_came_back_old_handles_are_refused() {
    for name in PROFILES {
        let (mut bench, old) = Bench::with_tenant(name);
        let (early, _) = bench.region(Bytes::mib(1));
        bench.apply(&old, &[old.map(0, 8, 0)]);
        bench.engine.detach(bench.group).expect("nothing fails");
        bench.attach(bench.group);
        let window = bench.window(Slot::One, K4, Bytes::mib(64));
        let lease = bench.try_lease(request(window, Bytes::mib(64))).expect("there is room");
        let page = bench.engine.system().page_shift;
        let region = bench.engine.register(old.memory, page).expect("it can be pinned");
        assert_ne!((window, lease, region), (old.window, old.lease, old.region));
        let calls = bench.calls();
        let cause = EndCause::LastGroupLeft(bench.group);
        let ended = LeaseRefusal::Ended { lease: old.lease, cause };
        let applied = bench.engine.apply(old.lease, &[old.map(0, 1, 0)], NOW);
        assert_eq!(applied, Err(Error::Lease(ended)));
        let granted = bench.engine.grant_lease(request(old.window, Bytes::mib(1))).map(|_| ());
        assert_eq!(granted, Err(Error::Lease(LeaseRefusal::NoWindow(old.window))));
        for gone in [old.region, early] {
            let refusal = Error::Region(RegionRefusal::Gone(gone));
            assert_eq!(bench.engine.unregister(gone), Err(refusal));
            let edit = Tenant { region: gone, ..copy(&old) }.map(0, 1, 0);
            bench.engine.apply(lease, &[edit], NOW).expect_err("the region is gone");
        }
        assert_eq!(bench.calls(), calls);
        let new = Tenant { window, lease, region, ..old };
        bench.apply(&new, &[new.map(0, 8, 0)]);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

const fn copy(tenant: &Tenant) -> Tenant {
    Tenant { ..*tenant }
}

#[test]
fn a_second_group_sees_what_is_mapped_and_cannot_leave_alone() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    let other = bench.join();
    assert_agreement(&bench.machine, &bench.engine);
    let calls = bench.calls();
    for group in [bench.group, other] {
        let refusal = Error::Group(GroupRefusal::OthersPresent(group));
        assert_eq!(bench.engine.detach(group), Err(refusal));
    }
    assert_eq!(bench.calls(), calls);
    assert_eq!(bench.machine.live_tces(), 8, "nothing was cleared");
    bench.apply(&tenant, &[tenant.map(8, 8, 8)]);
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn an_attach_that_fails_at_any_call_leaves_the_container_as_it_was() {
    let steps = [
        Operation::OpenGroup,
        Operation::GroupStatus,
        Operation::SetContainer,
        Operation::CheckExtension,
        Operation::SetIommu,
        Operation::Info,
    ];
    for step in steps {
        let machine = SimMachine::new(Profile::powernv9());
        let mut engine = Engine::open(machine.kernel()).expect("a fresh machine");
        let group = machine.groups()[0];
        machine.fail_next(step, Fault::Errno(Errno::EIO));
        let error = engine.attach(group).expect_err("a call fails");
        assert_eq!(error.fault().and_then(|fault| fault.errno()), Some(Errno::EIO), "{step:?}");
        assert_eq!(machine.descriptors().len(), 1, "the container alone, at {step:?}");
        assert!(engine.facts().is_none());
        engine.attach(group).expect("this time");
        engine.close().expect("nothing fails");
        assert_nothing_left(&machine);
    }
}

#[test]
fn a_second_group_that_fails_to_attach_changes_nothing() {
    for step in [Operation::OpenGroup, Operation::GroupStatus, Operation::SetContainer] {
        let (mut bench, tenant) = Bench::with_tenant("powernv9");
        bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
        bench.machine.fail_next(step, Fault::Errno(Errno::EIO));
        bench.engine.attach(bench.machine.groups()[1]).expect_err("a call fails");
        assert_agreement(&bench.machine, &bench.engine);
        bench.apply(&tenant, &[tenant.map(8, 8, 8)]);
        bench.engine.detach(bench.group).expect("it is the only one");
        bench.close();
    }
}

#[test]
fn a_group_with_a_host_driver_and_one_that_is_not_there_are_refused() {
    let group = GroupNumber(7);
    let profile = Profile::powernv9()
        .with_device(group, DeviceProfile::edu("0002:01:00.0"))
        .with_device(group, DeviceProfile::host_nic("0002:01:00.1"));
    let mut bench = Bench::new(profile);
    let refusal = Error::Group(GroupRefusal::NotViable(group));
    assert_eq!(bench.engine.attach(group), Err(refusal));
    let missing = bench.engine.attach(GroupNumber(99)).expect_err("it is not there");
    assert_eq!(missing.fault().and_then(|fault| fault.errno()), Some(Errno::ENOENT));
    bench.close();
}

#[test]
fn a_device_is_opened_once_and_only_of_an_attached_group() {
    let mut bench = Bench::named("powernv9");
    let address = bench.machine.devices_of(bench.group)[0].address.clone();
    assert_eq!(bench.engine.open_device(bench.group, &address), Ok(bench.device));
    assert_eq!(bench.machine.calls(Operation::OpenDevice), 1);
    let group = bench.machine.groups()[1];
    let refusal = Error::Group(GroupRefusal::Attached { group, attached: false });
    assert_eq!(bench.engine.open_device(group, &address), Err(refusal));
    bench.engine.open_device(bench.group, "0000:09:00.0").expect_err("no such device");
    bench.close();
}

#[test]
fn only_a_fresh_container_is_adopted() {
    let mut bench = Bench::named("powernv9");
    let mut kernel = bench.machine.kernel();
    let other = bench.machine.open_other("/dev/null").expect("a descriptor");
    let group = kernel.open_group(bench.machine.groups()[1]).expect("it is free");
    let container = bench.container().fd();
    let closed = tce_engine::kernel::Fd::new(99);
    for (fd, found) in [
        (group.fd(), DescriptorKind::Group),
        (bench.device.fd(), DescriptorKind::Device),
        (other, DescriptorKind::Other("/dev/null".to_owned())),
        (closed, DescriptorKind::Closed),
    ] {
        let refusal = GroupRefusal::NotAContainer { fd: fd.raw(), found };
        let adopted = Engine::adopt(bench.machine.kernel(), fd).map(|_| ());
        assert_eq!(adopted, Err(Error::Group(refusal)));
    }
    let used = GroupRefusal::ContainerInUse { fd: container.raw() };
    let adopted = Engine::adopt(bench.machine.kernel(), container).map(|_| ());
    assert_eq!(adopted, Err(Error::Group(used)));
    assert_eq!(bench.machine.descriptors().len(), 6, "what is refused stays its owner's");
    kernel.close(other).expect("it is open");
    kernel.close(group.fd()).expect("it is open");
    let fresh = kernel.open_container().expect("a descriptor").fd();
    let mut engine = Engine::adopt(bench.machine.kernel(), fresh).expect("it is fresh");
    engine.attach(bench.machine.groups()[1]).expect("it is free");
    engine.close().expect("nothing fails");
    bench.engine.quiesce_devices().expect("nothing fails");
    bench.close();
}
