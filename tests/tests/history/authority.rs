//! Whose right is it, and is it still one: groups, descriptors, and what hangs on them.

use tce_engine::{
    Engine, Error,
    access::Access,
    addr::{Bytes, Iova},
    edit::Edit,
    errno::Errno,
    error::GroupRefusal,
    facts::Slot,
    kernel::{ContainerFd, GroupFd, GroupNumber, Kernel as _, MemoryRange, Raw, UnmapCall},
    lease::LeaseRefusal,
    machine::Machine as _,
};
use tce_sim::{
    Fault, Operation, Profile, SimKernel, SimMachine,
    profile::{DeviceProfile, KernelVersion},
};
use tce_tests::peers::Bare;

use crate::bench::{
    K4, NOW, Ours, PAGE, attach, bare, choice, lease, machine, memory, reached, window,
};

const EIO: Fault = Fault::Errno(Errno::EIO);

/// CVE-2024-41070: KVM looked an object up, dropped the descriptor that held it, and used it. A number that is kept
/// longer than what it named is the same mistake: the kernel gives it to the next who comes.
#[test]
fn a_handle_that_outlives_its_group_is_nobody_elses() {
    let machine = machine("powernv9");
    let memory = memory(&machine, Bytes::mib(1));
    let page = Bytes::new(PAGE);
    {
        let first = bare(&machine);
        let kept: ContainerFd = first.container();
        drop(first);
        let mut second = bare(&machine);
        assert_eq!(second.register(memory), Raw::OK);
        assert_eq!(second.map(Iova::new(0), memory.address, page), Raw::OK);
        assert_eq!(kept, second.container(), "the number is in use again");
        let call = UnmapCall { iova: Iova::new(0), size: page };
        assert_eq!(machine.kernel().unmap(kept, call), Raw::OK, "and nobody minds");
        let lost = reached(&machine, second.container(), Iova::new(0));
        assert_eq!(lost, None, "the second tenant's device reaches nothing");
    }

    let mut ours = Ours::new(&machine);
    let (old, old_window, old_region) = (ours.lease, ours.window, ours.register(memory));
    ours.engine.detach(ours.group).expect("nothing fails");
    attach(&machine, &mut ours.engine, ours.group);
    ours.window = window(&mut ours.engine, Slot::One, K4, Bytes::mib(64));
    (ours.lease, ours.claim) = lease(&mut ours.engine, ours.window, Bytes::mib(64));
    let region = ours.register(memory);
    ours.apply(&[ours.map(0, region, 0, PAGE)]);
    let calls = machine.all_calls();
    let edit = ours.unmap(0, PAGE);
    let told = ours.engine.apply(old, &[edit], NOW).expect_err("that lease is over");
    assert!(matches!(told, Error::Lease(LeaseRefusal::Ended { .. })), "{told}");
    ours.engine.remove_window(old_window).expect_err("that window is gone");
    ours.engine.unregister(old_region).expect_err("that region is gone");
    assert_eq!(machine.all_calls(), calls, "nothing reached the kernel");
    assert_eq!(ours.reaches(0), Some(memory.address));
    ours.close();
}

/// CVE-2024-26709: an attach failed half-way and kept its reference to the group.
#[test]
fn an_attach_that_fails_half_way_keeps_no_group() {
    let steps = [Operation::SetContainer, Operation::SetIommu];
    for step in steps {
        let machine = machine("powernv9");
        machine.fail_next(step, EIO);
        assert!(Bare::open(machine.kernel(), machine.groups()[0]).is_err());
        let again = machine.kernel().open_group(machine.groups()[0]);
        assert_eq!(again, Err(Errno::EBUSY), "the group is taken by nobody, for good");
        assert_eq!(machine.descriptors().len(), 2);
    }
    let further =
        [Operation::OpenGroup, Operation::GroupStatus, Operation::CheckExtension, Operation::Info];
    for step in steps.into_iter().chain(further) {
        let machine = machine("powernv9");
        let group = machine.groups()[0];
        let mut engine = Engine::open(machine.kernel()).expect("a container");
        machine.fail_next(step, EIO);
        engine.attach(group).expect_err("a call fails");
        assert_eq!(machine.faults_waiting(), 0, "{step:?} was made");
        assert_eq!(machine.descriptors().len(), 1, "{step:?}: the container alone");
        let mut other = Engine::open(machine.kernel()).expect("a container");
        other.attach(group).expect("the group is free");
        other.close().expect("nothing fails");
        engine.close().expect("nothing fails");
    }
}

/// Two groups of a container, joined by calls that nobody checks.
fn two_groups(machine: &SimMachine) -> (Bare<SimKernel>, GroupFd, MemoryRange) {
    let memory = memory(machine, Bytes::mib(1));
    let mut bare = bare(machine);
    assert_eq!(bare.register(memory), Raw::OK);
    assert_eq!(bare.map(Iova::new(0), memory.address, Bytes::mib(1)), Raw::OK);
    let mut kernel = machine.kernel();
    let second = kernel.open_group(machine.groups()[1]).expect("it is free");
    assert_eq!(kernel.set_container(second, bare.container()), Raw::OK);
    (bare, second, memory)
}

/// "Fix incorrect tce_iommu_group memory free" (2019): a group did not fit one that was there, and the error path freed
/// the node of the one that was there.
#[test]
fn a_group_that_fails_to_join_takes_no_other_with_it() {
    let machine = machine("powernv9");
    {
        let memory = memory(&machine, Bytes::mib(1));
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        assert_eq!(bare.map(Iova::new(0), memory.address, Bytes::mib(1)), Raw::OK);
        let mut kernel = machine.kernel();
        let second = kernel.open_group(machine.groups()[1]).expect("it is free");
        machine.fail_next(Operation::SetContainer, EIO);
        assert_ne!(kernel.set_container(second, bare.container()), Raw::OK);
        // The error path ends what was found, not what was made.
        kernel.close(bare.group().fd()).expect("it is open");
        assert_eq!(reached(&machine, bare.container(), Iova::new(0)), None, "the first group's");
        kernel.close(second.fd()).expect("it is open");
    }

    for step in [Operation::OpenGroup, Operation::GroupStatus, Operation::SetContainer] {
        let mut ours = Ours::new(&machine);
        let memory = memory(&machine, Bytes::mib(1));
        let region = ours.register(memory);
        ours.apply(&[ours.map(0, region, 0, 8 * PAGE)]);
        machine.fail_next(step, EIO);
        ours.engine.attach(machine.groups()[1]).expect_err("a call fails");
        assert_eq!(ours.reaches(0), Some(memory.address), "{step:?}");
        let second = machine.kernel().open_group(machine.groups()[1]).expect("it is free again");
        machine.kernel().close(second.fd()).expect("it is open");
        ours.close();
    }
}

/// CVE-2025-21713: after a window could not be set for a second group, the error path took it from that group.
#[test]
fn an_undo_takes_back_only_what_was_done() {
    let second = DeviceProfile::edu("0001:00:01.0");
    let profile = Profile::pseries()
        .with_kernel(KernelVersion::new(6, 12, 5))
        .with_device(GroupNumber(1), second);
    let machine = SimMachine::new(profile.clone());
    {
        let memory = memory(&machine, Bytes::mib(1));
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        assert_eq!(bare.map(Iova::new(0), memory.address, Bytes::mib(1)), Raw::OK);
        let mut kernel = machine.kernel();
        let second = kernel.open_group(GroupNumber(1)).expect("it is free");
        assert_ne!(kernel.set_container(second, bare.container()), Raw::OK);
        assert!(machine.host_corruption().is_some(), "the kernel touched what it had not made");
    }

    let machine = SimMachine::new(profile);
    let mut ours = Ours::new(&machine);
    let calls = machine.all_calls();
    let refused = ours.engine.attach(GroupNumber(1));
    assert_eq!(refused, Err(Error::Group(GroupRefusal::OneGroupOnly(GroupNumber(1)))));
    assert_eq!(machine.all_calls(), calls);
    ours.close();

    // Of two windows the second is not made: the first one goes, and nothing else.
    let machine = self::machine("powernv9");
    let mut engine = Engine::open(machine.kernel()).expect("a container");
    engine.attach(machine.groups()[0]).expect("the group is free");
    let both = [choice(Slot::Zero, K4, Bytes::gib(1)), choice(Slot::One, K4, Bytes::gib(1))];
    let grant = engine.grant_layout(&both).expect("both can be made");
    let removed = machine.calls(Operation::Remove);
    machine.fail_nth(Operation::Create, 2, EIO);
    engine.create_windows(grant).expect_err("the second call fails");
    let container = ContainerFd::new(engine.descriptor());
    assert!(machine.windows(container).is_empty() && engine.windows().next().is_none());
    assert_eq!(machine.calls(Operation::Remove) - removed, 2, "the default one, and the first");
    engine.close().expect("nothing fails");
    assert_eq!(machine.host_corruption(), None);
}

/// Still open (4ba2fdff2eb1): one of several groups leaves, and the kernel clears the tables of all.
#[test]
fn a_group_that_leaves_takes_nobody_elses_mappings_with_it() {
    let machine = machine("powernv9");
    {
        let (bare, second, memory) = two_groups(&machine);
        let before = reached(&machine, bare.container(), Iova::new(0));
        assert_eq!(before, Some(memory.address));
        machine.kernel().close(second.fd()).expect("and no error is told to anyone");
        assert_eq!(reached(&machine, bare.container(), Iova::new(0)), None, "the one that stays");
    }

    let mut ours = Ours::new(&machine);
    let memory = memory(&machine, Bytes::mib(1));
    let region = ours.register(memory);
    ours.apply(&[ours.map(0, region, 0, 8 * PAGE)]);
    let second = machine.groups()[1];
    attach(&machine, &mut ours.engine, second);
    let refused = ours.engine.detach(second);
    assert_eq!(refused, Err(Error::Group(GroupRefusal::OthersPresent(second))));
    assert_eq!(ours.reaches(0), Some(memory.address));
    let restored = ours.engine.part(second).expect("nothing fails");
    assert_eq!((restored.tces, ours.reaches(0)), (8, Some(memory.address)));
    ours.close();
}

/// a67614cc05a5: a release stopped at the first lease that it found, and the others lived on.
#[test]
fn every_range_of_a_lease_ends_with_it() {
    let machine = machine("powernv9");
    let high = Iova::new(1 << 59);
    {
        let memory = memory(&machine, Bytes::mib(1));
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        assert_eq!(bare.create(12, Bytes::mib(64), 1).out, high);
        let leased = [("guest", Iova::new(0)), ("guest", high)];
        for (_, iova) in leased {
            assert_eq!(bare.map(iova, memory.address, Bytes::mib(1)), Raw::OK);
        }
        if let Some((_, iova)) = leased.iter().find(|(holder, _)| *holder == "guest") {
            assert_eq!(bare.unmap(*iova, Bytes::mib(1)), Raw::OK);
        }
        let alive = reached(&machine, bare.container(), high);
        assert_eq!(alive, Some(memory.address), "after its release");
    }

    let mut ours = Ours::new(&machine);
    let memory = memory(&machine, Bytes::mib(1));
    let region = ours.register(memory);
    let low = window(&mut ours.engine, Slot::Zero, K4, Bytes::gib(1));
    let second = ours.engine.extend_lease(ours.lease, low, None, Bytes::mib(1));
    let second = second.expect("there is room").start;
    let holder = ours.engine.leases().get(ours.lease).expect("it lives").holder.clone();
    let (offset, size, access) = (Bytes::ZERO, Bytes::new(PAGE), Access::ReadWrite);
    let in_second = Edit::Map { iova: second, region, offset, size, access };
    ours.apply(&[ours.map(0, region, 0, PAGE), in_second]);
    let (other, _) = lease(&mut ours.engine, low, Bytes::mib(1));
    assert_eq!(machine.live_tces(), 2);
    ours.engine.end_holder(&holder).expect("nothing fails");
    assert_eq!(machine.live_tces(), 0, "both ranges");
    assert_eq!(ours.engine.leases().live().count(), 0, "{other} is the holder's too");
    ours.close();
}
