//! Every kernel call of a run fails once. Whatever the run makes of it, nothing is left behind.

use tce_engine::errno::Errno;
use tce_host::exit::Exit;
use tce_sim::{Fault, Operation, Profile, SimMachine};

use crate::common::{Ran, example, run_on};

/// What happens when one call fails in one way.
struct Case<'a> {
    profile: &'a Profile,
    job: &'a str,
    operation: Operation,
    nth: u64,
    fault: Fault,
}

impl Case<'_> {
    /// Runs it; [`run_on`] looks at what is left.
    fn run(&self) -> Ran {
        let machine = SimMachine::new(self.profile.clone());
        machine.fail_nth(self.operation, self.nth, self.fault);
        let ran = run_on(&machine, self.job, &[]);
        assert_eq!(machine.faults_waiting(), 0, "{:?} {}", self.operation, self.nth);
        ran
    }
}

/// Fails each call of a run in turn, and gives each end to a judge.
fn each_call_fails(profile: &Profile, job: &str, fault: Fault, judge: impl Fn(&Case<'_>, Ran)) {
    let undisturbed = SimMachine::new(profile.clone());
    assert!(run_on(&undisturbed, job, &[]).0.is_ok());
    for operation in Operation::ALL {
        for nth in 1..=undisturbed.calls(operation) {
            let case = Case { profile, job, operation, nth, fault };
            let ran = case.run();
            judge(&case, ran);
        }
    }
}

/// A failed call ends the run with an error that can be understood.
fn judge(case: &Case<'_>, ran: Ran) {
    let Case { operation, nth, fault, .. } = case;
    match ran.0 {
        Err(stopped) => {
            let failure = stopped.failure;
            assert!(failure.remedy.is_some(), "{operation:?} {nth} {fault:?}: {failure}");
            let exits = [Exit::Machine, Exit::Kernel, Exit::LockedMemory];
            assert!(exits.contains(&failure.exit), "{operation:?} {nth}: {failure}");
        }
        // A run can do without EEH, without knowing what a call charged, and without a reset of devices that nobody has
        // after it.
        Ok(report) => assert!(
            matches!(operation, Operation::LockedMemory | Operation::ResetDevice)
                || (*operation == Operation::CheckExtension && !report.container.eeh),
            "{operation:?} {nth} {fault:?} went unnoticed"
        ),
    }
}

#[test]
fn the_demo_leaves_nothing_behind_whichever_call_fails() {
    let job = example("demo.toml");
    for fault in [Fault::Errno(Errno::EIO), Fault::Value(2)] {
        each_call_fails(&Profile::powernv9(), &job, fault, judge);
    }
}

#[test]
fn the_demo_leaves_nothing_behind_on_other_machines() {
    let job = example("demo.toml");
    for name in ["powernv9-64k", "powernv8"] {
        let profile = Profile::named(name).expect(name);
        each_call_fails(&profile, &job, Fault::Errno(Errno::ENOMEM), judge);
    }
    let pseries = Profile::pseries();
    let address = &pseries.groups[0].devices[0].address;
    let job = job.replace("0000:01:00.0", address);
    each_call_fails(&pseries, &job, Fault::Errno(Errno::EBUSY), judge);
}

#[test]
fn a_map_that_fails_half_way_leaves_nothing_behind() {
    let job = example("demo.toml");
    let undisturbed = SimMachine::new(Profile::powernv9());
    assert!(run_on(&undisturbed, &job, &[]).0.is_ok());
    let profile = &Profile::powernv9();
    for nth in 1..=undisturbed.calls(Operation::Map) {
        let fault = Fault::AfterTces { count: 3, errno: Errno::ENOMEM };
        let case = Case { profile, job: &job, operation: Operation::Map, nth, fault };
        case.run().refused(Exit::Kernel, &["VFIO_IOMMU_MAP_DMA", "put back"], "");

        // When the kernel stops early and calls it success, nobody knows; but it goes all the same.
        let fault = Fault::SilentAfterTces { count: 3 };
        Case { fault, ..case }.run();
    }
}
