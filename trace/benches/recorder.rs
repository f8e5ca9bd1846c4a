//! What recording costs: a program makes calls that are recorded and calls that are not, alone, under the recorder, and
//! under strace where there is one.
//!
//! `cargo bench -p tce-trace --bench recorder`

#![forbid(unsafe_code)]

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    hint::black_box,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use tce_engine::kernel::{DescriptorKind, Fd, GroupNumber};
use tce_trace::record::{Backing, Classify, Existing, Output, exec_traced, header, record};
use tce_vfio::{
    tracee::Tid,
    wire::rehearse::{Argument, PlainFile},
};

/// Calls of each sort.
const CALLS: u32 = 200_000;
const EXEC_TRACED: &str = "exec-traced";
const SUBJECT: &str = "subject";
/// `VFIO_IOMMU_MAP_DMA`, counted from `VFIO_BASE`.
const MAP_DMA: u8 = 13;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    match words.split_first() {
        Some((first, rest)) if first == EXEC_TRACED => exec_traced(rest),
        Some((first, [folder])) if first == SUBJECT => subject(Path::new(folder)),
        _ => compare(),
    }
    ExitCode::SUCCESS
}

/// The program: a plain file stands in for a container, and refuses each call at once.
fn subject(folder: &Path) {
    let container = File::options().read(true).write(true).open(folder.join("container")).unwrap();
    let container = PlainFile::new(container).unwrap();
    let map = [32 | 3 << 32, 0x7000_0000_0000, 0x1000, 0x1000, 0, 0, 0, 0];
    let recorded = per_call(|| {
        container.call(MAP_DMA, &Argument::Structure(black_box(&map)));
    });
    let others = per_call(|| {
        black_box(parent_id());
    });
    fs::write(folder.join("times"), format!("{recorded} {others}")).unwrap();
}

/// Nanoseconds.
fn per_call(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..CALLS).for_each(|_| call());
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// Takes the plain file for a container.
struct ByName;

impl Classify for ByName {
    fn kind_of(&self, process: Tid, fd: Fd) -> DescriptorKind {
        match fs::read_link(format!("/proc/{process}/fd/{}", fd.raw())) {
            Ok(link) if link.ends_with("container") => DescriptorKind::Container,
            Ok(link) => DescriptorKind::Other(link.to_string_lossy().into_owned()),
            Err(_) => DescriptorKind::Closed,
        }
    }

    fn group_of(&self, _: Tid, _: Fd) -> Option<GroupNumber> {
        None
    }
}

/// Nanoseconds of a call that is recorded, and of one that is not.
type Times = (f64, f64);

fn compare() {
    let folder = env::temp_dir().join(format!("tce-bench-recorder-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("container"), "").unwrap();
    let program = env::current_exe().unwrap().into_os_string();
    let command = [program, SUBJECT.into(), folder.clone().into_os_string()];
    println!("{CALLS} calls of each sort, ns per call\n");
    println!("  {:<22}{:>10}{:>8}{:>10}{:>8}", "", "recorded", "ratio", "others", "ratio");
    let alone = run(&folder, || assert!(started(&command).status().unwrap().success()));
    print("alone", alone, alone);
    print("tce trace record", alone, run(&folder, || under_recorder(&folder, &command)));
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=ioctl"].map(OsString::from);
    let strace = [&strace[..], &command].concat();
    if Command::new("strace").arg("-V").output().is_ok() {
        let under_strace = || assert!(started(&strace).status().unwrap().success());
        print("strace -f -e ioctl", alone, run(&folder, under_strace));
    }
    fs::remove_dir_all(&folder).unwrap();
}

fn started<W: AsRef<OsStr>>(command: &[W]) -> Command {
    let (program, arguments) = command.split_first().unwrap();
    let mut started = Command::new(program);
    started.args(arguments);
    started
}

fn under_recorder(folder: &Path, command: &[OsString]) {
    let mut helper = Command::new(env::current_exe().unwrap());
    helper.arg(EXEC_TRACED).args(command);
    let trace: PathBuf = folder.join("trace.jsonl");
    let mut output = Output::file(&trace, Existing::Replaced, &header(command)).unwrap();
    let ended = record(helper, command, Backing::LookedUp, &ByName, &mut output).unwrap();
    assert_eq!(ended.exit_code(), 0);
    output.finish().unwrap();
    let events = fs::read_to_string(trace).unwrap().lines().count();
    assert!(events > usize::try_from(CALLS).unwrap(), "not all calls were recorded");
}

/// Lets the program run, and reads what it measured.
fn run(folder: &Path, program: impl FnOnce()) -> Times {
    program();
    let text = fs::read_to_string(folder.join("times")).unwrap();
    let (recorded, others) = text.split_once(' ').unwrap();
    (recorded.parse().unwrap(), others.parse().unwrap())
}

fn print(name: &str, alone: Times, times: Times) {
    let ratio = |time: f64, base: f64| format!("{:.1}", time / base);
    println!(
        "  {name:<22}{:>10.0}{:>8}{:>10.0}{:>8}",
        times.0,
        ratio(times.0, alone.0),
        times.1,
        ratio(times.1, alone.1)
    );
}
