//! Traces of others: a logger's lines, and what strace prints.

use tce_engine::{addr::Bytes, errno::Errno, kernel::Fd};
use tce_trace::{
    event::{Answer, Call, DeviceOperation, DeviceOperationName, Event},
    lint::{Rule, lint},
    trace::{Notation, Trace},
};

fn events(trace: &Trace) -> Vec<Event> {
    trace.events().unwrap().map(|event| event.unwrap().1).collect()
}

fn calls(text: &str) -> Vec<(Call, Answer)> {
    let trace = Trace::from_text(text).unwrap();
    events(&trace).into_iter().map(|event| (event.call, event.answer)).collect()
}

const LOGGER: &str = "\
0.0063 GROUP_SET_CONTAINER 8 ret=0 us=410.3 VmLck=0kB
0.0064 SET_IOMMU 1 ret=-1 ENODEV us=34.8 VmLck=0kB
0.0065 SET_IOMMU 7 ret=0 us=250.4 VmLck=0kB
0.0066 nr70(SPAPR_GET_INFO|HOTRESET_INFO) argsz=32 flags=1 d32start=0 d32size=80000000 pgsizes=40211000 maxwin=2 levels=5 ret=0 us=39.5 VmLck=0kB
0.0071 TCE_CREATE flags=0 page_shift=21 window_size=100000000 levels=1 -> start=0 ret=0 us=200.7 VmLck=32kB
0.6075 REGISTER flags=0 vaddr=3ffbac800000 size=200000 ret=0 us=166.8 VmLck=2080kB
0.8406 nr70(SPAPR_GET_INFO|HOTRESET_INFO) argsz=12 flags=0 d32start=1 d32size=0 pgsizes=0 maxwin=0 levels=0 ret=-1 ENOSPC us=550.3 VmLck=-1kB
0.8469 MAP_DMA flags=0 vaddr=c00000001 iova=0 size=21 ret=0 us=1935719.3 VmLck=-1kB
";

#[test]
fn a_loggers_lines_become_events_of_one_container_and_one_group() {
    let trace = Trace::from_text(LOGGER).unwrap();
    assert_eq!(trace.notation(), Notation::Logger);
    let events = events(&trace);
    let names: Vec<&str> = events.iter().map(|event| event.call.name()).collect();
    assert_eq!(
        names,
        [
            "open-container",
            "open-group",
            "set-container",
            "set-iommu",
            "set-iommu",
            "info",
            "create",
            "register",
            "device",
            "device",
            "exit"
        ]
    );
    assert_eq!(events[3].answer, Answer::Failed(Errno::ENODEV));
    assert_eq!((events[2].time_us, events[2].duration_us), (6300, Some(410)));
    assert_eq!((events[6].locked, events[8].locked), (Some(Bytes::kib(32)), None));
}

#[test]
fn numbers_that_a_device_shares_with_a_container_are_told_apart() {
    let operations: Vec<_> = calls(LOGGER)
        .into_iter()
        .filter_map(|(call, _)| match call {
            Call::Device { operation: DeviceOperation::Named(name), .. } => Some(name),
            _ => None,
        })
        .collect();
    assert_eq!(operations, [DeviceOperationName::HotResetInfo, DeviceOperationName::HotReset]);
}

#[test]
fn a_loggers_wrong_line_is_named() {
    let text = format!("{LOGGER}0.9 UNMAP_DMA flags=0 iova=0 ret=0 us=1.0 VmLck=0kB\n");
    let trace = Trace::from_text(text).unwrap();
    let error = trace.events().unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), "line 9: size= is missing");
}

#[test]
fn the_page_of_a_loggers_machine_shows_in_its_charges() {
    let report = lint(&Trace::from_text(LOGGER).unwrap()).unwrap();
    assert_eq!(report.page_size, Some(4096));
    let on_64k = LOGGER.replace("VmLck=32kB", "VmLck=128kB");
    assert_eq!(lint(&Trace::from_text(on_64k).unwrap()).unwrap().page_size, Some(65536));
}

/// What strace 6.1 prints, with the answers a POWER host gives.
const STRACE: &str = "\
strace: Process 15218 attached
15217 openat(AT_FDCWD, \"/etc/ld.so.cache\", O_RDONLY|O_CLOEXEC) = 3
15217 close(3)                          = 0
15217 openat(AT_FDCWD, \"/dev/vfio/vfio\", O_RDWR) = 3
15217 ioctl(3, VFIO_GET_API_VERSION, 0)  = 0
15217 ioctl(3, VFIO_CHECK_EXTENSION, 0x7) = 1
15217 openat(AT_FDCWD, \"/dev/vfio/7\", O_RDWR) = 4
15217 openat(AT_FDCWD, \"/dev/vfio/7\", O_RDWR) = -1 EBUSY (Device or resource busy)
15217 ioctl(4, VFIO_GROUP_SET_CONTAINER, 0x7fff7564d7a0) = 0
15217 ioctl(3, VFIO_SET_IOMMU, 0x7)     = 0
15217 ioctl(4, VFIO_GROUP_GET_DEVICE_FD, 0x7fff7564d7a0) = 5
15217 ioctl(5, VFIO_DEVICE_PCI_HOT_RESET or VFIO_IOMMU_MAP_DMA, 0x7fff7564d7a0) = 0
15217 ioctl(3, VFIO_DEVICE_FEATURE or VFIO_IOMMU_DIRTY_PAGES or VFIO_IOMMU_SPAPR_REGISTER_MEMORY, 0x7fff7564d7a0) = 0
15218 ioctl(3, VFIO_DEVICE_PCI_HOT_RESET or VFIO_IOMMU_MAP_DMA <unfinished ...>
15217 ioctl(3, _IOC(_IOC_NONE, 0x3b, 0x72, 0), 0x7fff7564d750) = 1
15218 <... ioctl resumed>, 0x7fa4ec2f9ea0) = -1 EINVAL (Invalid argument)
15217 dup(3)                            = 6
15218 +++ exited with 0 +++
15217 close(6)                          = 0
15217 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=15219} ---
15217 +++ exited with 0 +++
";

#[test]
fn strace_tells_that_calls_were_made_and_by_which_number() {
    let trace = Trace::from_text(STRACE).unwrap();
    assert_eq!(trace.notation(), Notation::Strace);
    let other = |fd, number: u64| Call::Other { fd: Fd::new(fd), request: 0x2000_3b00 | number };
    let container = Fd::new(3);
    let zero = Answer::OK;
    assert_eq!(
        calls(STRACE),
        [
            (Call::OpenContainer, Answer::Returned(3)),
            (Call::ApiVersion { container }, zero),
            (Call::CheckExtension { container, extension: 7 }, Answer::Returned(1)),
            (Call::OpenGroup { group: 7 }, Answer::Returned(4)),
            (Call::OpenGroup { group: 7 }, Answer::Failed(Errno::EBUSY)),
            (other(4, 104), zero),
            (Call::SetIommu { container, backend: 7 }, zero),
            (other(4, 106), Answer::Returned(5)),
            (
                Call::Device {
                    device: Fd::new(5),
                    operation: DeviceOperation::Named(DeviceOperationName::HotReset)
                },
                zero
            ),
            (other(3, 117), zero),
            (other(3, 114), Answer::Returned(1)),
            (other(3, 113), Answer::Failed(Errno::EINVAL)),
            (Call::Duplicate { fd: container }, Answer::Returned(6)),
            (Call::Close { fd: Fd::new(6) }, zero),
            (Call::Exit, zero),
        ]
    );
}

#[test]
fn what_strace_cannot_tell_is_named_and_not_guessed() {
    let report = lint(&Trace::from_text(STRACE).unwrap()).unwrap();
    let rules: Vec<Rule> = report.findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, [Rule::PositiveResult, Rule::SecondOpener]);
    assert_eq!((report.replayed, report.disagreed, report.page_size), (0, 0, None));
    assert_eq!(report.calls["map"].made, 1);
    assert_eq!((report.calls["unmap"].failed, report.calls["unmap"].needed), (0, None));
    let [unchecked] = report.unchecked.as_slice() else { panic!("{:?}", report.unchecked) };
    assert_eq!(unchecked.rules.len(), Rule::ALL.len() - 2);
    assert!(unchecked.why.contains("1 map, 1 unmap, 1 register"), "{}", unchecked.why);
}

#[test]
fn paths_times_and_a_terminals_prefixes_are_understood() {
    let text = "\
[pid 15229] 10:16:13.950621 dup(3</dev/vfio/vfio>) = 4</dev/vfio/vfio> <0.000012>
[pid 15230] 10:16:13.950747 ioctl(4</dev/vfio/vfio>, VFIO_SET_IOMMU, 0x7) = 0 <0.000008>
[pid 15230] 10:16:13.950928 ioctl(5<anon_inode:[vfio-device]>, VFIO_DEVICE_FEATURE or VFIO_IOMMU_SPAPR_REGISTER_MEMORY <unfinished ...>
[pid 15230] 10:16:13.950964 <... ioctl resumed>, 0x7ff229b41ea0) = 0 <0.000022>
";
    let trace = Trace::from_text(text).unwrap();
    let events = events(&trace);
    let names: Vec<&str> = events.iter().map(|event| event.call.name()).collect();
    assert_eq!(names, ["duplicate", "set-iommu", "device"]);
    let times: Vec<u64> = events.iter().map(|event| event.time_us).collect();
    assert_eq!(times, [0, 126, 343]);
    assert_eq!((events[1].duration_us, events[2].duration_us), (Some(8), Some(22)));
    assert_eq!((events[1].process, events[1].thread), (15229, 15230));
}

#[test]
fn a_file_that_is_no_trace_is_told_what_was_expected() {
    for text in ["", "hello\n", "[package]\nname = \"x\"\n", "1 2 3\n", "\u{7f}ELF"] {
        let error = Trace::from_text(text).unwrap_err().to_string();
        assert!(error.starts_with("this is no trace that can be read: expected a tce-trace"));
    }
}
