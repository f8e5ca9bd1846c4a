//! What an operator can say of the platform, of windows and of unmaps, and what comes of it.

use serde_json::Value;
use tce_host::exit::Exit;
use tce_sim::{Profile, SimMachine};

use crate::common::{Folder, SMALL, example, run_on, tce};

/// A job for a partition, whose window the firmware turns out not to have room for.
const LARGE: &str = r#"
name = "large"
[[device]]
address = "0000:00:00.0"
[[region]]
name = "memory"
size = "256M"
[[lease]]
name = "all"
holder = "test"
regions = ["memory"]
size = "512M"
[[step]]
do = "map-all"
lease = "all"
[demand]
growth = "1P"
"#;
/// What the attempt leaks: the table of 2 PiB in 4K pages.
const LEAKED: u64 = 4 << 40;

/// Runs a job, and reads its report.
#[track_caller]
fn report(profile: &str, job: &str, exit: Exit) -> Value {
    let folder = Folder::new();
    let file = folder.file("job.toml", job);
    tce(&["run", &file, "--json", "--backend", &format!("sim:{profile}")]).with(exit).json()
}

/// Runs a job that is refused after it was read: by the command, and through the library, which leaves nothing behind.
#[track_caller]
fn refused(profile: &str, job: &str, says: &[&str], help: &str) {
    let folder = Folder::new();
    let file = folder.file("job.toml", job);
    let backend = format!("sim:{profile}");
    tce(&["run", &file, "--backend", &backend]).refused(Exit::Job, says, help);
    let machine = SimMachine::new(Profile::named(profile).expect(profile));
    run_on(&machine, job, &[]).refused(Exit::Job, says, help);
}

/// The large job with this in `[windows]`.
pub(crate) fn large(windows: &str) -> String {
    format!("{LARGE}\n[windows]\n{windows}\n")
}

#[test]
fn a_window_that_the_firmware_has_no_room_for_ends_the_run_and_what_leaked_is_told() {
    let folder = Folder::new();
    // The last is no smaller, and so no fallback.
    for job in [LARGE.to_owned(), large("fallback = \"none\""), large("fallback = \"2P\"")] {
        let file = folder.file("job.toml", job);
        let ended = tce(&["run", &file, "--backend", "sim:pseries"]).with(Exit::LeftBehind);
        assert_eq!(ended.out, "", "no report");
        for says in ["no room for a window of 2 PiB", "EINVAL", "4 TiB stay locked"] {
            assert!(ended.err.contains(says), "{says} in {}", ended.err);
        }
        let help = ended.err.split_once("\nhelp: ").expect("a remedy").1;
        assert!(help.contains("`fallback`") && help.contains("`dynamic-tces`"), "{help}");
    }
}

#[test]
fn a_fallback_is_made_where_the_firmware_has_less() {
    for (fallback, size) in [("smallest", 512_u64 << 20), ("1G", 1 << 30), ("64T", 64 << 40)] {
        let job = large(&format!("fallback = \"{fallback}\""));
        let report = report("pseries", &job, Exit::LeftBehind);
        let window = &report["windows"][0];
        assert_eq!(
            (&window["size"], &window["fallback_for"]),
            (&size.into(), &(2_u64 << 50).into())
        );
        assert_eq!(window["tces"], size >> 12, "of the fallback");
        assert_eq!(window["charge"]["predicted"], window["charge"]["charged"]);
        assert_eq!(report["calls"]["create"], 2, "the first and its fallback");
        assert_eq!(report["work"]["tces_set"], 65_536, "the work is done");
        let locked = &report["locked"];
        assert_eq!((&locked["leaked"], &locked["left_behind"]), (&LEAKED.into(), &LEAKED.into()));
        let learnt = report["container"]["dynamic_tces_max"].as_u64();
        assert_eq!(learnt, Some(1 << 38), "half of what was refused");
    }
}

#[test]
fn a_report_for_people_says_that_a_fallback_was_made_and_what_leaked() {
    let folder = Folder::new();
    let file = folder.file("job.toml", large("fallback = \"smallest\""));
    let ended = tce(&["run", &file, "--backend", "sim:pseries"]).with(Exit::LeftBehind);
    for says in ["created, fallback for 2 PiB", "calls were seen to leak 4 TiB"] {
        assert!(ended.out.contains(says), "{says} in {}", ended.out);
    }
}

#[test]
fn a_fallback_plays_no_part_where_the_firmware_has_enough_or_no_say() {
    let fallback = "[windows]\nfallback = \"smallest\"\n";
    let partition = LARGE.replace("1P", "1G") + fallback;
    for (profile, job) in [("pseries", partition), ("powernv9", format!("{SMALL}{fallback}"))] {
        let report = report(profile, &job, Exit::Done);
        assert_eq!(report["windows"][0].get("fallback_for"), None);
        assert_eq!(
            (&report["calls"]["create"], &report["locked"]["leaked"]),
            (&1.into(), &0.into())
        );
    }
}

#[test]
fn a_fallback_that_does_not_hold_regions_and_leases_is_refused_before_a_window_is_made() {
    let says = ["the fallback of 128 MiB", "2 PiB in slot 0", "256 MiB of memory"];
    refused("pseries", &large("fallback = \"128M\""), &says, "\"smallest\"");
    let says = ["the fallback of 256 MiB", "512 MiB of memory"];
    refused("pseries", &large("fallback = 0x1000_0000"), &says, "a larger `fallback`");
}

#[test]
fn no_window_is_asked_for_that_is_larger_than_the_operator_says() {
    let limited = |tces: u64| format!("{LARGE}\n[platform]\ndynamic-tces = {tces}\n");
    // The whole demand would take pages of 4K to 2^39 TCEs; nothing is asked for in vain.
    let machine = SimMachine::new(Profile::pseries());
    let stopped = run_on(&machine, &limited(1 << 37), &[]).0.expect_err("no window has it all");
    assert_eq!(machine.calls(tce_sim::Operation::Create), 0, "{}", stopped.failure);
    let modest = |tces| limited(tces).replace("1P", "1G");
    let report = report("pseries", &modest(1 << 19), Exit::Done);
    assert_eq!(report["container"]["dynamic_tces_max"], 1 << 19);
    assert_eq!(
        (&report["windows"][0]["tces"], &report["calls"]["create"]),
        (&(1 << 19).into(), &1.into())
    );
    let tight = LARGE.replace("256M", "2G").replace("size = \"512M\"", "").replace("1P", "0")
        + "[platform]\ndynamic-tces = 65_536";
    let says = ["no window can hold the demand of 2 GiB", "65536 TCEs at most"];
    refused("pseries", &tight, &says, "dynamic-tces");
    // Where there are no dynamic windows it has no effect.
    let elsewhere = format!("{SMALL}[platform]\ndynamic-tces = 1\n");
    assert_eq!(on_host(&elsewhere)["windows"][0]["tces"], 256);
}

#[track_caller]
fn on_host(job: &str) -> Value {
    report("powernv9", job, Exit::Done)
}

#[test]
fn reserved_ranges_of_a_job_are_kept_clear_of() {
    let reserved =
        "[platform]\nreserved = [{ at = \"64K\", size = 1 }, { at = \"4K\", size = \"4K\" }]\n";
    let low = "[demand]\ndevice-mask-bits = 32\n";
    let report = on_host(&format!("{SMALL}{low}{reserved}"));
    let told = report["container"]["reserved"].as_array().expect("a list");
    let told: Vec<_> = told.iter().map(|it| (it["start"].as_u64(), it["what"].as_str())).collect();
    let job = Some("job");
    assert_eq!(told, [(Some(4096), job), (Some(65_536), job), (Some(2 << 30), Some("mmio-32bit"))]);
    // Behind the page that is touched.
    assert_eq!(report["leases"][0]["start"], 0x1_1000);
    let inside = SMALL.replace("size = ", "at = \"4K\"\nsize = ") + reserved;
    refused(
        "powernv9",
        &inside,
        &["region memory", "4 KiB from 0x1000 are reserved (job)"],
        "`at`",
    );
}

#[test]
fn an_unused_default_window_is_kept_or_goes_with_its_charge() {
    let high = SMALL.replace("size = ", "at = \"0x0800_0000_0000_0000\"\nsize = ");
    let with = |unused: &str| on_host(&format!("{high}[windows]\nunused-default = \"{unused}\"\n"));
    let (kept, removed) = (with("keep"), with("remove"));
    assert_eq!(kept, on_host(&high), "by default");
    let origin = |report: &Value| report["windows"][1]["origin"].as_str().map(str::to_owned);
    assert_eq!(origin(&kept).as_deref(), Some("default-window, unused"));
    assert_eq!(origin(&removed).as_deref(), Some("default-window, removed"));
    let during = |report: &Value| report["locked"]["during"].as_u64().expect("a number");
    let charge = removed["windows"][1]["charge"]["charged"].as_u64().expect("it was made");
    assert_eq!(during(&kept) - during(&removed), charge);
}

/// A job that unmaps two pages, and then replaces other mappings for more than a moment.
fn unmapping(deferred: &str) -> String {
    let lease = SMALL.replace("holder", &format!("{deferred}\nholder"));
    format!(
        "{lease}
[[step]]
do = \"map-all\"
lease = \"all\"
[[step]]
do = \"batch\"
lease = \"all\"
edits = [{{ unmap = 0, size = \"8K\" }}]
[[step]]
do = \"ring\"
lease = \"all\"
region = \"memory\"
at = \"64K\"
entries = 16
entry-size = \"4K\"
batch = 16
turns = 4000
"
    )
}

/// What the unmap came to: calls, TCEs put off, TCEs cleared.
fn unmapped(deferred: &str) -> [Option<u64>; 3] {
    let work = &on_host(&unmapping(deferred))["work"];
    ["unmap_calls", "tces_deferred", "tces_cleared"].map(|key| work[key].as_u64())
}

#[test]
fn unmaps_are_put_off_as_long_as_a_lease_allows_and_no_longer() {
    assert_eq!(unmapped(""), [1, 0, 2].map(Some), "at once");
    let hour = 3_600_000;
    let for_long = unmapped(&format!("deferred = {{ tces = 2, delay = {hour} }}"));
    assert_eq!(for_long, [0, 2, 0].map(Some), "beyond the end of the script");
    let too_many = unmapped(&format!("deferred = {{ tces = 1, delay = {hour} }}"));
    assert_eq!(too_many, [1, 0, 2].map(Some), "no more linger than may");
    let for_a_moment = unmapped("deferred = { tces = 512, delay = 1 }");
    assert_eq!(for_a_moment, [1, 2, 2].map(Some), "while the ring turns");
}

#[test]
fn the_example_of_a_partition_runs_as_it_says() {
    let report = report("pseries", &example("partition.toml"), Exit::Done);
    assert_eq!(
        (&report["container"]["dynamic_tces_max"], &report["windows"][0]["tces"]),
        (&(1 << 20).into(), &(1 << 20).into())
    );
    assert_eq!(report["leases"][0]["start"], (1_u64 << 59) + 0x2000, "behind what is reserved");
    let work = &report["work"];
    assert_eq!(
        (&work["tces_kept"], &work["edits"]),
        (&16.into(), &5.into()),
        "used again without a call"
    );
}

#[test]
fn a_report_says_how_unmaps_were_put_off() {
    let job = unmapping("deferred = { tces = 512, delay = 60000 }");
    let report = on_host(&job);
    assert_eq!(report["leases"][0]["deferred"], serde_json::json!({ "tces": 512, "delay": 60000 }));
    assert_eq!(on_host(&unmapping(""))["leases"][0].get("deferred"), None);
    let folder = Folder::new();
    let ended = tce(&["run", &folder.file("job.toml", job)]).with(Exit::Done);
    assert!(ended.out.contains("2 put off"), "{}", ended.out);
}

#[test]
fn a_setting_that_cannot_be_is_shown_where_it_stands_with_what_would_be_right() {
    let lease = |deferred: &str| SMALL.replace("holder", &format!("deferred = {deferred}\nholder"));
    let platform = |says: &str| format!("{SMALL}[platform]\n{says}\n");
    let windows = |says: &str| format!("{SMALL}[windows]\n{says}\n");
    let many = "{ at = 0, size = 1 },".repeat(65);
    for (job, says) in [
        (platform("dynamic-tces = 0"), ["line 13, column 16", "1 TCE at least"]),
        (platform("dynamic-tces = \"4G\""), ["line 13, column 16", "expected u64"]),
        (platform("dynamic-tces = -1"), ["line 13, column 16", "expected u64"]),
        (
            platform("reserved = [{ at = \"4G\", size = 0 }]"),
            ["line 13", "is empty: give it a size"],
        ),
        (platform("reserved = [{ at = \"4G\" }]"), ["line 13", "missing field `size`"]),
        (
            platform("reserved = [{ at = \"0xffff_ffff_ffff_f000\", size = \"4K\" }]"),
            ["line 13", "ends beyond 64 bits: make it smaller"],
        ),
        (
            platform(&format!("reserved = [{many}]")),
            ["platform: 65 reserved ranges", "64 is the most"],
        ),
        (platform("window = 1"), ["line 13", "expected `dynamic-tces` or `reserved`"]),
        (windows("fallback = \"small\""), ["line 13, column 12", "write \"none\", \"smallest\""]),
        (windows("fallback = true"), ["line 13, column 12", "expected a size"]),
        (windows("fallback = \"3M\""), ["line 13, column 12", "powers of two"]),
        (windows("fallback = 2048"), ["line 13, column 12", "powers of two"]),
        (windows("unused-default = \"drop\""), ["line 13", "expected `keep` or `remove`"]),
        (lease("{ tces = 0, delay = 5 }"), ["line 7, column 12", "`tces` is 1 to 65536"]),
        (lease("{ tces = 65537, delay = 5 }"), ["line 7, column 12", "`tces` is 1 to 65536"]),
        (lease("{ tces = 5, delay = 0 }"), ["line 7, column 12", "`delay` 1 at least"]),
        (lease("{ tces = 5 }"), ["line 7", "missing field `delay`"]),
        (lease("true"), ["line 7, column 12", "invalid type"]),
    ] {
        let folder = Folder::new();
        let file = folder.file("job.toml", &job);
        tce(&["run", &file]).refused(Exit::Job, &says, "docs/job.md");
    }
}
