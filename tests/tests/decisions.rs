//! The same job decides the same, whatever executes its policy.

use tce_host::policy::Compiler;
use tce_sim::{Profile, SimMachine};
use tce_tests::jobs::{COMPARED_JOBS, Places, comparable};

#[test]
fn cranelift_and_pulley_make_the_same_report_down_to_the_fuel() {
    for job in COMPARED_JOBS {
        let report = |compiler| {
            let mut machine = SimMachine::new(Profile::powernv9());
            let report = Places::checkout().run(job, &mut machine, "sim:powernv9", compiler);
            comparable(report.unwrap_or_else(|error| panic!("{error:#}")))
        };
        let (native, interpreted) = (report(Compiler::Cranelift), report(Compiler::Pulley));
        assert!(native.decisions.iter().all(|decision| decision.fuel > Some(0)), "{job}");
        assert_eq!(native, interpreted, "{job}");
    }
}
