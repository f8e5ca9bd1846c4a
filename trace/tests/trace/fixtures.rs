//! Recorded runs of DPDK and QEMU: what lint and replay find in them, to the last count.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tce_trace::{
    demand::{Demand, DemandStep},
    lint::{Finding, Report, Rule, Severity, lint},
    replay::{Leaving, Observer, Step, replay},
    survey::Survey,
    trace::Trace,
};

const ALL: [&str; 10] = [
    "dpdk-22.11-pa-1g",
    "dpdk-22.11-pa-256m",
    "dpdk-22.11-pa-dynamic",
    "dpdk-22.11-pa-one-1g-page",
    "dpdk-22.11-va-256m",
    "dpdk-22.11-va-dynamic",
    "dpdk-25.11-pa-256m",
    "dpdk-25.11-pa-dynamic",
    "qemu-7.2-kvm-64k-ddw",
    "qemu-7.2-tcg-4k-ddw",
];
const DYNAMIC: [&str; 3] =
    ["dpdk-22.11-pa-dynamic", "dpdk-22.11-va-dynamic", "dpdk-25.11-pa-dynamic"];

fn trace(name: &str) -> Trace {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("traces");
    let trace = Trace::open(&folder.join(format!("{name}.jsonl.gz")));
    trace.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What lint says of a trace. Each is linted once: that of QEMU is long.
fn report(name: &str) -> Arc<Report> {
    static REPORTS: Mutex<BTreeMap<String, Arc<Report>>> = Mutex::new(BTreeMap::new());
    let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let report = reports.entry(name.to_owned()).or_insert_with(|| {
        Arc::new(lint(&trace(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    Arc::clone(report)
}

#[track_caller]
fn found(report: &Report, rule: Rule) -> &Finding {
    report.finding(rule).unwrap_or_else(|| panic!("no {}: {:?}", rule.name(), report.findings))
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

/// Calls made, and calls that would do.
fn calls(report: &Report, kind: &str) -> (u64, Option<u64>) {
    report.calls.get(kind).map_or((0, None), |count| (count.made, count.needed))
}

#[test]
fn the_simulated_kernel_agrees_with_every_recorded_answer() {
    for name in ALL {
        let report = report(name);
        assert_eq!(report.disagreed, 0, "{name}: {:?}", report.disagreements);
        assert!(report.replayed > 0, "{name}");
        assert!(report.unchecked.is_empty(), "{name}");
    }
}

/// Compares the locked memory after each call with what was recorded.
#[derive(Default)]
struct Locked {
    compared: u64,
    different: Vec<(u64, u64, u64)>,
}

impl Observer for Locked {
    fn step(&mut self, step: &Step<'_>) {
        if let Some(recorded) = step.event.locked {
            self.compared += 1;
            if recorded != step.after.locked {
                self.different.push((step.place.0, recorded.raw(), step.after.locked.raw()));
            }
        }
    }

    fn leaving(&mut self, _leaving: &Leaving<'_>) {}
}

#[test]
fn the_simulated_kernel_charges_what_the_recorded_one_charged() {
    // Under KVM the guest's own tables are charged as well, by calls that were not recorded.
    for name in ALL.into_iter().filter(|name| !name.contains("kvm")) {
        let trace = trace(name);
        let mut locked = Locked::default();
        replay(&trace, &Survey::of(&trace).unwrap(), &mut locked).unwrap();
        assert!(locked.compared > 4, "{name}");
        assert_eq!(locked.different, [], "{name}");
    }
}

#[test]
fn every_unmap_of_the_dynamic_runs_is_of_the_wrong_range() {
    for name in DYNAMIC {
        let report = report(name);
        assert_eq!(calls(&report, "unmap").0, 41, "{name}");
        let finding = found(&report, Rule::UnmapWrongRange);
        assert_eq!((finding.count, finding.severity), (41, Severity::Error), "{name}");
    }
}

#[test]
fn all_five_pages_in_use_have_lost_their_tces_at_the_end() {
    for name in DYNAMIC {
        let report = report(name);
        let finding = found(&report, Rule::UnmapWrongRange);
        assert!(finding.what.ends_with("5 of 5 mappings still in use at the end had no TCE left"));
        assert_eq!(finding.cost("mappings in use that have no TCE at the end"), Some(5), "{name}");
        let left = finding.cost("freed mappings that are still there at the end");
        assert_eq!(left, Some(1), "{name}");
    }
}

#[test]
fn as_many_regions_leak_as_huge_pages_never_came_back() {
    for (name, regions) in DYNAMIC.into_iter().zip([2, 39, 2]) {
        let report = report(name);
        let finding = found(&report, Rule::UnregisterWhileMapped);
        assert_eq!(finding.count, regions, "{name}");
        assert_eq!(finding.cost("regions that stay pinned for good"), Some(regions), "{name}");
        let bytes = finding.cost("memory that stays pinned for good");
        assert_eq!(bytes, Some(regions << 21), "{name}");
        assert_eq!(finding.severity, Severity::Error);
    }
}

#[test]
fn probing_levels_leaks_524288_kib_of_charge() {
    let report = report("dpdk-22.11-va-256m");
    let finding = found(&report, Rule::ChargeLeaked);
    assert_eq!(finding.count, 1);
    assert_eq!(finding.cost("locked memory charged for nothing"), Some(524_288 << 10));
    for name in ALL.into_iter().filter(|name| *name != "dpdk-22.11-va-256m") {
        assert!(self::report(name).finding(Rule::ChargeLeaked).is_none(), "{name}");
    }
}

#[test]
fn register_and_map_calls_could_be_as_few_as_the_table_of_measurements_says() {
    for (name, register, map) in [
        ("dpdk-22.11-pa-256m", (128, 1), (128, 4)),
        ("dpdk-25.11-pa-256m", (128, 1), (128, 101)),
        ("dpdk-22.11-pa-1g", (512, 1), (512, 131)),
        ("dpdk-22.11-va-256m", (128, 1), (128, 1)),
        ("dpdk-22.11-pa-one-1g-page", (1, 1), (1, 1)),
        ("dpdk-22.11-pa-dynamic", (46, 1), (46, 46)),
        ("dpdk-25.11-pa-dynamic", (46, 1), (46, 44)),
        ("dpdk-22.11-va-dynamic", (46, 1), (46, 1)),
        ("qemu-7.2-tcg-4k-ddw", (1, 1), (16, 1)),
    ] {
        let report = report(name);
        assert_eq!(calls(&report, "register"), (register.0, Some(register.1)), "{name}");
        assert_eq!(calls(&report, "map"), (map.0, Some(map.1)), "{name}");
    }
}

#[test]
fn qemu_could_clear_its_window_with_1_unmap_where_it_makes_262144() {
    let report = report("qemu-7.2-tcg-4k-ddw");
    assert_eq!(calls(&report, "unmap"), (262_144, Some(1)));
    let finding = found(&report, Rule::OneCallPerPage);
    assert_eq!(finding.cost("calls too many"), Some(262_143 + 15));
    assert_eq!(finding.severity, Severity::Warning);
    let unused = found(&report, Rule::OversizedTable);
    assert_eq!(unused.cost("locked memory charged for tables"), Some(4104 << 10));
    assert_eq!(report.worst(), Some(Severity::Warning));
}

#[test]
fn windows_of_64_tib_and_256_gib_are_far_larger_than_what_they_hold() {
    for (name, charged) in [
        // Without what the failed attempt left: 1048704 KiB in all.
        ("dpdk-22.11-va-256m", (1_048_704 - 524_288) << 10),
        ("dpdk-22.11-va-dynamic", 2048 << 10),
    ] {
        let report = report(name);
        let finding = found(&report, Rule::OversizedTable);
        assert_eq!(finding.cost("locked memory charged for tables"), Some(charged), "{name}");
        assert_eq!(finding.cost("of which the mapped addresses need"), Some(8192), "{name}");
    }
}

#[test]
fn pages_at_32_bit_mmio_addresses_are_found() {
    for (name, maps) in [
        ("dpdk-22.11-pa-256m", Some(2)),
        ("dpdk-25.11-pa-256m", Some(2)),
        ("dpdk-22.11-pa-1g", Some(2)),
        ("dpdk-25.11-pa-dynamic", Some(2)),
        ("dpdk-22.11-pa-dynamic", None),
        ("dpdk-22.11-pa-one-1g-page", Some(1)),
        ("dpdk-22.11-va-256m", None),
    ] {
        let report = report(name);
        assert_eq!(report.finding(Rule::ReservedRange).map(|it| it.count), maps, "{name}");
    }
}

#[test]
fn under_kvm_nothing_is_mapped_and_nothing_is_wrong() {
    let report = report("qemu-7.2-kvm-64k-ddw");
    assert_eq!(calls(&report, "map"), (0, None));
    assert_eq!(rules(&report), [Rule::LeftAtExit]);
    assert_eq!(report.worst(), Some(Severity::Note));
}

#[test]
fn no_other_rule_finds_anything() {
    use Rule::{
        ChargeLeaked, LeftAtExit, OneCallPerPage, OversizedTable, ReservedRange, UnmapWrongRange,
        UnregisterWhileMapped,
    };
    for (name, expected) in [
        ("dpdk-22.11-pa-256m", vec![ReservedRange, OneCallPerPage, LeftAtExit]),
        ("dpdk-22.11-pa-one-1g-page", vec![ReservedRange, LeftAtExit]),
        ("dpdk-22.11-va-256m", vec![ChargeLeaked, OversizedTable, OneCallPerPage, LeftAtExit]),
        (
            "dpdk-22.11-pa-dynamic",
            vec![UnmapWrongRange, UnregisterWhileMapped, OneCallPerPage, LeftAtExit],
        ),
        (
            "dpdk-22.11-va-dynamic",
            vec![
                UnmapWrongRange,
                UnregisterWhileMapped,
                OversizedTable,
                OneCallPerPage,
                LeftAtExit,
            ],
        ),
        (
            "dpdk-25.11-pa-dynamic",
            vec![UnmapWrongRange, UnregisterWhileMapped, ReservedRange, OneCallPerPage, LeftAtExit],
        ),
        ("qemu-7.2-tcg-4k-ddw", vec![OversizedTable, OneCallPerPage, LeftAtExit]),
    ] {
        assert_eq!(rules(&report(name)), expected, "{name}");
    }
}

fn demand(name: &str) -> Demand {
    let trace = trace(name);
    Demand::of(&trace, &Survey::of(&trace).unwrap()).unwrap()
}

#[test]
fn the_demand_of_a_dynamic_run_is_46_pages_of_which_41_go() {
    for name in DYNAMIC {
        let demand = demand(name);
        let sizes: Vec<u64> = demand.regions.iter().map(|region| region.size().raw()).collect();
        assert_eq!(sizes, [46 << 21], "{name}");
        let bytes: Vec<(bool, u64)> = demand
            .steps
            .iter()
            .map(|step| match step {
                DemandStep::Map(parts) => (true, parts.iter().map(|part| part.size).sum()),
                DemandStep::Unmap(parts) => (false, parts.iter().map(|part| part.size).sum()),
            })
            .collect();
        assert_eq!(bytes, [(true, 46 << 21), (false, 41 << 21)], "{name}");
        assert_eq!(demand.theirs.calls, 1 + 1 + 46 + 46 + 41 + 41, "{name}");
    }
}

#[test]
fn what_theirs_cost_is_what_was_measured() {
    let va = demand("dpdk-22.11-va-256m").theirs;
    assert_eq!(va.table_charge_bytes, 1_048_704 << 10);
    assert_eq!(va.locked_peak_bytes, 1_310_848 << 10);
    assert_eq!(va.window_bytes, 1 << 46);
    let tcg = demand("qemu-7.2-tcg-4k-ddw").theirs;
    assert_eq!((tcg.locked_peak_bytes, tcg.tces_peak), (274_456 << 10, 65_536));
    assert_eq!(demand("dpdk-22.11-va-dynamic").theirs.left_behind_bytes, 39 << 21);
}
