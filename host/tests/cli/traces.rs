//! `tce trace lint` and `tce trace replay`: reports, exit codes, and files that are no traces.

use std::path::PathBuf;

use tce_host::exit::Exit;

use crate::common::{Folder, tce};

/// A trace of the repository.
fn recorded(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../trace/traces");
    folder.join(format!("{name}.jsonl.gz")).display().to_string()
}

/// What strace prints of a program that opens a group a second time.
const STRACE: &str = "\
100 openat(AT_FDCWD, \"/dev/vfio/7\", O_RDWR) = 4
100 openat(AT_FDCWD, \"/dev/vfio/7\", O_RDWR) = -1 EBUSY (Device or resource busy)
100 ioctl(3, VFIO_DEVICE_PCI_HOT_RESET or VFIO_IOMMU_MAP_DMA, 0x7fff7564d7a0) = 0
";

#[test]
fn lint_names_each_hazard_with_line_cause_cost_and_remedy() {
    let ended = tce(&["trace", "lint", &recorded("dpdk-22.11-va-dynamic")]).with(Exit::Findings);
    for words in [
        "error unmap-wrong-range, 41 times: lines 123, 125,",
        "error unregister-while-mapped, 39 times: lines 124, 126,",
        "memory that stays pinned for good: 78 MiB",
        "  cause   the range of an unmap is cleared as it stands (tce_iommu_clear)",
        "  remedy  unmap exactly the IOVA range",
        "Verdict 2 errors, 2 warnings, 1 note",
    ] {
        assert!(ended.out.contains(words), "{words:?} in {}", ended.out);
    }
    assert!(ended.out.lines().all(|line| line.chars().count() <= 100), "{}", ended.out);
}

#[test]
fn lint_fails_on_what_it_is_told_to_fail_on() {
    let warned = recorded("dpdk-22.11-pa-256m");
    let lint = |fail_on: &str| tce(&["trace", "lint", &warned, "--fail-on", fail_on]);
    tce(&["trace", "lint", &warned]).with(Exit::Done);
    lint("error").with(Exit::Done);
    lint("warning").with(Exit::Findings);
    lint("note").with(Exit::Findings);
    lint("never").with(Exit::Done);
    let noted = recorded("qemu-7.2-kvm-64k-ddw");
    tce(&["trace", "lint", &noted, "--fail-on", "warning"]).with(Exit::Done);
    tce(&["trace", "lint", &noted, "--fail-on", "note"]).with(Exit::Findings);
    lint("everything").with(Exit::Usage);
}

#[test]
fn lint_reports_as_json() {
    let ended = tce(&["trace", "lint", "--json", &recorded("dpdk-22.11-va-256m")]);
    let report = ended.with(Exit::Done).json();
    assert_eq!(report["format"], "tce-lint/1");
    assert_eq!(report["calls"]["map"]["needed"], 1);
    let leaked = &report["findings"][0];
    assert_eq!(leaked["rule"], "charge-leaked");
    assert_eq!(leaked["costs"][0]["amount"], 524_288 * 1024);
    assert_eq!(report["disagreed"], 0);
}

#[test]
fn lint_says_what_strace_does_not_show() {
    let folder = Folder::new();
    let file = folder.file("strace.txt", STRACE);
    let ended = tce(&["trace", "lint", &file, "--fail-on", "warning"]).with(Exit::Findings);
    assert!(ended.out.contains("warning second-opener, line 2"), "{}", ended.out);
    assert!(ended.out.contains("(1 map) as addresses only"), "{}", ended.out);
    assert!(ended.out.contains("Not checked: unmap-wrong-range,"), "{}", ended.out);
    tce(&["trace", "replay", &file]).refused(
        Exit::Trace,
        &["strace shows no arguments"],
        "tce trace record",
    );
}

#[test]
fn replay_puts_both_sides_side_by_side() {
    let ended = tce(&["trace", "replay", &recorded("qemu-7.2-tcg-4k-ddw")]).with(Exit::Done);
    let line = |name: &str| {
        let found = ended.out.lines().find(|line| line.trim_start().starts_with(name));
        let line = found.unwrap_or_else(|| panic!("no {name:?} in {}", ended.out));
        line.trim_start()[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("unmap calls"), "262,144 1");
    assert_eq!(line("map calls"), "16 1");
    assert_eq!(line("all of these"), "262,164 7");
    assert_eq!(line("charge for tables"), "12,312 KiB 1 MiB");
    assert_eq!(line("TCEs set, peak"), "65,536 65,536");
}

#[test]
fn replay_leaves_nothing_behind_where_the_recorded_program_did() {
    for (name, left) in [
        ("dpdk-22.11-pa-dynamic", 2 << 21),
        ("dpdk-22.11-va-dynamic", 39 << 21),
        ("dpdk-25.11-pa-dynamic", 2 << 21),
    ] {
        let ended = tce(&["trace", "replay", "--json", &recorded(name)]).with(Exit::Done);
        let document = ended.json();
        assert_eq!(document["format"], "tce-trace-replay/1");
        assert_eq!(document["theirs"]["left_behind_bytes"], left, "{name}");
        assert_eq!(document["ours"]["left_behind_bytes"], 0, "{name}");
        assert_eq!(document["ours"]["tces_peak"], document["theirs"]["tces_peak"], "{name}");
        assert_eq!(document["run"]["calls"]["register"], 1, "{name}");
    }
}

#[test]
fn a_file_that_is_no_trace_is_refused() {
    let folder = Folder::new();
    for verb in ["lint", "replay"] {
        let ended = tce(&["trace", verb, &folder.file("a.toml", "name = \"a\"\n")]);
        let ended = ended.with(Exit::Trace);
        assert!(
            ended.err.contains("a.toml: this is no trace that can be read: expected a tce-trace")
        );
        let ended = tce(&["trace", verb, "/nowhere/at-all.jsonl"]).with(Exit::Trace);
        assert!(ended.err.contains("/nowhere/at-all.jsonl: cannot read the trace: No such file"));
        assert_eq!(ended.out, "");
    }
}

#[test]
fn a_damaged_line_is_named() {
    let folder = Folder::new();
    let text = "{\"format\":\"tce-trace\",\"version\":1}\n{\"call\":\"map\"}\n";
    let ended = tce(&["trace", "lint", &folder.file("t.jsonl", text)]).with(Exit::Trace);
    assert!(ended.err.contains("line 2: no event: "), "{}", ended.err);
}
