//! The program that is recorded. In the folder it is started in, files stand in for VFIO's; all their answers are
//! `ENOTTY`.

use std::{
    env, ffi::OsString, fs::File, process::Command, process::ExitCode, thread, time::Duration,
};

use nix::{
    sys::memfd::{MFdFlags, memfd_create},
    unistd::dup2_stdout,
};
use tce_vfio::wire::rehearse::{Argument, PlainFile};

use crate::run;

/// Numbers from `VFIO_BASE`.
const CHECK_EXTENSION: u8 = 1;
const MAP_DMA: u8 = 13;
const REGISTER: u8 = 17;

pub(crate) const THREADS: usize = 8;
pub(crate) const CHILDREN: usize = 4;
pub(crate) const CALLS: usize = 50;
/// The address in the maps; the file's descriptor is added, so that the numbers tell them apart.
pub(crate) const ADDRESS: u64 = 0x7000_0000_0000;

pub(crate) fn play(words: &[OsString]) -> ExitCode {
    match words.first().and_then(|word| word.to_str()) {
        Some("calls") => calls(),
        Some("plain") => plain(),
        Some("threads") => threads(),
        Some("children") => children(),
        Some("many") => many(),
        Some("copies") => copies(),
        Some("replaces") => replaces(),
        Some("dies") => dies(),
        Some("forever") => forever(),
        other => panic!("no such part: {other:?}"),
    }
    ExitCode::SUCCESS
}

fn open(name: &str) -> PlainFile {
    PlainFile::new(File::options().read(true).write(true).open(name).unwrap()).unwrap()
}

/// `argsz` and `flags`, then 64-bit fields.
fn structure(argsz: u64, flags: u64, fields: &[u64]) -> [u64; 8] {
    let mut words = [0; 8];
    words[0] = argsz | flags << 32;
    words[1..=fields.len()].copy_from_slice(fields);
    words
}

fn map(container: &PlainFile, iova: u64) {
    let map = structure(32, 3, &[ADDRESS, iova, 0x1000]);
    container.call(MAP_DMA, &Argument::Structure(&map));
}

fn calls() {
    let container = open("container");
    container.call(0, &Argument::Number(0));
    container.call(CHECK_EXTENSION, &Argument::Number(7));
    let group = open("group-12");
    let own = [1_u64; 512];
    let address = u64::try_from(own.as_ptr().expose_provenance()).unwrap();
    container.call(REGISTER, &Argument::Structure(&structure(24, 0, &[address, 0x1000])));
    map(&container, 0x1000);
    map(&container, 0x2000);
    container.call(14, &Argument::Structure(&structure(24, 0, &[0x1000, 0x2000])));
    // An address where nothing is.
    container.call(MAP_DMA, &Argument::Number(16));
    let device = open("device");
    device.call(MAP_DMA, &Argument::Structure(&structure(12, 0, &[])));
    drop(device);
    drop(group);
    map(&container, 0x3000);
}

/// Calls with VFIO's numbers on a file that is none of VFIO's.
fn plain() {
    for _ in 0..3 {
        let file = open("plain");
        map(&file, 0x1000);
        map(&file, 0x1000);
    }
    // The number of a file that was looked at is used again, for one that nobody saw being opened.
    let plain = open("plain");
    map(&plain, 0x1000);
    drop(plain);
    let memory = memfd_create("container", MFdFlags::empty()).unwrap();
    map(&PlainFile::new(memory.into()).unwrap(), 0x2000);
}

fn threads() {
    let container = open("container");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let container = &container;
            scope.spawn(move || {
                let thread = u64::try_from(thread).unwrap();
                (0..CALLS).for_each(|_| map(container, thread << 12));
            });
        }
    });
}

fn children() {
    let container = open("container");
    for _ in 0..CHILDREN {
        let [program, words @ ..] = &run::subject(&["calls"])[..] else { panic!() };
        assert!(Command::new(program).args(words).status().unwrap().success());
    }
    map(&container, 0x1000);
}

/// Threads that start processes while others make calls.
fn many() {
    let container = open("container");
    thread::scope(|scope| {
        for _ in 0..CHILDREN {
            scope.spawn(|| {
                let mut child = Command::new(env::current_exe().unwrap());
                assert!(child.args([run::SUBJECT, "threads"]).status().unwrap().success());
            });
            scope.spawn(|| (0..CALLS).for_each(|_| map(&container, 0x1000)));
        }
    });
}

fn copies() {
    let container = open("container");
    let copy = container.copy().unwrap();
    drop(container);
    map(&copy, 0x1000);
}

fn replaces() {
    let [container, group] = ["container", "group-12"].map(|name| File::open(name).unwrap());
    dup2_stdout(&container).unwrap();
    dup2_stdout(&group).unwrap();
}

fn dies() {
    let container = open("container");
    map(&container, 0x1000);
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                map(&container, 0x2000);
            }
        });
        thread::sleep(Duration::from_millis(50));
        std::process::abort();
    });
}

/// Until a signal ends it; it never stops by itself for longer than the tests' patience.
fn forever() {
    let container = open("container");
    let begun = std::time::Instant::now();
    while begun.elapsed() < run::PATIENCE * 2 {
        map(&container, 0x1000);
    }
}
