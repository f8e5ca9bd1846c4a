//! What is charged, as policies see it, includes the memory of the demand, which is registered after the windows.

use tce_engine::{addr::Bytes, lease::Timestamp};
use tce_host::{
    decide::Policies,
    exit::Exit,
    job::Job,
    report::Report,
    run::{Options, Silent, Stopped, run},
};
use tce_sim::{Profile, SimMachine};

/// 16 MiB now and as much later, in 4K pages: a table of 64 KiB, which is charged twice.
const JOB: &str = r#"
name = "growing"
device = [{ address = "0000:01:00.0" }]
region = [{ name = "memory", size = "16M" }]
demand = { growth = "16M" }
lease = [{ name = "all", holder = "test", regions = ["memory"] }]
step = [{ do = "map-all", lease = "all" }]
"#;
const MEMORY: Bytes = Bytes::mib(16);
const TABLE: Bytes = Bytes::kib(128);

fn run_within(limit: Bytes) -> Result<Report, Box<Stopped>> {
    let job = Job::new(toml::from_str(JOB).expect("TOML")).expect("a job");
    let mut machine = SimMachine::new(Profile::powernv9().with_locked_limit(limit));
    let policies = Policies::new(vec![]).expect("no two components");
    let options = Options {
        policies: &policies,
        backend: "sim".to_owned(),
        policy_compiler: "none".to_owned(),
        clock: &Timestamp(0),
    };
    run(&job, &mut machine, &options, &Silent)
}

#[test]
fn memory_and_tables_fit_exactly() {
    let report = run_within(MEMORY.saturating_add(TABLE)).expect("it fits");
    assert_eq!(report.windows[0].size, 32 << 20);
}

#[test]
fn a_policy_knows_that_the_memory_is_still_to_come() {
    let limit = MEMORY.saturating_add(TABLE).checked_sub(Bytes::kib(4)).expect("more than 4K");
    let stopped = run_within(limit).expect_err("a refusal");
    assert_eq!(stopped.failure.exit, Exit::Denied);
    let says = "the cheapest table takes 128 KiB of locked memory, and 16 MiB of 16508 KiB are taken, \
                the demand's memory included: the limit would have to be 16512 KiB";
    assert!(stopped.failure.what.contains(says), "{}", stopped.failure);
}
