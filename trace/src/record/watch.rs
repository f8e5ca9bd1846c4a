//! The life of the threads that are recorded: started, stopped, become other programs, ended.

mod call;

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use tce_engine::{addr::Bytes, kernel::Fd};
use tce_vfio::{
    tracee::{self, Stop, Tid},
    wire,
};

use super::{
    Backing, Classify, Ended, RecordError, Sink, descriptors::Descriptors, signals::Passing,
};
use crate::event::{Answer, Call, Event};
use call::Pending;

/// How a recording ended.
pub(super) struct Outcome {
    /// How the command did.
    pub(super) ended: Ended,
    /// Whether the helper became the command.
    pub(super) has_started: bool,
    /// What ended the recording early.
    pub(super) error: Option<io::Error>,
}

struct Thread {
    process: Tid,
    /// The call that it is in, and since when.
    pending: Option<(Instant, Pending)>,
}

/// All that is recorded.
pub(super) struct Watch<'a> {
    first: Tid,
    threads: BTreeMap<Tid, Thread>,
    processes: BTreeMap<Tid, Descriptors>,
    /// Threads that stopped before the call that started them was told.
    early: BTreeMap<Tid, Stop>,
    backing: Backing,
    classify: &'a dyn Classify,
    sink: &'a mut dyn Sink,
    passing: &'a Passing,
    begun: Instant,
    outcome: Outcome,
}

/// What an event tells besides the call and its answer.
struct Circumstances {
    begun: Instant,
    duration: Option<Duration>,
    locked: Option<Bytes>,
    backing: Option<Bytes>,
}

impl Circumstances {
    /// Something that happens now, and takes no time.
    fn now() -> Self {
        Self { begun: Instant::now(), duration: None, locked: None, backing: None }
    }
}

impl<'a> Watch<'a> {
    /// Watches an attached helper, from which everything else comes.
    pub(super) fn new(
        first: Tid,
        backing: Backing,
        classify: &'a dyn Classify,
        sink: &'a mut dyn Sink,
        passing: &'a Passing,
    ) -> Self {
        passing.add(first);
        Self {
            first,
            threads: BTreeMap::from([(first, Thread { process: first, pending: None })]),
            processes: BTreeMap::from([(first, Descriptors::default())]),
            early: BTreeMap::new(),
            backing,
            classify,
            sink,
            passing,
            begun: Instant::now(),
            // Overwritten when it ends, which it does before there is nobody left to wait for.
            outcome: Outcome { ended: Ended::Exited(0), has_started: false, error: None },
        }
    }

    /// Until nobody is left.
    pub(super) fn run(mut self) -> Result<Outcome, RecordError> {
        while let Some((tid, stop)) = tracee::wait().map_err(RecordError::Wait)? {
            self.on(tid, stop);
        }
        Ok(self.outcome)
    }

    fn on(&mut self, tid: Tid, stop: Stop) {
        match stop {
            Stop::Exited(code) => {
                self.ended(tid, Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)))
            }
            Stop::Killed(signal) => self.ended(tid, Ended::Killed(signal)),
            Stop::Gone => {}
            _ if !self.threads.contains_key(&tid) => {
                self.early.insert(tid, stop);
            }
            Stop::Call { number, arguments } => self.called(tid, number, &arguments),
            Stop::Return(value) => self.returned(tid, value),
            Stop::Started(new) => self.started(tid, new),
            Stop::Exec { former } => self.became_another_program(tid, former),
            Stop::Signal(signal) => tracee::resume_with(tid, signal),
            Stop::GroupStop => tracee::stay_stopped(tid),
            Stop::Idle => tracee::resume(tid),
        }
    }

    /// A thread started another thread, or a process.
    fn started(&mut self, tid: Tid, new: Tid) {
        let Some(parent) = self.threads.get(&tid).map(|thread| thread.process) else { return };
        if wire::process_of(new) == Some(new) {
            let child = number(new);
            self.tell(
                tid,
                Circumstances::now(),
                Call::Fork { child },
                Answer::Returned(child.into()),
            );
        }
        self.adopt(new, parent);
        tracee::resume(tid);
    }

    /// A thread is watched from now on. A new process has its parent's descriptors.
    fn adopt(&mut self, new: Tid, parent: Tid) {
        // One that is not there any more has been told to have ended.
        let Some(process) = wire::process_of(new) else { return };
        if process == new {
            let inherited = self.processes.get(&parent).cloned().unwrap_or_default();
            self.processes.entry(new).or_insert(inherited);
            self.passing.add(new);
        }
        self.threads.entry(new).or_insert(Thread { process, pending: None });
        if let Some(stop) = self.early.remove(&new) {
            self.on(new, stop);
        }
    }

    /// A process runs another program: its other threads are gone, and so are descriptors that are closed on exec.
    fn became_another_program(&mut self, tid: Tid, former: Tid) {
        self.threads.retain(|_, thread| thread.process != tid);
        self.threads.remove(&former);
        self.threads.insert(tid, Thread { process: tid, pending: None });
        self.outcome.has_started |= tid == self.first;
        let known = self.processes.get(&tid).map(Descriptors::all).unwrap_or_default();
        for fd in known {
            let kind = self.classify.kind_of(tid, fd);
            let Some(descriptors) = self.processes.get_mut(&tid) else { break };
            if descriptors.get(fd).flatten() != Some(&kind) && descriptors.forget(fd) {
                self.tell_closed(tid, fd);
            }
        }
        tracee::resume(tid);
    }

    fn ended(&mut self, tid: Tid, ended: Ended) {
        self.early.remove(&tid);
        let Some(thread) = self.threads.get(&tid) else { return };
        // The first thread's end is told when all others have ended.
        if thread.process == tid {
            self.tell(tid, Circumstances::now(), Call::Exit, Answer::OK);
            self.processes.remove(&tid);
            self.passing.remove(tid);
            self.threads.retain(|_, thread| thread.process != tid);
        }
        self.threads.remove(&tid);
        if tid == self.first {
            self.outcome.ended = ended;
        }
        // Whoever started them can tell no more, if it was this one.
        for early in self.early.keys().copied().collect::<Vec<_>>() {
            self.adopt(early, tid);
        }
    }

    fn tell_closed(&mut self, tid: Tid, fd: Fd) {
        self.tell(tid, Circumstances::now(), Call::Close { fd }, Answer::OK);
    }

    /// Records an event, unless there is no command yet, or no trace any more.
    fn tell(&mut self, tid: Tid, circumstances: Circumstances, call: Call, answer: Answer) {
        if !self.outcome.has_started || self.outcome.error.is_some() {
            return;
        }
        let Some(process) = self.threads.get(&tid).map(|thread| thread.process) else { return };
        let Circumstances { begun, duration, locked, backing } = circumstances;
        let event = Event {
            time_us: microseconds(begun.saturating_duration_since(self.begun)),
            duration_us: duration.map(microseconds),
            process: number(process),
            thread: number(tid),
            call,
            answer,
            locked,
            backing,
        };
        self.outcome.error = self.sink.take(&event).err();
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A thread's number. The kernel's are positive.
fn number(tid: Tid) -> u32 {
    tid.raw().unsigned_abs()
}
