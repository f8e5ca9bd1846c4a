//! One of several groups leaves, because its owner or the kernel wants so: what the others have mapped is there again.

use tce_engine::{
    Error, LeaseRequest,
    addr::Bytes,
    error::GroupRefusal,
    facts::Slot,
    kernel::GroupNumber,
    lease::{EndCause, LeaseId, LeaseState, News},
    lingering::{Deferral, Unmapping},
    machine::Machine,
};
use tce_sim::{Fault, Operation, Unbind};

use crate::{
    bench::{Bench, K4, NOW, PROFILES, Tenant, assert_nothing_left, request},
    truth::assert_agreement,
};

/// Two groups in a container with two windows, a tenant in each with some TCEs that do not go together.
fn two_groups(name: &str) -> (Bench, GroupNumber, [Tenant; 2]) {
    let (mut bench, first) = Bench::with_tenant(name);
    let other = bench.join();
    let second = bench.window(Slot::Zero, K4, Bytes::gib(1));
    let second = bench.tenant(second, Bytes::mib(64));
    for tenant in [&first, &second] {
        let edits = [tenant.map(0, 8, 0), tenant.map(20, 4, 8), tenant.map(24, 4, 20)];
        bench.apply(tenant, &edits);
    }
    assert_agreement(&bench.machine, &bench.engine);
    (bench, other, [first, second])
}

fn news(bench: &mut Bench) -> Vec<(LeaseId, News)> {
    bench.engine.take_events().into_iter().map(|event| (event.lease, event.news)).collect()
}

fn powernv() -> impl Iterator<Item = &'static str> {
    PROFILES.into_iter().filter(|name| !name.starts_with("pseries"))
}

#[test]
fn a_group_that_parts_leaves_the_others_what_they_had() {
    for name in powernv() {
        let (mut bench, other, tenants) = two_groups(name);
        let joint = bench.try_lease(request(tenants[1].window, Bytes::mib(1))).expect("room");
        let restored = bench.engine.part(other).expect("nothing fails");
        assert_eq!((restored.tces, restored.map_calls), (32, 6));
        assert_agreement(&bench.machine, &bench.engine);
        assert_eq!(bench.machine.live_tces(), 32);
        // Only what was granted when both were there was for both.
        let groups = |id| bench.engine.leases().get(id).expect("it is there").groups.clone();
        assert_eq!(groups(joint), [bench.group]);
        let told: Vec<_> = news(&mut bench).into_iter().map(|(lease, _)| lease).collect();
        assert_eq!(told, [tenants[1].lease, joint]);
        bench.engine.resume_devices().expect("it may go on");
        bench.apply(&tenants[0], &[tenants[0].unmap(0, 64)]);
        bench.attach(other);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn leases_for_the_group_alone_end_with_it() {
    let (mut bench, other, tenants) = two_groups("powernv9");
    let wanted = LeaseRequest { groups: vec![other], ..request(tenants[1].window, Bytes::mib(1)) };
    let lease = bench.try_lease(wanted).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let alone = Tenant { lease, claim, ..tenants[1] };
    bench.apply(&alone, &[alone.map(0, 4, 0)]);
    let restored = bench.engine.part(other).expect("nothing fails");
    assert_eq!(restored.tces, 32, "not those of the lease that ended");
    let cause = EndCause::GroupLeft(other);
    let state = bench.engine.leases().get(lease).map(|lease| lease.state);
    assert_eq!(state, Ok(LeaseState::Ended(cause)));
    let told = news(&mut bench);
    assert_eq!(told, [(lease, News::Ended(cause)), (tenants[1].lease, News::GroupLeft(other))]);
    bench.close();
}

#[test]
fn the_last_group_has_nobody_to_part_from() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    let calls = bench.calls();
    let refused = bench.engine.part(bench.group);
    assert_eq!(refused, Err(Error::Group(GroupRefusal::LastGroup(bench.group))));
    let other = bench.machine.groups()[1];
    let refused = bench.engine.part(other);
    assert_eq!(
        refused,
        Err(Error::Group(GroupRefusal::Attached { group: other, attached: false }))
    );
    assert_eq!(bench.calls(), calls);
    bench.close();
}

#[test]
fn what_lingers_is_not_made_anew() {
    let (mut bench, tenant) = Bench::with_tenant("powernv9");
    bench.engine.revoke(tenant.lease).expect("nothing fails");
    let other = bench.join();
    let unmapping = Unmapping::Deferred(Deferral::new(64, 100).expect("good bounds"));
    let wanted = LeaseRequest { unmapping, ..request(tenant.window, Bytes::mib(1)) };
    let lease = bench.try_lease(wanted).expect("there is room");
    let claim = bench.engine.leases().get(lease).expect("it was just made").home().claim;
    let tenant = Tenant { lease, claim, ..tenant };
    bench.apply(&tenant, &[tenant.map(0, 8, 0)]);
    bench.apply(&tenant, &[tenant.unmap(2, 2)]);
    assert_eq!(bench.engine.part(other).expect("nothing fails").tces, 6);
    assert_eq!(bench.machine.live_tces(), 6);
    assert_eq!(bench.engine.next_due(), None, "nothing lingers");
    assert_agreement(&bench.machine, &bench.engine);
    bench.close();
}

#[test]
fn a_parting_that_fails_before_the_group_has_left_can_be_tried_again() {
    for operation in [Operation::UnsetContainer, Operation::WriteDevice, Operation::ReadDevice] {
        let (mut bench, other, tenants) = two_groups("powernv9");
        bench.machine.fail_next(operation, Fault::Errno(tce_engine::errno::Errno::EIO));
        bench.engine.part(other).expect_err("a call failed");
        assert_eq!(bench.machine.live_tces(), 32, "{operation:?}: nothing was cleared");
        assert_agreement(&bench.machine, &bench.engine);
        bench.apply(&tenants[0], &[tenants[0].map(40, 1, 0)]);
        assert_eq!(bench.engine.part(other).expect("nothing fails any more").tces, 33);
        assert_agreement(&bench.machine, &bench.engine);
        bench.close();
    }
}

#[test]
fn what_cannot_be_made_anew_is_closed_and_told_and_the_rest_is_there() {
    let (mut bench, other, [first, second]) = two_groups("powernv9");
    // The second of six calls that make the mappings anew: of the window in slot 0.
    bench.machine.fail_nth(Operation::Map, 2, Fault::Value(1));
    let Err(Error::Parting(failure)) = bench.engine.part(other) else { panic!("a call failed") };
    assert_eq!((failure.group, failure.quarantined.len()), (other, 1));
    let lost = failure.quarantined[0].claim;
    assert_eq!(lost, second.range(20, 4));
    assert_eq!(bench.machine.live_tces(), 28);
    let told = news(&mut bench);
    let left = (second.lease, News::GroupLeft(other));
    assert!(
        told.contains(&(second.lease, News::Quarantined(lost))) && told.contains(&left),
        "{told:?}"
    );
    bench.engine.apply(second.lease, &[second.map(20, 1, 0)], NOW).expect_err("it is closed");
    bench.apply(&second, &[second.unmap(0, 8)]);
    bench.apply(&first, &[first.unmap(0, 8)]);
    bench.engine.unregister(second.region).expect_err("nobody knows what points into it");
    bench.engine.revoke(second.lease).expect("nothing fails any more");
    bench.engine.unregister(second.region).expect("nothing points into it any more");
    bench.close();
}

#[test]
fn a_descriptor_that_does_not_close_well_does_not_hide_what_was_lost() {
    let (mut bench, other, tenants) = two_groups("powernv9");
    let lost = Fault::Errno(tce_engine::errno::Errno::EIO);
    bench.machine.fail_next(Operation::Close, lost);
    bench.machine.fail_next(Operation::Map, lost);
    let parted = bench.engine.part(other);
    assert!(matches!(parted, Err(Error::Parting(_))), "{parted:?}");
    tenants.iter().for_each(|it| bench.engine.revoke(it.lease).expect("nothing fails any more"));
    bench.close();
}

#[test]
fn a_group_that_the_kernel_wants_back_is_let_go_and_the_unbinding_ends() {
    let (mut bench, other, tenants) = two_groups("powernv9");
    assert_eq!(bench.engine.take_requests(), Ok(Vec::new()));
    assert_eq!(bench.machine.unbind(other), Unbind::Waiting);
    assert_eq!(bench.engine.take_requests(), Ok(vec![other]));
    let told = news(&mut bench);
    assert_eq!(told, [(tenants[1].lease, News::GroupWanted(other))]);
    bench.engine.surrender(other).expect("nothing fails");
    assert_eq!(bench.machine.live_tces(), 32);
    assert_agreement(&bench.machine, &bench.engine);
    bench.engine.attach(other).expect_err("it is gone");
    // The last one takes all with it.
    assert_eq!(bench.machine.unbind(bench.group), Unbind::Waiting);
    assert_eq!(bench.engine.take_requests(), Ok(vec![bench.group]));
    bench.engine.surrender(bench.group).expect("nothing fails");
    assert_eq!(bench.machine.live_tces(), 0);
    let ends: Vec<_> = bench.engine.take_events().iter().filter_map(|it| it.end()).collect();
    assert_eq!(ends, [EndCause::LastGroupLeft(bench.group); 2]);
    let Bench { machine, engine, .. } = bench;
    engine.close().expect("nothing fails");
    assert_nothing_left(&machine);
}
