//! What is due while a run goes on is done, by the run's clock.

use std::cell::Cell;

use tce_engine::lease::Timestamp;
use tce_host::{exit::Exit, run::Clock};
use tce_sim::{Profile, SimMachine};

use crate::common::{SMALL, run_at};

/// A millisecond passes each time somebody looks.
#[derive(Default)]
struct Ticking(Cell<u64>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        self.0.set(self.0.get() + 1);
        Timestamp(self.0.get())
    }
}

/// One reading starts the run, and one comes before each batch and at the end.
const STEPS: &str = r#"
[[step]]
do = "map-all"
lease = "all"
[[step]]
do = "batch"
lease = "all"
edits = [{ unmap = 0, size = "8K" }]
[[step]]
do = "batch"
lease = "all"
edits = [{ unmap = "16K", size = "4K" }]
"#;

fn job(lease: &str) -> String {
    SMALL.replace("holder", &format!("{lease}\nholder")) + STEPS
}

#[test]
fn all_that_lingers_goes_when_the_oldest_is_due() {
    for (delay, calls, cleared) in [(1, 2, 3), (2, 2, 3), (3, 0, 0)] {
        let machine = SimMachine::new(Profile::powernv9());
        let lease = format!("deferred = {{ tces = 64, delay = {delay} }}");
        let ran = run_at(&machine, &job(&lease), &[], &Ticking::default());
        let work = ran.0.expect("nothing fails").work;
        assert_eq!(work.tces_deferred, 3);
        assert_eq!((work.unmap_calls, work.tces_cleared), (calls, cleared), "{delay}");
    }
}

#[test]
fn a_lease_ends_when_its_time_is_over_and_says_so() {
    let machine = SimMachine::new(Profile::powernv9());
    let report = run_at(&machine, &job("duration = 4"), &[], &Ticking::default());
    let report = report.0.expect("the time is over behind the last step");
    assert_eq!(report.leases[0].ended, "expired");
    assert_eq!(report.work.unmap_calls, 2, "what its end has unmapped is not the script's");
    let ran = run_at(&machine, &job("duration = 3"), &[], &Ticking::default());
    ran.refused(
        Exit::Job,
        &["step 3 (batch, lease all)", "its time was over"],
        "before the lease ends",
    );
}

#[test]
fn where_time_stands_still_nothing_is_ever_due() {
    let machine = SimMachine::new(Profile::powernv9());
    let lease = "duration = 1\ndeferred = { tces = 64, delay = 1 }";
    let report = run_at(&machine, &job(lease), &[], &Timestamp(7)).0.expect("nothing fails");
    assert_eq!((report.work.unmap_calls, report.leases[0].ended.as_str()), (0, "with the run"));
}
