//! Steps that ask policies: a lease for later, more time, more room, a group that leaves.

use std::{cell::Cell, fs};

use serde_json::Value;
use tce_engine::lease::Timestamp;
use tce_host::{exit::Exit, report::Report, run::Clock};
use tce_sim::{Profile, SimMachine};

use crate::common::{Folder, example, plugin, run_at, run_on, tce};

/// Two leases of one region each; the second is for later.
const TWO: &str = r#"
name = "two"
device = [{ address = "0000:01:00.0" }, { address = "0001:01:00.0" }]
region = [{ name = "a", size = "1M" }, { name = "b", size = "1M" }]
lease = [
    { name = "first", holder = "first", regions = ["a"], duration = 100, hints = { priority = "1" } },
    { name = "second", holder = "second", regions = ["b"], later = true },
]
"#;

fn two(steps: &str) -> String {
    format!("{TWO}\n{steps}")
}

fn machine() -> SimMachine {
    SimMachine::new(Profile::powernv9())
}

/// What each decision was about, and what came of it.
fn decisions(report: &Report) -> Vec<(&str, &str)> {
    report.decisions.iter().map(|it| (it.about.as_str(), it.answer.as_str())).collect()
}

#[test]
fn the_example_with_tenants_asks_every_question() {
    let report = run_on(&machine(), &example("tenants.toml"), &["tight"]).0.expect("it runs");
    let about: Vec<&str> = report.decisions.iter().map(|it| it.about.as_str()).collect();
    assert_eq!(
        about,
        [
            "pages",
            "windows",
            "nic-rings",
            "nic-buffers",
            "disk",
            "nic-buffers, larger",
            "nic-rings, once more",
            "group 1 leaves"
        ]
    );
    assert!(report.decisions.iter().all(|it| it.decided_by == "tight" && it.broken.is_none()));
    let grown = &report.leases[1];
    assert_eq!((grown.slot, grown.size, grown.tces_max), (1, 64 << 20, 16_384));
    assert_eq!(grown.tces_peak, 512);
}

#[test]
fn a_lease_for_later_is_made_by_its_step() {
    let steps =
        r#"step = [{ do = "lease", lease = "second" }, { do = "map-all", lease = "second" }]"#;
    let report = run_on(&machine(), &two(steps), &[]).0.expect("it runs");
    assert_eq!((report.leases[1].name.as_str(), report.leases[1].tces_peak), ("second", 256));
    let never = run_on(&machine(), &two("step = []"), &[]).0.expect("it runs");
    assert_eq!(never.leases.len(), 1, "what was never asked for is not reported");
}

/// The second lease is as large as the window.
fn too_large(settings: &str) -> String {
    let steps = r#"step = [{ do = "lease", lease = "second" }]"#;
    let large = TWO.replace("later = true", "later = true, size = \"2M\", at = \"0\"");
    format!("{large}\n{steps}\n[settings]\n{settings}")
}

#[test]
fn without_room_a_policy_may_take_leases_back() {
    let job = too_large("behaviour = \"take-all\"");
    let report = run_on(&machine(), &job, &["hostile"]).0.expect("there is room then");
    assert_eq!(report.leases[0].ended, "revoked");
    assert_eq!(report.leases[1].ended, "with the run");
    assert!(decisions(&report).contains(&("second, which has no room", "first shall end")));
}

/// Two windows, of which the second has no room for the third lease.
const TWO_WINDOWS: &str = r#"
name = "two windows"
device = [{ address = "0000:01:00.0" }]
region = [{ name = "low", size = "64K", at = "0" }, { name = "high", size = "2M" }]
lease = [
    { name = "first", holder = "a", regions = ["low"] },
    { name = "second", holder = "b", regions = ["high"], size = "1M" },
    { name = "third", holder = "c", regions = ["high"], size = "1M", at = "0x800000000000000", later = true },
]
step = [{ do = "lease", lease = "third" }]
"#;

#[test]
fn who_is_asked_for_leases_back_is_told_which_window_has_no_room() {
    let folder = Folder::new();
    let job = folder.file("job.toml", TWO_WINDOWS);
    let policies = format!(
        "policy = [{{ file = {:?} }}, {{ file = {:?}, decides = [\"lease-policy\"], \
         settings = {{ behaviour = \"take-all\" }} }}]",
        plugin("qemu-like"),
        plugin("hostile")
    );
    let (policies, journal) =
        (folder.file("policies.toml", policies), folder.path("journal.jsonl"));
    tce(&["run", &job, "--policies", &policies, "--journal", &journal]).with(Exit::Done);
    let journal = fs::read_to_string(journal).expect("a journal");
    let lines = journal.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let asked: Vec<Value> =
        lines.map(|line: Value| line["decision"]["question"]["reclaim"].clone()).collect();
    let asked = asked.iter().find(|it| !it.is_null()).expect("the question");
    assert_eq!(asked["windows"].as_array().map(Vec::len), Some(2));
    assert_eq!(asked["window"], asked["windows"][1]);
}

#[test]
fn without_room_and_with_nothing_taken_back_a_lease_is_denied() {
    let ran = run_on(&machine(), &too_large(""), &["hostile"]);
    let says = ["lease second", "no room for 2 MiB", "no lease is taken back"];
    ran.refused(Exit::Denied, &says, "a policy that takes leases back");
}

#[test]
fn leases_that_there_are_not_cannot_be_taken_back() {
    let ran = run_on(&machine(), &too_large("behaviour = \"unknown-lease\""), &["hostile"]);
    let stopped = ran.refused(Exit::Denied, &["no lease is taken back"], "");
    let last = stopped.decisions.last().expect("a decision");
    let why = last.broken.as_deref().expect("it broke");
    assert_eq!(
        (last.decided_by.as_str(), why),
        ("built-in", "its answer cannot be: there is no lease 4000000007")
    );
}

/// Each look is a millisecond later.
#[derive(Default)]
struct Ticking(Cell<u64>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        self.0.set(self.0.get() + 1);
        Timestamp(self.0.get())
    }
}

#[test]
fn a_lease_that_is_renewed_outlives_its_first_end() {
    let ring = r#"{ do = "ring", lease = "first", region = "a", entries = 16, entry-size = "4K", batch = 1, turns = 150 }"#;
    let without = two(&format!("step = [{ring}]"));
    let ran = run_at(&machine(), &without, &[], &Ticking::default());
    ran.refused(Exit::Job, &["its time was over"], "before the lease ends");
    let renew = r#"{ do = "renew", lease = "first", duration = 200 }"#;
    let with = two(&format!("step = [{renew}, {ring}]"));
    run_at(&machine(), &with, &[], &Ticking::default()).0.expect("there is time enough");
}

#[test]
fn a_renewal_that_is_refused_leaves_the_lease_to_its_end() {
    let steps = r#"step = [{ do = "renew", lease = "first", duration = 200 }, { do = "map-all", lease = "first" }]
        settings = { behaviour = "refuse", only = "renew" }"#;
    let report = run_on(&machine(), &two(steps), &["hostile"]).0.expect("the run goes on");
    assert_eq!(report.leases[0].tces_peak, 256);
    assert_eq!(
        report.decisions.last().map(|it| it.answer.as_str()),
        Some("the setting behaviour says to refuse")
    );
}

#[test]
fn a_growth_that_is_refused_or_impossible_stops_the_run() {
    let grow = r#"step = [{ do = "grow", lease = "first", size = "64M" }]"#;
    let refusing =
        two(&format!("{grow}\nsettings = {{ behaviour = \"refuse\", only = \"grow\" }}"));
    let ran = run_on(&machine(), &refusing, &["hostile"]);
    ran.refused(Exit::Denied, &["first, larger", "says to refuse"], "a no is a decision");
    let pseries = SimMachine::new(Profile::named("pseries").expect("a known profile"));
    let one_group = two(grow).replace(r#", { address = "0001:01:00.0" }"#, "");
    let fixed = one_group.replace(r#"name = "a", size"#, r#"name = "a", at = "0", size"#);
    let ran = run_on(&machine(), &fixed, &[]);
    ran.refused(Exit::Job, &["step 1 (grow, lease first)"], "");
    let partition = one_group.replace("0000:01:00.0", "0000:00:00.0");
    run_on(&pseries, &partition, &[]).0.expect("a partition has two windows as well");
}

#[test]
fn lies_about_growth_are_found() {
    for how in ["no-candidate", "unknown-page", "wrong-origin", "empty"] {
        let settings = format!("settings = {{ behaviour = \"{how}\", only = \"grow\" }}");
        let steps = r#"step = [{ do = "grow", lease = "first", size = "64M" }]"#;
        let job = two(&format!("{steps}\n{settings}"));
        let report = run_on(&machine(), &job, &["hostile"]).0.expect("the built-in policy answers");
        let last = report.decisions.last().expect("a decision");
        assert_eq!(last.decided_by, "built-in", "{how}");
        assert!(
            last.broken.as_deref().is_some_and(|why| why.contains("none of the candidates")),
            "{how}"
        );
    }
}

#[test]
fn a_group_that_leaves_takes_the_leases_that_a_policy_says() {
    let steps = r#"step = [
        { do = "map-all", lease = "first" },
        { do = "lease", lease = "second" },
        { do = "map-all", lease = "second" },
        { do = "leave", device = "0001:01:00.0" },
        { do = "unmap-all", lease = "second" },
    ]"#;
    let report = run_on(&machine(), &two(steps), &["tight"]).0.expect("both go on");
    assert_eq!(report.work.tces_cleared, 256);
    let taken = two(&format!("{steps}\nsettings = {{ behaviour = \"take-all\" }}"));
    let ran = run_on(&machine(), &taken, &["hostile"]);
    ran.refused(Exit::Job, &["step 5 (unmap-all, lease second)", "ended"], "");
}

#[test]
fn the_last_group_does_not_leave() {
    let steps =
        r#"step = [{ do = "leave", group = 1 }, { do = "leave", device = "0000:01:00.0" }]"#;
    let ran = run_on(&machine(), &two(steps), &[]);
    ran.refused(
        Exit::Job,
        &["step 2 (leave, group of 0000:01:00.0)", "the only group"],
        "run ends",
    );
}

#[test]
fn steps_that_make_no_sense_are_refused_before_anything_is_done() {
    for (steps, says) in [
        (r#"{ do = "map-all", lease = "second" }"#, "step 1: lease second is not there yet"),
        (r#"{ do = "lease", lease = "first" }"#, "step 1: lease first is there from the start"),
        (
            r#"{ do = "lease", lease = "second" }, { do = "lease", lease = "second" }"#,
            "step 2: lease second is asked for twice",
        ),
        (
            r#"{ do = "grow", lease = "first", size = "1M" }"#,
            "step 1: growing to 1 MiB is no growth",
        ),
        (r#"{ do = "leave" }"#, "step 1: to leave, a step has either"),
        (r#"{ do = "leave", group = 1, device = "x" }"#, "step 1: to leave, a step has either"),
    ] {
        let file = toml::from_str(&two(&format!("step = [{steps}]"))).expect("TOML");
        let error = tce_host::job::Job::new(file).expect_err(steps).to_string();
        assert!(error.contains(says), "{error}");
    }
}
