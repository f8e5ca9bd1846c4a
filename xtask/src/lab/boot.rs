//! One run of the emulator: started, read until it ends or its time is over, and never left behind.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write, stdout};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::chatter::Filter;
use super::console::{Console, Report};
use crate::run;

/// How much of the console is shown when a run went wrong.
const TAIL_LINES: usize = 40;

/// What of the console is shown while the machine runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Only what the command prints.
    Command,
    /// Firmware and kernel too.
    Everything,
    /// Nothing; what the command prints is in [`Booted::output`].
    Nothing,
}

/// How a run ended.
pub(crate) enum End {
    Off,
    TimeLimit,
}

pub(crate) struct Booted {
    pub(crate) end: End,
    pub(crate) report: Report,
    /// The end of the whole console.
    pub(crate) tail: String,
    /// What the command printed, where it was not shown.
    pub(crate) output: String,
}

/// Takes what is not shown.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What to watch a run by.
pub(crate) struct Watch<'a> {
    pub(crate) run: &'a str,
    pub(crate) limit: Duration,
    pub(crate) show: Show,
    /// Where the whole console is written.
    pub(crate) log: &'a Path,
}

/// An emulator that is killed when it is not needed any more, whatever happens here.
pub(crate) struct Emulator(pub(crate) Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and that is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn boot(qemu: &mut Command, watch: &Watch) -> Result<Booted> {
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = qemu.spawn().with_context(|| format!("cannot start {}", run::shown(qemu)))?;
    let mut emulator = Emulator(started);
    let (sender, receiver) = channel();
    let output = emulator.0.stdout.take().context("the emulator has no output")?;
    let errors = emulator.0.stderr.take().context("the emulator has no error output")?;
    let sources: [Box<dyn Read + Send>; 2] = [Box::new(output), Box::new(errors)];
    for source in sources {
        let sender = sender.clone();
        thread::spawn(move || {
            forward(source, |bytes| sender.send(bytes).is_ok());
        });
    }
    drop(sender);
    let mut log = File::create(watch.log)?;
    let deadline = Instant::now() + watch.limit;
    let kept = Kept::default();
    let (end, report) = read(&receiver, deadline, watch, &mut log, &kept)?;
    drop(emulator);
    let text = std::fs::read(watch.log)?;
    let tail = run::last_lines(&String::from_utf8_lossy(&text), TAIL_LINES);
    let output = String::from_utf8_lossy(&kept.0.borrow()).into_owned();
    Ok(Booted { end, report, tail, output })
}

fn forward(mut source: impl Read, mut send: impl FnMut(Vec<u8>) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = source.read(&mut buffer) {
        if !send(buffer.iter().take(length).copied().collect()) {
            break;
        }
    }
}

fn read(
    receiver: &Receiver<Vec<u8>>,
    deadline: Instant,
    watch: &Watch,
    log: &mut File,
    kept: &Kept,
) -> Result<(End, Report)> {
    let out: Box<dyn Write> = match watch.show {
        Show::Command => Box::new(stdout()),
        Show::Everything => Box::new(std::io::sink()),
        Show::Nothing => Box::new(kept.clone()),
    };
    let mut console = Console::new(watch.run, out);
    let mut filter = Filter::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let bytes = match receiver.recv_timeout(left) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => return Ok((End::TimeLimit, console.report())),
            Err(RecvTimeoutError::Disconnected) => return Ok((End::Off, console.report())),
        };
        log.write_all(&bytes)?;
        if watch.show == Show::Everything {
            stdout().write_all(&bytes)?;
            stdout().flush()?;
        }
        console.feed(&filter.feed(&bytes))?;
    }
}
