//! Made-up machines, and what is said of them.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{GroupNumber, Platform, SpaprInfo},
    machine::GroupDevice,
};
use tce_vfio::{
    Release,
    survey::{
        ContainerNode, Group, HugePagePool, LockedMemoryLimit, Module, ModuleState, ProbeError,
        Survey,
    },
};

use super::{Check, Diagnosis, Mark, Probed, render};
use crate::exit::Exit;

const OPEN: ContainerNode = ContainerNode::Open { spapr_v2: true, eeh: true };

fn device(address: &str, driver: Option<&str>) -> GroupDevice {
    GroupDevice {
        address: address.to_owned(),
        id: (0x1234, 0x11e8),
        driver: driver.map(str::to_owned),
        blocks_group: !matches!(driver, None | Some("vfio-pci" | "pcieport")),
    }
}

fn group(number: u32, devices: Vec<GroupDevice>) -> Group {
    let has_node = devices.iter().any(|it| it.driver.as_deref() == Some("vfio-pci"));
    Group { number: GroupNumber(number), devices, has_node }
}

fn modules(state: ModuleState) -> Vec<Module> {
    let names = ["vfio", "vfio_iommu_spapr_tce", "vfio_pci"];
    names.map(|name| Module { name, state }).into()
}

fn on_kernel(release: &str, survey: Survey) -> Survey {
    let verdict = Release::parse(release).map(Release::verdict);
    Survey { kernel: release.to_owned(), verdict, ..survey }
}

/// A POWER9 host with one device for VFIO, a bridge, and all that is needed.
fn powernv() -> Survey {
    let survey = Survey {
        kernel: String::new(),
        verdict: None,
        machine: "PowerNV 8335-GTH".to_owned(),
        platform: Some(Platform::Powernv),
        page_shift: Some(PageShift::K64),
        modules: modules(ModuleState::Loaded),
        container: OPEN,
        groups: vec![
            group(0, vec![device("0000:00:00.0", Some("pcieport"))]),
            group(1, vec![device("0000:01:00.0", Some("vfio-pci"))]),
        ],
        locked_memory: Some(LockedMemoryLimit { limit: Some(Bytes::mib(8)), is_exempt: true }),
        huge_pages: vec![HugePagePool { page_shift: PageShift::M2, total: 64, free: 60 }],
    };
    on_kernel("6.12.112", survey)
}

fn probed(group: u32, windows_max: u32, levels_max: u32) -> Probed {
    let info = SpaprInfo {
        flags: 1,
        dma32_window_start: 0,
        dma32_window_size: 1 << 31,
        page_sizes: 0x4021_1000,
        windows_max,
        levels_max,
    };
    Probed { group: GroupNumber(group), result: Ok(info) }
}

fn diagnose(survey: &Survey) -> Diagnosis {
    Diagnosis::of(survey, &[])
}

fn check<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Check {
    let found = diagnosis.checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check {name} in {diagnosis:#?}"))
}

/// A check's mark, and its remedy in one text.
fn marked(survey: &Survey, name: &str) -> (Mark, String) {
    let diagnosis = diagnose(survey);
    let check = check(&diagnosis, name);
    let remedy = check.remedy.as_ref();
    let remedy = remedy.map(|it| format!("{}\n{}", it.what, it.commands.join("\n")));
    (check.mark, remedy.unwrap_or_default())
}

#[test]
fn a_good_powernv_machine_is_able() {
    let diagnosis = Diagnosis::of(&powernv(), &[probed(1, 2, 5)]);
    assert!(diagnosis.checks.iter().all(|check| check.mark == Mark::Ok), "{diagnosis:#?}");
    assert_eq!((diagnosis.able, diagnosis.exit()), (true, Exit::Done));
    assert_eq!(diagnosis.verdict, "this machine can do the real thing, with 1 group");
    let windows = &check(&diagnosis, "DDW 1").finding;
    let expected = "2 windows, pages of 4K, 64K, 2M, 1G, 5 table levels; default window of 2 GiB";
    assert_eq!(windows, expected);
}

#[test]
fn a_partition_may_lack_eeh_and_a_count_of_windows() {
    let container = ContainerNode::Open { spapr_v2: true, eeh: false };
    let lpar = Survey { platform: Some(Platform::Pseries), container, ..powernv() };
    let diagnosis = Diagnosis::of(&lpar, &[probed(1, u32::MAX, 1)]);
    assert!(diagnosis.able);
    assert_eq!(check(&diagnosis, "EEH").mark, Mark::Warning);
    assert!(check(&diagnosis, "DDW 1").finding.contains("does not tell"));
    assert_eq!(diagnosis.groups[1].windows.as_ref().map(|it| it.windows_max), Some(None));
}

#[test]
fn a_laptop_is_told_about_the_simulated_backend_and_nothing_else() {
    let laptop = Survey {
        machine: "A Laptop CPU".to_owned(),
        platform: None,
        groups: vec![group(0, vec![device("0000:00:02.0", Some("i915"))])],
        ..powernv()
    };
    let diagnosis = diagnose(&laptop);
    assert_eq!((diagnosis.missing, diagnosis.checks.len()), (1, 1));
    assert_eq!(diagnosis.exit(), Exit::Machine);
    assert!(diagnosis.verdict.ends_with("on this machine use --backend sim"));
    assert!(check(&diagnosis, "platform").finding.contains("A Laptop CPU"));
}

#[test]
fn kernels_are_good_or_have_traps_or_cannot() {
    let kernel = |release| marked(&on_kernel(release, powernv()), "kernel");
    let (mark, remedy) = kernel("6.1.0-44-powerpc64le");
    assert_eq!(mark, Mark::Missing);
    assert!(remedy.contains("6.4 or newer"), "{remedy}");
    assert_eq!(kernel("6.3.13").0, Mark::Missing);
    assert_eq!(kernel("7.2.8").0, Mark::Ok);
    assert_eq!(kernel("strange").0, Mark::Warning);
    let diagnosis = diagnose(&on_kernel("6.12.107", powernv()));
    let kernel = check(&diagnosis, "kernel");
    assert_eq!((kernel.mark, kernel.details.len()), (Mark::Warning, 1));
    assert!(diagnosis.able);
}

#[test]
fn modules_that_are_not_loaded_come_with_the_line_that_loads_them() {
    let groups = vec![group(1, vec![device("0000:01:00.0", None)])];
    let container = ContainerNode::Missing;
    let idle = Survey { modules: modules(ModuleState::Loadable), container, groups, ..powernv() };
    let (mark, remedy) = marked(&idle, "modules");
    assert_eq!(mark, Mark::Missing);
    assert!(remedy.ends_with("modprobe -a vfio vfio_iommu_spapr_tce vfio_pci"), "{remedy}");
    let none = Survey { modules: modules(ModuleState::Missing), ..idle };
    assert!(marked(&none, "modules").1.contains("CONFIG_VFIO_IOMMU_SPAPR_TCE"));
    // What works is there, whatever sysfs says of it.
    let works = Survey { modules: modules(ModuleState::Missing), ..powernv() };
    assert_eq!(marked(&works, "modules").0, Mark::Ok);
}

#[test]
fn each_way_in_which_the_node_does_not_open_has_its_remedy() {
    for (container, remedy) in [
        (ContainerNode::Missing, "modprobe"),
        (ContainerNode::Unopened(Errno::EACCES), "run as root"),
        (ContainerNode::Unopened(Errno::ENODEV), "modprobe vfio"),
        (ContainerNode::Unopened(Errno::ENOTTY), "ls -l /dev/vfio/vfio"),
        (ContainerNode::Unopened(Errno::EMFILE), "dmesg"),
    ] {
        let survey = Survey { container, ..powernv() };
        let (mark, found) = marked(&survey, "/dev/vfio/vfio");
        assert_eq!(mark, Mark::Missing, "{container:?}");
        assert!(found.contains(remedy), "{container:?}: {found}");
        let names: Vec<String> = diagnose(&survey).checks.into_iter().map(|it| it.name).collect();
        assert!(!names.contains(&"backend".to_owned()), "nobody could ask: {names:?}");
    }
    let other = ContainerNode::Open { spapr_v2: false, eeh: false };
    let (mark, remedy) = marked(&Survey { container: other, ..powernv() }, "backend");
    assert_eq!(mark, Mark::Missing);
    assert!(remedy.contains("modprobe vfio_iommu_spapr_tce"));
}

#[test]
fn a_blocked_group_names_who_blocks_it_and_how_to_change_that() {
    let nic = |number, driver| device(&format!("0001:01:00.{number}"), driver);
    let groups = vec![group(7, vec![nic(0, Some("tg3")), nic(1, Some("vfio-pci"))])];
    let survey = Survey { groups, ..powernv() };
    let (mark, remedy) = marked(&survey, "group 7");
    assert_eq!(mark, Mark::Warning);
    for line in [
        "for d in 0001:01:00.0; do",
        "echo vfio-pci > /sys/bus/pci/devices/$d/driver_override",
        "echo $d > /sys/bus/pci/devices/$d/driver/unbind",
        "echo $d > /sys/bus/pci/drivers_probe",
    ] {
        assert!(remedy.contains(line), "{line} in {remedy}");
    }
    let diagnosis = diagnose(&survey);
    let finding = &check(&diagnosis, "group 7").finding;
    assert!(finding.contains("blocked by 0001:01:00.0 (1234:11e8, tg3)"), "{finding}");
    assert_eq!(check(&diagnosis, "groups").mark, Mark::Missing);
    assert_eq!(diagnosis.verdict, "this machine cannot do the real thing: 1 thing is missing");
}

#[test]
fn other_groups_say_why_they_cannot_be_used() {
    let unbound = group(1, vec![device("0000:01:00.0", None)]);
    let nodeless = Group { has_node: false, ..powernv().groups.remove(1) };
    for (found, why) in [(unbound, "not with VFIO"), (nodeless, "no /dev/vfio/1")] {
        let diagnosis = diagnose(&Survey { groups: vec![found], ..powernv() });
        let check = check(&diagnosis, "group 1");
        assert!(check.finding.contains(why) && check.remedy.is_some(), "{check:?}");
        assert!(!diagnosis.able);
    }
    assert!(!diagnose(&Survey { groups: vec![], ..powernv() }).able);
}

#[test]
fn a_probe_that_fails_makes_the_group_unusable_unless_somebody_uses_it() {
    for (error, able) in [
        (ProbeError::InUse, true),
        (ProbeError::NoPermission, false),
        (ProbeError::NotViable, false),
    ] {
        let probe = Probed { group: GroupNumber(1), result: Err(error) };
        assert_eq!(Diagnosis::of(&powernv(), &[probe]).able, able, "{error}");
    }
    let mut without_ddw = probed(1, 2, 5);
    without_ddw.result = without_ddw.result.map(|info| SpaprInfo { flags: 0, ..info });
    let diagnosis = Diagnosis::of(&powernv(), &[without_ddw]);
    assert!(!diagnosis.able);
    assert!(check(&diagnosis, "DDW 1").finding.contains("no dynamic windows"));
}

#[test]
fn locked_memory_has_to_be_enough() {
    let limit = |limit, is_exempt| {
        let locked_memory = Some(LockedMemoryLimit { limit, is_exempt });
        marked(&Survey { locked_memory, ..powernv() }, "locked memory")
    };
    assert_eq!(limit(None, false).0, Mark::Ok);
    assert_eq!(limit(Some(Bytes::kib(64)), true).0, Mark::Ok);
    assert_eq!(limit(Some(Bytes::gib(1)), false).0, Mark::Warning);
    let (mark, remedy) = limit(Some(Bytes::mib(8)), false);
    assert_eq!(mark, Mark::Missing);
    assert!(remedy.contains("ulimit -l") && remedy.contains("LimitMEMLOCK="), "{remedy}");
}

#[test]
fn huge_pages_are_good_to_have() {
    let pool = HugePagePool { page_shift: PageShift::M2, total: 0, free: 0 };
    let (mark, remedy) = marked(&Survey { huge_pages: vec![pool], ..powernv() }, "huge pages");
    assert_eq!(mark, Mark::Warning);
    assert!(remedy.contains("hugepages-2048kB/nr_hugepages"), "{remedy}");
    let none = Survey { huge_pages: vec![], ..powernv() };
    assert_eq!(marked(&none, "huge pages").0, Mark::Warning);
    assert!(diagnose(&none).able);
}

#[test]
fn the_text_fits_a_terminal_and_says_every_check() {
    let survey = Survey {
        huge_pages: vec![],
        groups: vec![
            group(0, vec![device("0000:00:00.0", Some("pcieport"))]),
            group(3, vec![device("0000:00:01.0", Some("nvme"))]),
            group(
                12,
                vec![device("0001:00:01.0", Some("tg3")), device("0001:00:01.1", Some("tg3"))],
            ),
        ],
        modules: modules(ModuleState::Loadable),
        container: ContainerNode::Unopened(Errno::EACCES),
        locked_memory: Some(LockedMemoryLimit { limit: Some(Bytes::mib(8)), is_exempt: false }),
        ..on_kernel("6.7.2", powernv())
    };
    let diagnosis = diagnose(&survey);
    let text = anstream::adapter::strip_str(&render(&diagnosis)).to_string();
    let prose = text.lines().filter(|line| !line.contains("   echo "));
    for line in prose {
        assert!(line.len() <= 100, "{line}");
    }
    for check in &diagnosis.checks {
        assert!(text.contains(&check.name), "{text}");
    }
    assert!(text.trim_end().ends_with(&diagnosis.verdict), "{text}");
}
