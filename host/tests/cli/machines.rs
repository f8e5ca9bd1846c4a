//! Machines that cannot do it.

use tce_engine::{addr::Bytes, errno::Errno, kernel::GroupNumber};
use tce_host::exit::{Exit, Failure};
use tce_sim::{Fault, Operation, Profile, SimMachine};
use tce_vfio::{OpenError, VfioMachine};

use crate::common::{Folder, SMALL, Tree, run_on, tce};

#[test]
#[cfg(not(target_arch = "powerpc64"))]
fn the_real_backend_needs_a_power_machine() {
    let folder = Folder::new();
    let file = folder.file("job.toml", SMALL);
    let ended = tce(&["run", &file, "--backend", "vfio"]);
    ended.refused(Exit::Machine, &["no POWER machine"], "--backend sim");
}

#[test]
#[cfg(not(target_arch = "powerpc64"))]
fn the_doctor_says_so_too() {
    let text = tce(&["doctor"]).with(Exit::Machine);
    assert!(text.out.contains("no POWER machine"), "{text:?}");
    assert!(text.out.trim_end().ends_with("use --backend sim"), "{text:?}");
    assert!(!text.out.contains('\u{1b}'), "no styles in a pipe");
    let json = tce(&["doctor", "--json"]).with(Exit::Machine).json();
    assert_eq!(json["format"], "tce-doctor/1");
    assert_eq!((&json["able"], &json["missing"]), (&false.into(), &1.into()));
    assert_eq!(json["checks"][0]["mark"], "missing");
}

/// What opening the machine of this tree comes to.
#[track_caller]
fn unopened(tree: &Tree, says: &[&str], help: &str) {
    let error = VfioMachine::open_at(tree.root()).expect_err("no machine for VFIO");
    let failure = Failure::from(error);
    assert_eq!(failure.exit, Exit::Machine, "{failure}");
    for words in says {
        assert!(failure.what.contains(words), "{words:?} in {failure}");
    }
    let remedy = failure.remedy.expect("a remedy");
    assert!(remedy.contains(help) && remedy.contains("`tce doctor`"), "{help:?} in {remedy}");
}

#[test]
fn an_old_kernel_is_told_which_one_to_boot() {
    let says = ["does not work", "6.1.0", "up to 6.3"];
    unopened(&Tree::power("6.1.0-44-powerpc64le\n"), &says, "boot 6.4 or newer");
}

#[test]
fn without_vfio_the_modules_are_named() {
    let tree = Tree::power("6.12.112\n");
    unopened(&tree, &["no /dev/vfio/vfio"], "modprobe");
    tree.file("dev/vfio/vfio", "");
    unopened(&tree, &["no sPAPR TCE v2 backend"], "modprobe vfio_iommu_spapr_tce");
}

#[test]
fn every_reason_not_to_open_a_machine_ends_alike_and_has_a_remedy() {
    for (error, says, help) in [
        (OpenError::NoPermission, "may not open /dev/vfio/vfio", "run as root"),
        (OpenError::NoContainerDriver, "no driver behind it", "modprobe vfio"),
        (OpenError::Unopened(Errno::EMFILE), "EMFILE", "`tce doctor`"),
        (OpenError::NotPower("A Laptop CPU".to_owned()), "A Laptop CPU", "--backend sim"),
    ] {
        let failure = Failure::from(error);
        let remedy = failure.remedy.as_deref().unwrap_or_default();
        assert_eq!(failure.exit, Exit::Machine, "{failure}");
        assert!(failure.what.contains(says) && remedy.contains(help), "{failure}: {remedy}");
    }
}

#[test]
fn a_user_without_permission_is_told_about_the_node() {
    for (operation, node) in
        [(Operation::OpenContainer, "/dev/vfio/vfio"), (Operation::OpenGroup, "/dev/vfio/")]
    {
        for errno in [Errno::EACCES, Errno::EPERM] {
            let machine = SimMachine::new(Profile::powernv9());
            machine.fail_next(operation, Fault::Errno(errno));
            let ran = run_on(&machine, SMALL, &[]);
            ran.refused(Exit::Machine, &[node, &errno.to_string()], "run as root");
        }
    }
}

#[test]
fn a_group_in_use_is_told_so() {
    let machine = SimMachine::new(Profile::powernv9());
    machine.fail_next(Operation::OpenGroup, Fault::Errno(Errno::EBUSY));
    run_on(&machine, SMALL, &[]).refused(Exit::Machine, &["EBUSY"], "another program");
}

#[test]
fn a_group_that_is_not_viable_is_told_who_is_in_the_way() {
    let profile = Profile::powernv9();
    let group = profile.groups[0].number;
    let says = ["is not viable", "in the way: 0000:01:00.1 (driver tg3)"];
    let machine = SimMachine::new(profile.with_host_nic(group, "0000:01:00.1"));
    run_on(&machine, SMALL, &[]).refused(Exit::Machine, &says, "`tce doctor`");
    // A group without a device for VFIO has not even a node.
    let alone = Profile::powernv9().with_host_nic(GroupNumber(77), "0005:01:00.0");
    let job = SMALL.replace("0000:01:00.0", "0005:01:00.0");
    let ran = run_on(&SimMachine::new(alone), &job, &[]);
    let says = ["/dev/vfio/77", "in the way: 0005:01:00.0 (driver tg3)"];
    ran.refused(Exit::Machine, &says, "`tce doctor`");
}

#[test]
fn a_locked_memory_limit_that_is_too_low_is_told_how_much_it_takes() {
    let limit = |limit| SimMachine::new(Profile::powernv9().with_locked_limit(limit));
    for low in [Bytes::ZERO, Bytes::kib(64), Bytes::mib(1)] {
        let stopped = run_on(&limit(low), SMALL, &[]).refused(
            Exit::LockedMemory,
            &["locked-memory limit", &low.to_string(), "1032 KiB"],
            "ulimit -l 1032",
        );
        assert!(stopped.failure.remedy.unwrap().contains("LimitMEMLOCK="));
    }
    // What it was told is enough.
    assert!(run_on(&limit(Bytes::kib(1032)), SMALL, &[]).0.is_ok());
}

#[test]
fn a_limit_that_only_the_kernel_knows_of_is_told_as_such() {
    for operation in [Operation::Register, Operation::Create] {
        let machine = SimMachine::new(Profile::powernv9());
        machine.fail_next(operation, Fault::Errno(Errno::ENOMEM));
        let ran = run_on(&machine, SMALL, &[]);
        ran.refused(Exit::LockedMemory, &["ENOMEM"], "locked-memory limit");
    }
}
