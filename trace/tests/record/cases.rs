//! What must hold, as sentences.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::Fd,
};
use tce_trace::event::{Answer, Call, DeviceOperation, Event};

use crate::{
    run::{PATIENCE, RECORD, RECORD_INTO_FULL, REFUSED, Recorded, Stage, ended, read, subject},
    subject::{ADDRESS, CALLS, CHILDREN, THREADS},
};

macro_rules! cases {
    ($($name:ident)*) => {
        const CASES: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

cases! {
    every_call_becomes_an_event_in_its_order
    the_charge_is_read_where_it_may_change_and_the_backing_at_a_register
    calls_on_other_files_are_none_of_ours
    the_header_tells_where_it_was_recorded
    threads_are_recorded_under_their_own_numbers
    children_are_recorded_with_what_they_inherit_and_what_exec_closes
    threads_and_processes_that_start_at_once_are_all_recorded
    a_child_that_closes_its_copy_closes_no_other
    a_copy_is_the_same_file_under_another_number
    a_number_that_is_replaced_is_closed_first
    a_range_of_descriptors_can_be_closed
    the_exit_code_is_the_commands
    a_command_that_dies_leaves_a_whole_trace
    signals_reach_the_command
    a_stopped_command_stays_stopped_until_it_is_continued
    a_command_that_is_not_there_is_named
    a_file_that_is_no_program_is_named
    a_recorder_that_is_killed_leaves_whole_lines_and_no_command
    a_recorder_that_is_asked_to_end_ends_the_command
    an_interrupt_of_the_terminal_ends_the_command_and_the_trace_is_whole
    a_compressed_trace_is_whole_too
    processes_that_outlive_the_command_are_recorded_to_their_end
    a_trace_that_cannot_be_written_leaves_the_command_alone
    a_recorder_that_may_not_trace_says_what_to_do
}

/// Runs those whose name contains the word.
pub(crate) fn all(filter: Option<&str>) -> ExitCode {
    let chosen = CASES.iter().filter(|(name, _)| filter.is_none_or(|word| name.contains(word)));
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in chosen {
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    println!("\ntest result: {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const ENOTTY: Answer = Answer::Failed(Errno::ENOTTY);

fn map(container: Fd, iova: u64) -> Call {
    let (address, size) = (HostAddr::new(ADDRESS), Bytes::kib(4));
    Call::Map { container, flags: 3, address, iova: Iova::new(iova), size }
}

fn is_map(call: &Call) -> bool {
    matches!(call, Call::Map { .. })
}

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// The descriptor that the first event of these answered.
fn first_answer(recorded: &Recorded, is: impl Fn(&Call) -> bool) -> Fd {
    let event = recorded.events.iter().find(|event| is(&event.call)).unwrap();
    event.answer.descriptor().unwrap()
}

fn every_call_becomes_an_event_in_its_order() {
    let recorded = Stage::new().record_subject(&["calls"]);
    let container = first_answer(&recorded, |call| *call == Call::OpenContainer);
    let group = first_answer(&recorded, |call| matches!(call, Call::OpenGroup { .. }));
    let (first, rest) = recorded.events.split_first().unwrap();
    assert_eq!(first.call, Call::OpenContainer);
    let calls: Vec<_> = rest.iter().map(|event| (event.call.clone(), event.answer)).collect();
    let [version, extension, open_group, register, calls @ ..] = &calls[..] else { panic!() };
    assert_eq!(*version, (Call::ApiVersion { container }, ENOTTY));
    assert_eq!(*extension, (Call::CheckExtension { container, extension: 7 }, ENOTTY));
    assert_eq!(*open_group, (Call::OpenGroup { group: 12 }, Answer::Returned(group.raw().into())));
    assert!(matches!(register.0, Call::Register { size, .. } if size == Bytes::kib(4)));
    // The device's number is the lowest free one.
    let device = Fd::new(group.raw() + 1);
    let operation = DeviceOperation::from_number(113);
    let (iova, size) = (Iova::new(0x1000), Bytes::kib(8));
    let Some((Call::Other { fd, request }, _)) = calls.get(3) else { panic!("{calls:?}") };
    assert_eq!((*fd, request & 0xff), (container, 113), "an address where nothing is");
    let expected = [
        (map(container, 0x1000), ENOTTY),
        (map(container, 0x2000), ENOTTY),
        (Call::Unmap { container, flags: 0, iova, size }, ENOTTY),
        (Call::Other { fd: container, request: *request }, ENOTTY),
        (Call::Device { device, operation }, ENOTTY),
        (Call::Close { fd: device }, Answer::OK),
        (Call::Close { fd: group }, Answer::OK),
        (map(container, 0x3000), ENOTTY),
        (Call::Close { fd: container }, Answer::OK),
        (Call::Exit, Answer::OK),
    ];
    assert_eq!(calls, expected);
    assert_eq!(recorded.code, Some(0));
    assert!(recorded.events.is_sorted_by_key(|event| event.time_us));
    let processes: BTreeSet<_> = recorded.events.iter().map(|event| event.process).collect();
    assert_eq!(processes.len(), 1);
}

fn the_charge_is_read_where_it_may_change_and_the_backing_at_a_register() {
    let recorded = Stage::new().record_subject(&["calls"]);
    for event in &recorded.events {
        let is_register = matches!(event.call, Call::Register { .. });
        let is_first_map =
            matches!(event.call, Call::Map { iova, .. } if iova == Iova::new(0x1000));
        assert_eq!(event.locked.is_some(), is_register || is_first_map, "{event:?}");
        let page = recorded.header.page_size.map(Bytes::new);
        assert_eq!(event.backing, page.filter(|_| is_register), "{event:?}");
    }
}

fn calls_on_other_files_are_none_of_ours() {
    let recorded = Stage::new().record_subject(&["plain"]);
    let [map, close, exit] = &recorded.events[..] else { panic!("{:?}", recorded.events) };
    let Call::Map { container, iova, .. } = map.call else { panic!("{map:?}") };
    assert_eq!(iova, Iova::new(0x2000));
    assert_eq!(close.call, Call::Close { fd: container });
    assert_eq!(exit.call, Call::Exit);
}

fn the_header_tells_where_it_was_recorded() {
    let recorded = Stage::new().record(&shell("exit 0"));
    assert_eq!(recorded.header.command, shell("exit 0"));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(recorded.header.kernel.as_deref(), Some(release.trim()));
    assert!(recorded.header.page_shift().is_some());
}

fn threads_are_recorded_under_their_own_numbers() {
    let recorded = Stage::new().record_subject(&["threads"]);
    let mut maps: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for event in &recorded.events {
        if let Call::Map { iova, .. } = event.call {
            maps.entry(event.thread).or_default().insert(iova.raw());
        }
    }
    assert_eq!(recorded.count(is_map), THREADS * CALLS);
    assert_eq!(maps.len(), THREADS);
    assert!(maps.values().all(|iovas| iovas.len() == 1), "{maps:?}");
    assert_eq!(recorded.count(|call| *call == Call::Exit), 1);
    assert_eq!(recorded.count(|call| matches!(call, Call::Fork { .. })), 0);
}

fn children_are_recorded_with_what_they_inherit_and_what_exec_closes() {
    let recorded = Stage::new().record_subject(&["children"]);
    let container = first_answer(&recorded, |call| *call == Call::OpenContainer);
    let children: Vec<u32> = recorded
        .events
        .iter()
        .filter_map(|event| match event.call {
            Call::Fork { child } => Some(child),
            _ => None,
        })
        .collect();
    assert_eq!(children.len(), CHILDREN);
    for child in children {
        let of_child: Vec<&Event> =
            recorded.events.iter().filter(|event| event.process == child).collect();
        // Rust's descriptors are closed on exec.
        assert_eq!(of_child[0].call, Call::Close { fd: container });
        assert_eq!(of_child[1].call, Call::OpenContainer);
        assert_eq!(of_child.last().unwrap().call, Call::Exit);
    }
    assert_eq!(recorded.count(|call| *call == Call::Exit), CHILDREN + 1);
    assert_eq!(recorded.events.last().unwrap().call, Call::Exit);
}

fn threads_and_processes_that_start_at_once_are_all_recorded() {
    let recorded = Stage::new().record_subject(&["many"]);
    assert_eq!(recorded.count(is_map), CHILDREN * (THREADS + 1) * CALLS);
    assert_eq!(recorded.count(|call| *call == Call::Exit), CHILDREN + 1);
    assert_eq!(recorded.code, Some(0));
}

fn a_child_that_closes_its_copy_closes_no_other() {
    let recorded = Stage::new().record(&shell("exec 8<>container; (exec 8>&-; true); exec 8>&-"));
    let closes: Vec<_> = recorded
        .events
        .iter()
        .filter(|event| event.call == Call::Close { fd: Fd::new(8) })
        .map(|event| event.process)
        .collect();
    let [child, parent] = closes[..] else { panic!("{:?}", recorded.events) };
    assert_ne!(child, parent);
}

fn a_copy_is_the_same_file_under_another_number() {
    let recorded = Stage::new().record_subject(&["copies"]);
    let container = first_answer(&recorded, |call| *call == Call::OpenContainer);
    let copy = first_answer(&recorded, |call| matches!(call, Call::Duplicate { .. }));
    let calls: Vec<_> = recorded.events.iter().map(|event| event.call.clone()).collect();
    let expected = [
        Call::OpenContainer,
        Call::Duplicate { fd: container },
        Call::Close { fd: container },
        map(copy, 0x1000),
        Call::Close { fd: copy },
        Call::Exit,
    ];
    assert_eq!(calls, expected);
}

fn a_number_that_is_replaced_is_closed_first() {
    let recorded = Stage::new().record_subject(&["replaces"]);
    let container = first_answer(&recorded, |call| *call == Call::OpenContainer);
    let group = first_answer(&recorded, |call| matches!(call, Call::OpenGroup { .. }));
    let replaced = Fd::new(1);
    let calls: Vec<_> =
        recorded.events.iter().map(|event| (event.call.clone(), event.answer)).collect();
    let expected = [
        (Call::Duplicate { fd: container }, Answer::Returned(1)),
        (Call::Close { fd: replaced }, Answer::OK),
        (Call::Duplicate { fd: group }, Answer::Returned(1)),
    ];
    assert_eq!(calls[2..5], expected);
}

fn a_range_of_descriptors_can_be_closed() {
    // close_range has one number on all architectures.
    let script =
        "exec 7<>container 8<>group-12; exec perl -e 'syscall(436, 7, 4294967295, 0) == 0 or die'";
    let recorded = Stage::new().record(&shell(script));
    let closed: Vec<_> = recorded
        .events
        .iter()
        .filter_map(|event| match event.call {
            Call::Close { fd } => Some(fd.raw()),
            _ => None,
        })
        .collect();
    assert!(closed.ends_with(&[7, 8]), "{:?}\n{}", recorded.events, recorded.said);
}

fn the_exit_code_is_the_commands() {
    assert_eq!(Stage::new().record(&shell("exit 7")).code, Some(7));
    let killed = Stage::new().record(&shell("kill -KILL $$"));
    assert_eq!(killed.code, Some(128 + 9));
    assert_eq!(killed.events.last().unwrap().call, Call::Exit);
}

fn a_command_that_dies_leaves_a_whole_trace() {
    let recorded = Stage::new().record_subject(&["dies"]);
    assert_eq!(recorded.code, Some(128 + 6));
    assert!(recorded.count(is_map) > 1);
    assert_eq!(recorded.events.last().unwrap().call, Call::Exit);
}

fn signals_reach_the_command() {
    let handled = "trap 'exit 5' USR1; kill -USR1 $$; sleep 5; exit 1";
    assert_eq!(Stage::new().record(&shell(handled)).code, Some(5));
    // A real-time signal: the C library uses such for itself.
    let handled = "trap 'exit 6' 40; kill -40 $$; sleep 5; exit 1";
    assert_eq!(Stage::new().record(&shell(handled)).code, Some(6));
}

fn a_stopped_command_stays_stopped_until_it_is_continued() {
    let stage = Stage::new();
    let script = "(sleep 0.3; echo >continued; kill -CONT $$) & kill -STOP $$; [ -f continued ]";
    let recorded = stage.record(&shell(script));
    assert_eq!(recorded.code, Some(0), "it went on before it was continued");
}

fn a_command_that_is_not_there_is_named() {
    let recorded = Stage::new().record(&["/no/such/program"]);
    assert_eq!(recorded.code, Some(REFUSED.into()));
    assert!(recorded.said.contains("cannot run /no/such/program: ENOENT"), "{}", recorded.said);
    assert!(recorded.events.is_empty());
}

fn a_file_that_is_no_program_is_named() {
    let recorded = Stage::new().record(&["./plain"]);
    assert_eq!(recorded.code, Some(REFUSED.into()));
    assert!(recorded.said.contains("cannot run ./plain: EACCES"), "{}", recorded.said);
}

/// A recorder in full work: it has written some events.
fn at_work(stage: &Stage) -> (std::process::Child, Pid) {
    // A shell that runs the tests in the background has interrupts ignored, and what it starts, too.
    let mut command = ["env", "--default-signal=INT"].map(OsString::from).to_vec();
    command.extend(subject(&["forever"]));
    let child = stage.start(&command);
    let begun = Instant::now();
    while fs::metadata(stage.trace()).map_or(0, |file| file.len()) < 4096 {
        assert!(begun.elapsed() < PATIENCE, "nothing is recorded");
        sleep(Duration::from_millis(5));
    }
    let recorder = Pid::from_raw(i32::try_from(child.id()).unwrap());
    (child, recorder)
}

fn is_there(process: u32) -> bool {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), None).is_ok()
}

fn a_recorder_that_is_killed_leaves_whole_lines_and_no_command() {
    let stage = Stage::new();
    let (child, recorder) = at_work(&stage);
    let begun = Instant::now();
    kill(recorder, Signal::SIGKILL).unwrap();
    // The command holds the pipes of the recorder, so this waits for both.
    assert_eq!(ended(child).0, None);
    let (_, events) = stage.read();
    let command = events.last().unwrap().process;
    while is_there(command) && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(5));
    }
    assert!(begun.elapsed() < PATIENCE, "the command outlived its recorder");
}

fn a_recorder_that_is_asked_to_end_ends_the_command() {
    let stage = Stage::new();
    let (child, recorder) = at_work(&stage);
    kill(recorder, Signal::SIGTERM).unwrap();
    assert_eq!(ended(child).0, Some(128 + 15));
    assert_eq!(stage.read().1.last().unwrap().call, Call::Exit);
}

fn an_interrupt_of_the_terminal_ends_the_command_and_the_trace_is_whole() {
    let stage = Stage::new();
    let (child, recorder) = at_work(&stage);
    // To the whole group, as the terminal does.
    killpg(recorder, Signal::SIGINT).unwrap();
    assert_eq!(ended(child).0, Some(128 + 2));
    assert_eq!(stage.read().1.last().unwrap().call, Call::Exit);
}

fn a_compressed_trace_is_whole_too() {
    let stage = Stage::new();
    let trace = stage.folder().join("trace.jsonl.gz");
    let (code, said) = ended(stage.start_into(&trace, &subject(&["threads"])));
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(&trace).unwrap().starts_with(&[0x1f, 0x8b]));
    let maps = read(&trace).1.iter().filter(|event| is_map(&event.call)).count();
    assert_eq!(maps, THREADS * CALLS);
}

fn processes_that_outlive_the_command_are_recorded_to_their_end() {
    let script = "(sleep 0.2; exec 8<>container) & exit 3";
    let recorded = Stage::new().record(&shell(script));
    assert_eq!(recorded.code, Some(3));
    assert_eq!(recorded.count(|call| *call == Call::OpenContainer), 1);
    assert_eq!(recorded.events.last().unwrap().call, Call::Exit);
}

fn a_trace_that_cannot_be_written_leaves_the_command_alone() {
    let stage = Stage::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do exec 8<>container; done; exit 7";
    let part = OsStr::new(RECORD_INTO_FULL);
    let (code, said) = ended(stage.start_as(&[part], &shell(script)));
    assert_eq!(code, Some(7));
    assert!(said.contains("the trace is not complete"), "{said}");
}

/// A process has one tracer, so a recorder that is recorded can record nobody.
fn a_recorder_that_may_not_trace_says_what_to_do() {
    let program = std::env::current_exe().unwrap();
    let inner = [program.as_os_str(), OsStr::new(RECORD), OsStr::new("inner"), OsStr::new("true")];
    let recorded = Stage::new().record(&inner);
    assert_eq!(recorded.code, Some(REFUSED.into()));
    assert!(recorded.said.contains("may not trace the command (EPERM"), "{}", recorded.said);
    assert!(recorded.said.contains("ptrace_scope"), "{}", recorded.said);
}
