//! What a worker gives up before it reads anything, for good; and what shows that it has.

use std::{
    env, fmt,
    fs::{self, File},
    io,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    thread,
};

use caps::CapSet;
use nix::{
    errno::Errno,
    sys::{
        prctl, ptrace,
        resource::{Resource, getrlimit, setrlimit},
        signal,
    },
    unistd,
};
use tce_vfio::seccomp::Filter;

/// Address space of a worker. Compiling a component of the largest size takes most of it; a decision a few hundred MiB
/// at the most, the limits of a policy and a message included.
const ADDRESS_SPACE_BYTES_MAX: u64 = 4 << 30;

/// The descriptors that a worker has: the socket as it was handed over, two that lead nowhere, the socket as it is used.
const DESCRIPTORS: i32 = 4;

/// What it may have: these, and one for the data of each of a component's memories, a file that is only memory.
const DESCRIPTORS_MAX: u64 = 64;

/// Gives up everything but computing and the open socket.
///
/// # Errors
/// What could not be given up. Nothing should be read then.
pub(super) fn enter() -> Result<(), String> {
    let failed = |what: &'static str| move |error: &dyn fmt::Display| format!("{what}: {error}");
    env::set_current_dir("/").map_err(|error| failed("leaving its folder")(&error))?;
    close_others().map_err(|error| failed("closing descriptors")(&error))?;
    single_threaded()?;
    limit().map_err(|error| failed("limiting resources")(&error))?;
    drop_capabilities().map_err(|error| failed("dropping capabilities")(&error))?;
    prctl::set_no_new_privs().map_err(|error| failed("giving up new privileges")(&error))?;
    // Nobody of the same user reads its memory, and it leaves no image of it.
    prctl::set_dumpable(false).map_err(|error| failed("hiding its memory")(&error))?;
    let filter = Filter::computing().ok_or("there is no seccomp filter for this machine")?;
    filter.install().map_err(|error| failed("installing the seccomp filter")(&error))?;
    match attempts().iter().find(|attempt| !attempt.is_denied()) {
        Some(attempt) => Err(format!("the filter lets through what it should not: {attempt}")),
        None => Ok(()),
    }
}

/// Closes what was left open for every program that is started.
fn close_others() -> io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|it| *it >= DESCRIPTORS) {
        match unistd::close(descriptor) {
            // The folder's own.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The filter is put on one thread.
fn single_threaded() -> Result<(), String> {
    match fs::read_dir("/proc/self/task").map(Iterator::count) {
        Ok(1) => Ok(()),
        Ok(count) => Err(format!("it has {count} threads, and the filter is for one")),
        Err(error) => Err(format!("counting threads: {error}")),
    }
}

fn limit() -> nix::Result<()> {
    for (resource, max) in [
        (Resource::RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX),
        (Resource::RLIMIT_NPROC, 0),
    ] {
        // Whoever has less already keeps it.
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, max.min(hard), max.min(hard))?;
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), String> {
    let text = |error: caps::errors::CapsError| error.to_string();
    // What may come back by starting a program goes first: it takes a capability to drop it.
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(text)? {
        caps::clear(None, CapSet::Bounding).map_err(text)?;
    }
    caps::clear(None, CapSet::Ambient).map_err(text)?;
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(text)?;
        if !caps::read(None, set).map_err(text)?.is_empty() {
            return Err(format!("some are left in the {set:?} set"));
        }
    }
    Ok(())
}

/// Something that a worker must not be able to do, tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub what: &'static str,
    /// The error; `None`: it was possible.
    pub error: Option<Errno>,
}

impl Attempt {
    /// Whether the filter has denied it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.error == Some(Errno::EPERM)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            Some(error) => write!(f, "{}: {}", self.what, error.desc()),
            None => write!(f, "{}: possible", self.what),
        }
    }
}

/// Tries what should be denied. Each attempt would fail or do no harm without a filter too.
pub(super) fn attempts() -> Vec<Attempt> {
    let tried = |what, result: io::Result<()>| Attempt {
        what,
        error: result.err().map(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default())),
    };
    let spawn = || thread::Builder::new().stack_size(1 << 16).spawn(|| ()).map(drop);
    let exec = || unistd::execv::<&std::ffi::CStr>(c"/proc/none", &[]).map(|_| ());
    vec![
        tried("open a file", File::open("/dev/null").map(drop)),
        tried("make a socket", UnixDatagram::unbound().map(drop)),
        tried("reach a network", UdpSocket::bind("127.0.0.1:0").map(drop)),
        tried("make a pipe", io::pipe().map(drop)),
        tried("start a thread", spawn()),
        tried("start a program", exec().map_err(Into::into)),
        tried("send a signal", signal::kill(unistd::Pid::from_raw(1), None).map_err(Into::into)),
        tried("be traced", ptrace::traceme().map_err(Into::into)),
        tried("raise a limit", setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(Into::into)),
        tried("list a folder", fs::read_dir("/").map(drop)),
    ]
}
