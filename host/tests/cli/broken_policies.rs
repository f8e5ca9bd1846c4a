//! Policies that break, and one that says no: two different things.

use tce_host::{exit::Exit, report::Outcome};
use tce_sim::{Profile, SimMachine};

use crate::common::{Folder, plugin, run_on, tce, with_step};

const CRASHED: (Exit, &str) = (Exit::PolicyCrashed, "crashed");
const OUT_OF_FUEL: (Exit, &str) = (Exit::PolicyOutOfFuel, "out-of-fuel");
const BAD_ANSWER: (Exit, &str) = (Exit::PolicyBadAnswer, "bad-answer");

/// Each way to misbehave: where it shows, what the report says, how the command ends and how the report calls that.
const WAYS: [(&str, &str, &str, (Exit, &str)); 15] = [
    ("trap", "page-selection", "it trapped", CRASHED),
    ("loop", "page-selection", "burned its budget", OUT_OF_FUEL),
    ("eat-memory", "page-selection", "of memory", CRASHED),
    ("recurse", "page-selection", "of stack", CRASHED),
    ("huge-list", "page-selection", "its answer has more than", BAD_ANSWER),
    ("huge-refusal", "page-selection", "its answer has more than", BAD_ANSWER),
    ("empty", "page-selection", "0 page sizes", BAD_ANSWER),
    ("unknown-page", "page-selection", "no window has pages of shift 63", BAD_ANSWER),
    ("region-twice", "page-selection", "stands twice", BAD_ANSWER),
    ("region-missing", "page-selection", "is left out", BAD_ANSWER),
    ("unknown-region", "page-selection", "there is no region", BAD_ANSWER),
    ("no-candidate", "window-sizing", "1048577", BAD_ANSWER),
    ("same-slot", "window-sizing", "its answer cannot be", BAD_ANSWER),
    ("too-much", "lease-policy", "its answer cannot be", BAD_ANSWER),
    ("nothing", "lease-policy", "0 TCEs", BAD_ANSWER),
];

/// A job whose settings make `hostile` misbehave.
fn job(behaviour: &str) -> String {
    let settings = format!("[settings]\nbehaviour = \"{behaviour}\"");
    format!("{}{settings}\n", with_step("do = \"map-all\""))
}

#[test]
fn where_a_policy_breaks_the_built_in_one_answers_and_the_report_says_so() {
    let folder = Folder::new();
    for (behaviour, point, says, (exit, fault)) in WAYS {
        let file = folder.file("job.toml", job(behaviour));
        let args = ["run", &file, "--policy", &plugin("hostile"), "--json"];
        let report = tce(&args).with(exit).json();
        let decisions = report["decisions"].as_array().expect("decisions");
        let broken = decisions.iter().find(|it| it["point"] == point).expect(point);
        let why = broken["broken"].as_str().unwrap_or_else(|| panic!("{behaviour}: {broken}"));
        assert!(why.contains(says), "{behaviour}: {why}");
        assert_eq!(broken["fault"], fault, "{behaviour}");
        assert_eq!(broken["asked"], "hostile", "{behaviour}");
        assert_eq!(broken["decided_by"], "built-in", "{behaviour}");
        assert_eq!(broken["outcome"], "granted", "{behaviour}");
        assert_eq!(report["work"]["tces_set"], 256, "{behaviour}: the work is done");
        assert_eq!(report["locked"]["left_behind"], 0, "{behaviour}");
    }
}

#[test]
fn the_text_tells_of_a_broken_policy_at_a_glance() {
    let folder = Folder::new();
    let file = folder.file("job.toml", job("trap"));
    let ended = tce(&["run", &file, "--policy", &plugin("hostile")]).with(Exit::PolicyCrashed);
    let line = "! hostile broke at pages (page-selection), so built-in decided: it trapped";
    assert!(ended.out.contains(line), "{}", ended.out);
    assert!(ended.out.contains("Left behind nothing"), "{}", ended.out);
}

#[test]
fn a_broken_policy_changes_nothing_but_who_decides() {
    let machine = || SimMachine::new(Profile::powernv9());
    let plain = run_on(&machine(), &job("honest"), &["hostile"]).0.expect("a report");
    for (behaviour, ..) in WAYS {
        let report = run_on(&machine(), &job(behaviour), &["hostile"]).0.expect("a report");
        assert_eq!(report.windows, plain.windows, "{behaviour}");
        assert_eq!(report.leases, plain.leases, "{behaviour}");
        assert_eq!(report.calls, plain.calls, "{behaviour}");
    }
}

#[test]
fn a_refusal_stops_the_run_and_is_no_breakage() {
    let folder = Folder::new();
    let file = folder.file("job.toml", job("refuse"));
    let says = ["denied", "policy hostile", "the setting behaviour says to refuse"];
    let ended = tce(&["run", &file, "--policy", &plugin("hostile")]);
    let ended = ended.refused(Exit::Denied, &says, "[settings]");
    assert!(!ended.err.contains("broke"), "{}", ended.err);
    let machine = SimMachine::new(Profile::powernv9());
    let stopped = run_on(&machine, &job("refuse"), &["hostile"]);
    let stopped = stopped.refused(Exit::Denied, &says, "[settings]");
    let decision = stopped.decisions.last().expect("a decision");
    assert_eq!((decision.outcome, &decision.broken), (Outcome::Denied, &None));
}

#[test]
fn a_refusal_at_any_point_takes_everything_down() {
    for function in ["select-pages", "size-windows", "admit"] {
        let job = format!("{}only = \"{function}\"\n", job("refuse"));
        let machine = SimMachine::new(Profile::powernv9());
        run_on(&machine, &job, &["hostile"]).refused(Exit::Denied, &["policy hostile"], "");
    }
}

#[test]
fn a_policy_in_a_worker_decides_and_breaks_as_one_in_this_process() {
    let folder = Folder::new();
    for (behaviour, exit) in [
        ("honest", Exit::Done),
        ("trap", Exit::PolicyCrashed),
        ("loop", Exit::PolicyOutOfFuel),
        ("empty", Exit::PolicyBadAnswer),
    ] {
        let file = folder.file("job.toml", job(behaviour));
        let [here, there] = ["in-process", "worker"].map(|isolation| {
            let policy = plugin("hostile");
            let args = ["run", &file, "--policy", &policy, "--policy-isolation", isolation];
            tce(&[args.as_slice(), &["--json"]].concat()).with(exit).json()
        });
        for part in ["policies", "decisions", "windows", "work"] {
            assert!(!here[part].is_null(), "{part}");
            assert_eq!(there[part], here[part], "{behaviour}: {part}");
        }
    }
}
