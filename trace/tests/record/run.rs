//! Runs the recorder in a process of its own, and reads what it wrote.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tce_engine::kernel::{DescriptorKind, Fd, GroupNumber};
use tce_trace::{
    event::{Call, Event},
    format::{Header, Reader},
    record::{Backing, Classify, Existing, Output, RecordError, Sink, header, record},
};
use tce_vfio::tracee::Tid;

pub(crate) const RECORD: &str = "record";
pub(crate) const RECORD_INTO_FULL: &str = "record-into-full";
pub(crate) const EXEC_TRACED: &str = "exec-traced";
pub(crate) const SUBJECT: &str = "subject";

/// Nothing here takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Takes plain files for VFIO's, by their names.
struct ByName;

impl Classify for ByName {
    fn kind_of(&self, process: Tid, fd: Fd) -> DescriptorKind {
        match name(process, fd) {
            None => DescriptorKind::Closed,
            Some(name) if name == "container" => DescriptorKind::Container,
            Some(name) if name.starts_with("group-") => DescriptorKind::Group,
            Some(name) if name == "device" => DescriptorKind::Device,
            Some(name) => DescriptorKind::Other(name),
        }
    }

    fn group_of(&self, process: Tid, fd: Fd) -> Option<GroupNumber> {
        name(process, fd)?.strip_prefix("group-")?.parse().ok().map(GroupNumber)
    }
}

fn name(process: Tid, fd: Fd) -> Option<String> {
    let link = fs::read_link(format!("/proc/{process}/fd/{}", fd.raw())).ok()?;
    let name = link.file_name()?.to_string_lossy().into_owned();
    // What has no file: `/memfd:container (deleted)`.
    let name = name.trim_start_matches("memfd:").trim_end_matches(" (deleted)");
    Some(name.to_owned())
}

/// `record FILE COMMAND…`.
pub(crate) fn record_as_told(words: &[OsString]) -> ExitCode {
    let (file, command) = words.split_first().unwrap();
    let mut helper = Command::new(env::current_exe().unwrap());
    helper.arg(EXEC_TRACED).args(command);
    let mut output = Output::file(Path::new(file), Existing::Kept, &header(command)).unwrap();
    let result = record(helper, command, Backing::LookedUp, &ByName, &mut output);
    output.finish().unwrap();
    match result {
        Ok(ended) => ExitCode::from(ended.exit_code()),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

/// A trace on a disk that is full after some events.
struct Full(u32);

impl Sink for Full {
    fn take(&mut self, _: &Event) -> io::Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

/// `record-into-full COMMAND…`.
pub(crate) fn record_into_full(command: &[OsString]) -> ExitCode {
    let mut helper = Command::new(env::current_exe().unwrap());
    helper.arg(EXEC_TRACED).args(command);
    let error = record(helper, command, Backing::LeftOut, &ByName, &mut Full(3)).unwrap_err();
    eprintln!("{error}");
    let RecordError::Write { ended, .. } = error else { return ExitCode::from(REFUSED) };
    ExitCode::from(ended.exit_code())
}

/// The exit code of a recorder that could not record.
pub(crate) const REFUSED: u8 = 99;

/// A folder with the files that stand in for VFIO's, and the trace.
pub(crate) struct Stage(PathBuf);

impl Stage {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("tce-record-{}-{count}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        for file in ["container", "group-12", "device", "plain"] {
            fs::write(folder.join(file), "").unwrap();
        }
        Self(folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    pub(crate) fn trace(&self) -> PathBuf {
        self.0.join("trace.jsonl")
    }

    /// The recorder of a command, with a process group of its own, as a shell would start it.
    pub(crate) fn start<W: AsRef<OsStr>>(&self, command: &[W]) -> Child {
        self.start_into(&self.trace(), command)
    }

    pub(crate) fn start_into<W: AsRef<OsStr>>(&self, trace: &Path, command: &[W]) -> Child {
        self.start_as(&[OsStr::new(RECORD), trace.as_os_str()], command)
    }

    /// This program in one of its parts.
    pub(crate) fn start_as<W: AsRef<OsStr>>(&self, part: &[&OsStr], command: &[W]) -> Child {
        Command::new(env::current_exe().unwrap())
            .args(part)
            .args(command)
            .current_dir(&self.0)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Records a command; its exit code, what it said on standard error, and the trace.
    pub(crate) fn record<W: AsRef<OsStr>>(&self, command: &[W]) -> Recorded {
        let output = ended(self.start(command));
        let (header, events) = self.read();
        Recorded { code: output.0, said: output.1, header, events }
    }

    /// Records a part of the program under test.
    pub(crate) fn record_subject(&self, part: &[&str]) -> Recorded {
        self.record(&self::subject(part))
    }

    pub(crate) fn read(&self) -> (Header, Vec<Event>) {
        read(&self.trace())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The command of a part of the program under test.
pub(crate) fn subject(part: &[&str]) -> Vec<OsString> {
    let program = env::current_exe().unwrap().into_os_string();
    let words = std::iter::once(SUBJECT).chain(part.iter().copied());
    std::iter::once(program).chain(words.map(OsString::from)).collect()
}

/// Every line has to be an event.
pub(crate) fn read(trace: &Path) -> (Header, Vec<Event>) {
    let reader = Reader::new(BufReader::new(File::open(trace).unwrap())).unwrap();
    let header = reader.header().clone();
    (header, reader.map(|event| event.unwrap().1).collect())
}

/// Waits for a recorder; one that hangs fails the test.
pub(crate) fn ended(mut child: Child) -> (Option<i32>, String) {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the recorder hangs");
        }
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(crate) struct Recorded {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) header: Header,
    pub(crate) events: Vec<Event>,
}

impl Recorded {
    /// How many events there are of a kind.
    pub(crate) fn count(&self, is: impl Fn(&Call) -> bool) -> usize {
        self.events.iter().filter(|event| is(&event.call)).count()
    }
}
